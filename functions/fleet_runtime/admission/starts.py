"""Beginnings and ends of runners: the one way in, through admission, and the one way out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet_runtime.admission.admission import Admission
from fleet_runtime.admission.breaker import Breaker
from fleet_runtime.admission.line import Line, heads, place_of
from fleet_runtime.admission.turns import Applicant, NotYet, Turn
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws.items import Value
from fleet_runtime.observability import count, logger, measure
from fleet_runtime.runner.executions import Executions
from fleet_runtime.runner.measures import Waste, label
from fleet_runtime.runner.rows import Runner, RunnerRecords, Waiting

_MOST_READ = 1000
"""Rows in line that one look reads of one repository: ten times what it may start. They are a page
of the index, some 25 read units."""
_MOST_STARTS = 100
"""Runners that one look starts: a few seconds of a function's thirty. Each end looks again."""

_RELEASED = "the runner was not wanted any more"
_UNBORN = "the execution was stopped before it could take its row over"

_COPIED = (
    "repository",
    "job_id",
    "run_id",
    "run_attempt",
    "job_name",
    "workflow_name",
    "job_url",
    "head_sha",
    "runner_labels",
    "class_name",
    "architecture",
    "needs",
    "image_tag",
    "registered_for",
    "queued_at",
    "queued_delivery",
    "queued_received_at",
)
"""What a row in line has of the execution's input, under the same names."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """The runner's life has begun."""


