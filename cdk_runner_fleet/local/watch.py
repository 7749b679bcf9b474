"""Follows a workflow run on a local fleet to its end, from the twin's and the fleet's records."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from cdk_runner_fleet.history import Step, read_steps
from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.runner_name import execution_arn, read_name

__all__ = ["Change", "JobState", "RunWatch"]

OVER = ("OFFLINE", "FAILED")
_WENT_WELL = "✅"  # how act marks it
_UNHEARD_SECONDS = 120.0
"""A job accepted but without a row for so long has been lost on the way."""
_UNSERVED_SECONDS = 10.0
"""So long after its runner was given another job, none has been started in its place."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A runner entered a state of its lifecycle, or a job ended.

    Attributes:
        at: Epoch seconds.
        job_name: The job that the runner has, or was started for.
        runner_id: The runner; empty if there is none.
        what: The state's name, or the job's conclusion.
    """

    at: float
    job_name: str
    runner_id: str
    what: str


@dataclass(kw_only=True)
class JobState:
    """A job of the run as it stands.

    Attributes:
        id: GitHub's job id.
        name: The job's name, matrix values included.
        labels: Its `runs-on`.
        status: GitHub's status, `completed` also if it can never run.
        conclusion: GitHub's conclusion; `failure` if it can never run.
        error: Why it did not succeed.
        row: Its runner's row; empty if it has none.
        steps: What its runner went through.
        log_tail: The last lines of its log.
    """

    id: int
    name: str
    labels: Sequence[str] = ()
    status: str = "queued"
    conclusion: str | None = None
    error: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Step] = ()
    log_tail: Sequence[str] = ()


class RunWatch:
    """A run, polled.

    Args:
        fleet: The fleet, with its twin.
        run_id: The run's id at the twin.
    """

    def __init__(self, fleet: LocalFleet, run_id: int) -> None:
        assert fleet.twin is not None  # noqa: S101 - narrows the type
        self._twin = fleet.twin
        self._run = fleet.twin.board.runs[run_id]
        self._table = fleet.outputs["RunnerTableName"]
        self._dynamodb = fleet.client("dynamodb")
        self._states = fleet.client("stepfunctions")
        self._machine = fleet.outputs["StateMachineArn"]
        self._taken: set[str | None] = set()
        self._unrunnable: dict[int, str] = {}
        self._unserved_since: dict[int, float] = {}
        self._ended: set[int] = set()
        self._read: dict[str, tuple[str, str]] = {}
        self._steps: dict[str, list[Step]] = {}
        self._announced: dict[str, int] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.jobs: dict[int, JobState] = {}

    @property
    def over(self) -> bool:
        """Whether every job has ended, and so has every runner that ran one."""
        return self.jobs_over and all(
            job.row["status"] in OVER and all(step.left_at is not None for step in job.steps)
            for job in self.jobs.values()
            if job.row
        )

    @property
    def jobs_over(self) -> bool:
        """Whether every job has ended."""
        return bool(self.jobs) and self._run.status == "completed"

    def poll(self) -> list[Change]:
        """Look at everything once; returns what is new since the last look, oldest first."""
        # The rows first: a job that the twin still has queued afterwards was not started by any of
        # the runners that were gone by then.
        self.rows = {row["runner_id"]: row for row in self._scan()}
        report = self._twin.run_report(self._run)
        self._taken = {job["runner_name"] for job in report["jobs"]}
        changes = [change for row in self.rows.values() for change in self._entered(row)]
        for job in report["jobs"]:
            self._follow(job)
        changes += [change for job in self.jobs.values() for change in self._concluded(job)]
        return sorted(changes, key=lambda change: change.at)

    def _follow(self, job: Mapping[str, Any]) -> None:
        known = self.jobs.setdefault(job["id"], JobState(id=job["id"], name=job["name"]))
        known.labels, known.log_tail = job["labels"], job["log_tail"]
        known.status, known.conclusion = job["status"], job["conclusion"]
        own = self._own_row(job["id"])
        runner_id = job["runner_name"] or (own or {}).get("runner_id", "")
        if job["runner_name"] or runner_id not in self._taken:
            known.row = self.rows.get(runner_id, {})
            known.steps = self._steps.get(runner_id, ())
        else:  # its runner runs another job
            known.row, known.steps = {}, ()
        if job["status"] == "queued" and job["id"] not in self._unrunnable:
            reason = self._never_runs(job, own)
            if reason:
                self._unrunnable[job["id"]] = reason
                # so that what needs it goes on as after a failure, and the run comes to its end
                self._twin.board.fail(self._twin.board.jobs[job["id"]], reason)
        if job["id"] in self._unrunnable:
            known.status, known.conclusion = "completed", "failure"
            known.error = self._unrunnable[job["id"]]
        elif known.conclusion not in (None, "success", "skipped"):
            known.error = _failure_of(known.row) or self._failed_step(job["id"])
            known.error = known.error or _last_line(known.log_tail) or known.conclusion

    def _failed_step(self, job_id: int) -> str | None:
        steps = self._twin.board.jobs[job_id].steps
        failed = [step["name"] for step in steps if step["conclusion"] == "failure"]
        return f"step {failed[0]!r} failed" if failed else None

    def _never_runs(self, job: Mapping[str, Any], own: Mapping[str, Any] | None) -> str | None:
        """Why a queued job will not start any more; None while it may."""
        if own is None:
            return self._unheard(job)
        wanted = {label.casefold() for label in job["labels"]}
        alive = [row for row in self.rows.values() if row["status"] not in OVER]
        if any(wanted <= _labels(row) for row in alive) or own["status"] not in OVER:
            return None
        if own["runner_id"] in self._taken:
            since = self._unserved_since.setdefault(job["id"], time.monotonic())
            if time.monotonic() - since < _UNSERVED_SECONDS:
                return None
            return f"its runner {own['runner_id']} was given another job, and no other serves it"
        return _failure_of(own) or f"its runner {own['runner_id']} ended without running it"

    def _unheard(self, job: Mapping[str, Any]) -> str | None:
        answers = [
            (delivery.status_code, delivery.answer)
            for delivery in self._twin.deliveries
            if delivery.job_id == job["id"] and delivery.action == "queued"
        ]
        status, said = answers[-1] if answers else (None, b"")
        if status == 200:
            labels = ", ".join(map(json.dumps, job["labels"]))
            return f"the fleet does not serve runs-on: [{labels}]: {json.loads(said)['message']}"
        if status and status != 202:
            return f"the fleet's webhook answered {status} to the queued job"
        if time.time() - job["queued_at"] > _UNHEARD_SECONDS:
            return f"the fleet did not start a runner within {_UNHEARD_SECONDS:g} seconds"
        return None

    def _own_row(self, job_id: int) -> dict[str, Any] | None:
        """The row of the last runner that was started for a job, whatever it runs by now."""
        names = {runner_id: read_name(runner_id) for runner_id in self.rows}
        own = [
            self.rows[runner_id]
            for runner_id, name in names.items()
            if name and (name.job_id, name.attempt) == (job_id, self._run.attempt)
        ]
        return max(own, key=lambda row: (row["timestamp"], len(row["runner_id"])), default=None)

    def _entered(self, row: Mapping[str, Any]) -> list[Change]:
        """New steps of a runner. Its history is read only when its row has changed."""
        runner_id = row["runner_id"]
        seen = (row["status"], row.get("waiting_for", ""))
        if self._read.get(runner_id) != seen:
            life = execution_arn(self._machine, runner_id)
            self._steps[runner_id] = read_steps(self._states, life)
            # the row is written before the history ends: the end is worth another look
            last = self._steps[runner_id][-1:]
            if row["status"] not in OVER or not last or last[0].left_at is not None:
                self._read[runner_id] = seen
        steps = self._steps[runner_id]
        new = steps[self._announced.get(runner_id, 0) :]
        self._announced[runner_id] = len(steps)
        name = str(row.get("job_name", ""))
        return [
            Change(at=step.entered_at, job_name=name, runner_id=runner_id, what=step.state)
            for step in new
            if step.phase
        ]

    def _concluded(self, job: JobState) -> list[Change]:
        if job.status != "completed" or job.id in self._ended:
            return []
        self._ended.add(job.id)
        runner_id = str(job.row.get("runner_id", ""))
        what = job.conclusion or job.status
        return [Change(at=time.time(), job_name=job.name, runner_id=runner_id, what=what)]

    def _scan(self) -> list[dict[str, Any]]:
        deserializer = TypeDeserializer()
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._table, ConsistentRead=True
        )
        return [
            {name: deserializer.deserialize(value) for name, value in item.items()}
            for page in pages
            for item in page["Items"]
            if "status" in item
        ]


def _labels(row: Mapping[str, Any]) -> set[str]:
    return {label.casefold() for label in str(row.get("runner_labels", "")).split(",")}


def _failure_of(row: Mapping[str, Any]) -> str | None:
    if row.get("status") != "FAILED":
        return None
    return ": ".join(filter(None, (str(row.get("error", "")), str(row.get("cause", "")))))


def _last_line(log: Sequence[str]) -> str | None:
    """The last line of a log that does not say that something went well."""
    lines = (line.strip() for line in reversed(log))
    return next((line for line in lines if line and not line.startswith(_WENT_WELL)), None)
