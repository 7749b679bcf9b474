"""What a registered runner reports, told by the token that its claim was answered with."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.observability import logger
from fleet_runtime.runner.claims import Denied, is_token
from fleet_runtime.runner.reports import EVENTS, HEARTBEAT, JOB_STARTED, Report
from fleet_runtime.runner.rows import Runner, RunnerRecords
from fleet_runtime.runner.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """Takes reports: heartbeats, and the start and end of a job.

    A report is about its own runner, and is a hint: what becomes of that GitHub and ECS say. No
    heartbeat keeps a runner that GitHub has not called busy, or told of a job on.

    A heartbeat costs one read of the row, a tenth of a write, which proves the sender and has the
    task token, and one write of an item of its own, a sixth of what a write of the row costs.
    """

    records: RunnerRecords
    signals: Signals

    def reporter(self, runner_id: str, *, token: str) -> Runner | Denied:
        """Find the runner that reports, or why nothing of it is taken."""
        runner = self.records.find(runner_id)
        if runner is None:
            return Denied(status=404, reason="no such runner")
        if not is_token(token, hashed=runner.events_token_hash):
            if runner.has_ended:
                return Denied(status=410, reason="the runner's lifecycle has ended")
            return Denied(status=403, reason="wrong token")
        return runner

    def report(self, runner: Runner, report: Report | None) -> Denied | None:
        """Take a report; None for one that cannot be read.

        Returns:
            Why it was not taken, None if it was.
        """
        runner_id = runner.runner_id
        if report is None:
            return Denied(status=400, reason=f"the event must be one of {', '.join(EVENTS)}")
        if report.event == HEARTBEAT:
            self.signals.heartbeat(runner, load=report.load)
            return None
        # whatever runs in the job can report as well as the hook does
        if report.event == JOB_STARTED:
            self.signals.reported_start(runner)
        # of its end the log is enough: the runner still has to tell GitHub, and GitHub the fleet
        logger.info(
            "runner event",
            runner_id=runner_id,
            runner_event=report.event,
            runner_version=report.runner_version or runner.runner_version,
            job=report.job,
        )
        return None