@dataclass(frozen=True, kw_only=True)
class InLine:
    """The runner waits for its turn; its row says so too."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """The runner was started before, or its job is over: nothing was done."""


@dataclass(frozen=True, kw_only=True)
class Starts:
    """Starts runners as far as the limits allow, and whoever waits when one has ended.

    Attributes:
        records: The runners.
        admission: Who may have a turn.
        entry: The turns.
        breaker: What is held back.
        executions: The runners' lives.
        row_ttl_seconds: How long a row stays.
    """

    records: RunnerRecords
    admission: Admission
    entry: TurnsEntry
    breaker: Breaker
    executions: Executions
    row_ttl_seconds: int

    def start(self, document: Mapping[str, Any]) -> Started | InLine | Known:
        """Begin a runner's life, or put it in line.

        Args:
            document: The execution's input.
        """
        refused = self.admission.admit(Applicant.of_input(document))
        if refused is None:
            return self._begin(document)
        runner_id = document["runner_id"]
        new = self._join_line(document, reason=refused.reason)
        runner = self.records.find(runner_id)
        if runner is None or not runner.is_in_line:
            return Known()
        self.entry.join_line(runner_id)
        # a turn may have come back since: whoever gave it back saw nobody in line
        started = self.next_in_line(newcomer=runner)
        if runner_id in started:
            return Started()
        if new:
            logger.info("job in line", runner_id=runner_id, reason=refused.reason)
            count("JobInLine")
        return InLine(reason=refused.reason)

    def next_in_line(self, *, newcomer: Runner | None = None) -> tuple[str, ...]:
        """Start whoever is next in line, as many as there are turns. Two may do so at once.

        Args:
            newcomer: A runner that joined the line just now, which the index may not have yet.

        Returns:
            The ids of the runners that were started.
        """
        turns = self.entry.read()
        closed = self.admission.closed(turns)
        if newcomer and closed:
            # nobody can start: whoever gives a turn back looks at the whole line
            return ()
        waiting = [runner for runner in read_line(self.records) if not self._end_released(runner)]
        if newcomer and all(newcomer.runner_id != one.runner_id for one in waiting):
            waiting.append(Waiting.of_row(newcomer))
        if not waiting:
            self.entry.clear_line(turns)
            return ()
        if not turns.last_in_line:
            # who joined last did not get as far as to say so
            self.entry.join_line(waiting[-1].runner_id)
        line = Line(
            waiting, running=turns.repositories, given=turns.given, last_given=turns.last_given
        )
        full = {closed.scope: closed} if closed else {}
        started: list[str] = []
        while len(started) < _MOST_STARTS and (runner := line.next()):
            refused = _refused(runner, full) or self._start_waiting(runner)
            if isinstance(refused, NotYet):
                full[refused.scope] = refused
            elif isinstance(refused, Started):
                started.append(runner.runner_id)
                line.started(runner)
        return tuple(started)

    def runner_ended(self, runner_id: str) -> Runner | None:
        """Take a runner's turn back, count its cost, learn from its failure, start the next.

        For a runner of which nothing runs any more. Twice is as good as once.

        Returns:
            Its row, if there is one.
        """
        runner = self.records.find(runner_id)
        if runner and runner.has_ended:
            self.breaker.runner_ended(runner)
            turns = self.entry.leave(runner_id, cost_usd=runner.cost_usd, ended_at=runner.ended_at)
            _measure_end(runner, spent_usd=self.admission.spent_usd(turns))
        else:
            turns = self.entry.leave(runner_id)
            measure({"BudgetSpentUsd": self.admission.spent_usd(turns)})
        if turns.last_in_line:
            self.next_in_line()
        return runner

    def sweep_turns(self) -> Sequence[Turn]:
        """Count no more what nobody holds, and start whoever waited for it; forget old breakers.

        Returns:
            The turns that are held, and those whose giving back was begun.
        """
        swept = self.entry.sweep()
        self.breaker.forget(swept.held)
        if swept.given_back:
            logger.warning("turns given back that were never held", turns=swept.given_back)
            self.next_in_line()
        return swept.turns

    def _begin(self, document: Mapping[str, Any]) -> Started | Known:
        runner_id = document["runner_id"]
        if not self.executions.start(document):
            logger.info("runner exists", runner_id=runner_id)
            runner = self.records.find(runner_id)
            if runner and runner.is_in_line and not self.executions.is_open(runner_id):
                values = {"status": "FAILED", "error": "Runner.ExecutionEnded", "cause": _UNBORN}
                runner = self.records.leave_line(runner_id, values=values)
            if runner and runner.has_ended:
                # its end has been told already, so nobody else gives this turn back
                self.entry.leave(runner_id)
            return Known()
        logger.info("runner started", runner_id=runner_id, class_name=document["class_name"])
        return Started()

    def _join_line(self, document: Mapping[str, Any], *, reason: str) -> bool:
        now = self.records.now
        values: dict[str, Value] = {
            **{name: document[name] for name in _COPIED if name in document},
            "place": place_of(
                document["repository"],
                queued_at=document["queued_at"],
                runner_id=document["runner_id"],
            ),
            "asked_by": document["repository"],
            "timestamp": now,
            "in_line_at": now,
            "job_status": "queued",
            "waiting_reason": reason,
            "start_input": json.dumps({**document, "in_line_at": now}),
            "expires_at": now + self.row_ttl_seconds,
        }
        return self.records.join_line(document["runner_id"], values=values)

    def _start_waiting(self, waiting: Waiting) -> Started | Known | NotYet:
        runner = self.records.find(waiting.runner_id)
        if runner is None or not runner.is_in_line:
            return Known()
        document = self._read_input(runner)
        if document is None:
            return Known()
        refused = self.admission.admit(Applicant.of_row(runner), in_line=True)
        return refused or self._begin(document)

    def _read_input(self, runner: Runner) -> Mapping[str, Any] | None:
        """Read the input of a row in line. One that cannot be read is ended: others wait behind."""
        try:
            document: dict[str, Any] = json.loads(runner.start_input)
            if document["runner_id"] != runner.runner_id:
                raise ValueError(f"it is of {document['runner_id']!r}")
            document["class_name"]
        except (ValueError, KeyError, TypeError) as error:
            cause = f"start_input of its row cannot be read, {type(error).__name__}: {error}"
            logger.error("runner not started", runner_id=runner.runner_id, cause=cause)
            values = {"status": "FAILED", "error": "Runner.Runtime", "cause": cause}
            self.records.leave_line(runner.runner_id, values=values)
            return None
        return document

    def _end_released(self, runner: Waiting) -> bool:
        """End a row in line that was released, if whoever did so died before its second write."""
        if runner.released_at is None:
            return False
        values = {"status": "OFFLINE", "end_reason": _RELEASED}
        self.records.leave_line(runner.runner_id, values=values)
        return True


def read_line(records: RunnerRecords) -> Sequence[Waiting]:
    """Read of each repository the runners in line with the oldest jobs."""
    return heads(lambda after: records.in_line(after=after, most=_MOST_READ), most=_MOST_READ)


def _measure_end(runner: Runner, *, spent_usd: float) -> None:
    waste, has_failed = Waste.of(runner), runner.status == "FAILED"
    measure(
        {
            "BudgetSpentUsd": spent_usd,
            "IdleSeconds": waste.seconds if waste else None,
            "IdleUsd": waste.usd if waste else None,
            "RunnerFailed": 1 if has_failed else None,
            "RunnerUsd": runner.cost_usd,
        },
        by={"error": label(runner.error)},
        message="runner ended",
        runner_id=runner.runner_id,
        repository=runner.repository,
        class_name=runner.class_name,
        image_tag=runner.image_tag,
        status=runner.status,
        cause=f"{runner.error}: {runner.cause}" if has_failed else "",
    )


def _refused(runner: Waiting, full: Mapping[str, NotYet]) -> NotYet | None:
    scopes = Applicant.of_row(runner).scopes
    return next((full[scope] for scope in scopes if scope in full), None)
