"""Brings supply into line with demand: starts runners that are missing, releases the surplus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet_runtime.admission.starts import Known, Starts
from fleet_runtime.admission.waits import Waits
from fleet_runtime.dispatch.dispatcher import Dispatcher
from fleet_runtime.explanation.causes import is_permanent
from fleet_runtime.explanation.unserved import WAITS, Unserved
from fleet_runtime.job.job import Job, JobEvent
from fleet_runtime.job.labels import Refusal
from fleet_runtime.job.runner_name import next_runner_id
from fleet_runtime.observability import count, logger
from fleet_runtime.reconciliation.demand import GiveUp, Legs, Start, Wait, next_try
from fleet_runtime.runner.executions import Executions
from fleet_runtime.runner.rows import REFUSED, Runner, RunnerRecords
from fleet_runtime.runner.signals import Signals

_MOST_NAMES = 5
"""Names that are tried at once for a runner, if executions of those names ended without a row."""
_LONG_WAIT_SECONDS = 600
"""About when somebody who pushed a commit looks why nothing has happened."""
_PATIENCE_GRACES = 10
"""Graces that another fleet or machine has to take a job that this one refused: ten minutes."""
_SURPLUS = "no queued job needs this runner"


@dataclass(frozen=True, kw_only=True)
class Supply:
    """Starts and releases runners.

    Attributes:
        dispatcher: What the fleet does about a job.
        records: The runners.
        starts: Begins their lives.
        waits: Says why those in line wait.
        signals: Tells their lifecycles.
        unserved: Tells of jobs that get no runner.
        executions: The runners' lives.
        grace: Seconds; pauses between one job's runners scale with it.
        ceiling: How many runners may follow a job's first one that ended without a job.
    """

    dispatcher: Dispatcher
    records: RunnerRecords
    starts: Starts
    waits: Waits
    signals: Signals
    unserved: Unserved
    executions: Executions
    grace: int
    ceiling: int

    def serve(self, job: Job, *, legs: Legs, is_fresh: bool) -> Start | GiveUp | None:
        """Start a runner for a queued job that lacks one, unless it has had its share.

        Args:
            job: The job.
            legs: The jobs of its run that have its labels.
            is_fresh: Whether only its first runner may be started, which its own event would start
                under the same name.

        Returns:
            What was done; None if there is nothing to do now.
        """
        name = self.dispatcher.own_runner_id(job)
        tried = self.records.of_job(name)
        if tried and is_fresh:
            return None
        queued = JobEvent.missed(job)
        document = self.dispatcher.execution_input(queued)
        if isinstance(document, Refusal):
            if not tried:
                self.dispatcher.refuse(queued, document)
            elif tried[-1].error == REFUSED:
                return self._refused(tried[-1])
            return None
        # a job that could not be served before may be served now, under its first name
        refused = tried[-1] if tried and tried[-1].error == REFUSED else None
        if tried and not refused:
            decision = self._next(tried, job, legs)
            if isinstance(decision, GiveUp):
                return self._give_up(decision.last, tried=len(tried))
            if isinstance(decision, Wait):
                self._explain(tried[-1])
                logger.info("runner not started", job_id=job.job_id, reason=decision.reason)
                return None
            name = decision.runner_id
        started = self._start(document, name=name)
        if started and refused and refused.told_at:
            self.unserved.take_back(refused, cause="the fleet has what it asks for by now")
        return started

    def explain_wait(self, runner: Runner) -> bool:
        """Have a job's author told why its runner has waited for long; returns whether it has."""
        long_ago = self.records.now - _LONG_WAIT_SECONDS
        is_long = runner.waits and (runner.recorded_at or 0) <= long_ago
        if not is_long or runner.wait_explained_at is not None:
            return False
        self.unserved.tell(runner, error=WAITS, cause=self.waits.why(runner), final=False)
        return True

    def release(self, runner: Runner) -> bool:
        """Release a runner, unless a job has started on it."""
        released = self.signals.released(runner.runner_id, cause=_SURPLUS, values={}, first={})
        if released is None:
            return False
        logger.warning("runner was surplus", runner_id=runner.runner_id)
        count("SurplusReleased")
        return True

    def _next(self, tried: Sequence[Runner], job: Job, legs: Legs) -> Start | Wait | GiveUp:
        now = self.records.now
        return next_try(tried, job, legs=legs, now=now, grace=self.grace, ceiling=self.ceiling)

    def _start(self, document: Mapping[str, Any], *, name: str) -> Start | None:
        for _ in range(_MOST_NAMES):
            outcome = self.starts.start({**document, "runner_id": name})
            if not isinstance(outcome, Known):
                logger.warning("runner was missing", runner_id=name)
                count("DemandMissing")
                return Start(runner_id=name)
            if self.executions.is_open(name):
                return None
            # its life ended before it had a row
            name = next_runner_id(name)
        return None

    def _explain(self, last: Runner) -> None:
        """Have the author told what somebody has to mend, if its own event did not."""
        if is_permanent(last.error) and last.explained_at is None:
            self.unserved.tell(last, error=last.error, cause=last.cause, final=False)

    def _refused(self, last: Runner) -> GiveUp | None:
        """Give a job up that still waits, long after it was refused: others may serve it."""
        if self.records.now < max(last.ended_at or 0, last.left_at or 0) + (
            self.grace * _PATIENCE_GRACES
        ):
            if last.left_at is None:
                # whoever refused it may not have come as far as to say so
                self._explain(last)
            return None
        return self._give_up(last, tried=1)

    def _give_up(self, last: Runner, *, tried: int) -> GiveUp | None:
        if last.given_up_at is not None:
            return None
        cause = last.cause or "no job came to it"
        if tried > 1:
            cause = f"{tried} runners came to nothing, the last one so: {cause}"
        error = last.error or "Runner.NoJobCame"
        self.unserved.tell(last, error=error, cause=cause, final=True)
        return GiveUp(last=last)
