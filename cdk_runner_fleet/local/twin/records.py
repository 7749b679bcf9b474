"""What the twin keeps: runners, runs and jobs. Times are epoch seconds (float)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cdk_runner_fleet.local.twin.expressions import Scope
from cdk_runner_fleet.local.twin.workflows import JobLeg, JobSpec, Workflow

__all__ = ["Job", "Run", "Runner"]

LOG_LINES = 60  # kept of each job's log

Send = Callable[[dict[str, Any]], None]


@dataclass(kw_only=True)
class Runner:
    """A runner. `send` is there while its session is open.

    `is_ephemeral` says that it goes after its first job, as JIT runners do; `had_job` says whether
    it was ever given one; `removed_at` is there once it is gone; `scope` is the path of the
    repository, organization or enterprise that it is registered for.
    """

    id: int
    name: str
    labels: tuple[str, ...]
    token: str
    registered_at: float = 0.0
    removed_at: float | None = None
    send: Send | None = None
    connected_once: bool = False
    job: Job | None = None
    had_job: bool = False
    is_ephemeral: bool = True
    scope: str = ""
    group_id: int = 1

    def serves(self, labels: tuple[str, ...]) -> bool:
        """Whether it has every label, whatever their case or order."""
        own = {label.casefold() for label in self.labels}
        return own.issuperset(label.casefold() for label in labels)


@dataclass(kw_only=True)
class Job:
    """One job of a run's current attempt.

    `deserted_by` has the names of runners whose session ended while they had it, and when;
    `never_starts` says that its runner acquired it and died.
    """

    id: int
    run: Run
    attempt: int
    spec: JobSpec
    leg: JobLeg
    created_at: float
    status: str = "queued"
    conclusion: str | None = None
    queued_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    runner_id: int | None = None
    runner_name: str | None = None
    assigned: Runner | None = None
    deserted_by: dict[str, float] = field(default_factory=dict)
    never_starts: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))

    @property
    def result(self) -> str:
        """What `needs.<job>.result` says of it: a forgiven failure is a success."""
        if self.conclusion == "failure" and self.leg.is_forgiven:
            return "success"
        return self.conclusion or ""


@dataclass(kw_only=True)
class Run:
    """One run of a workflow file; a re-run is a new attempt with new jobs.

    `cancelled` says whether somebody cancelled it: `cancelled()` asks for no more.
    """

    id: int
    number: int
    workflow: Workflow
    file_name: str
    repository: str
    workspace: str | None
    protected_environments: frozenset[str]
    created_at: float
    attempt: int = 1
    cancelled: bool = False
    jobs: list[Job] = field(default_factory=list)

    @property
    def event_name(self) -> str:
        """What started it: a file that has inputs is started by hand."""
        return "workflow_dispatch" if self.workflow.inputs else "push"

    @property
    def status(self) -> str:
        """`queued`, `in_progress`, `waiting` or `completed`, as derived from the jobs."""
        done = [job.status == "completed" for job in self.jobs]
        if all(done) and {job.spec.key for job in self.jobs} == set(self.workflow.jobs):
            return "completed"
        running = any(job.status == "in_progress" for job in self.jobs)
        if not running and any(job.status == "waiting" for job in self.jobs):
            return "waiting"
        started = any(done) or running
        return "in_progress" if started else "queued"

    @property
    def conclusion(self) -> str | None:
        """`success`, `failure`, `cancelled` or `skipped`; None until it is completed."""
        if self.status != "completed":
            return None
        if self.cancelled:
            return "cancelled"
        return _overall([job.result for job in self.jobs])

    def legs_of(self, key: str) -> list[Job]:
        """The jobs queued for one key of the file; empty until what it needs is done."""
        return [job for job in self.jobs if job.spec.key == key]

    def need(self, key: str) -> dict[str, Any] | None:
        """`needs.<key>`: its result and outputs; None until every leg is done."""
        legs = self.legs_of(key)
        if not legs or any(job.status != "completed" for job in legs):
            return None
        outputs: dict[str, str] = {}
        for job in sorted(legs, key=lambda leg: leg.completed_at or 0):
            outputs |= job.outputs
        return {"result": _overall([job.result for job in legs]), "outputs": outputs}

    def scope(self, spec: JobSpec) -> Scope:
        """What an expression in a job's own keys sees once all it needs is done.

        `success()` looks at every job before it, not only at those it names: GitHub skips what
        comes after a skipped or failed job, unless a status function says otherwise.
        """
        needs = {key: need for key in spec.needs if (need := self.need(key))}
        before = [self.need(key) for key in self.ancestors(spec)]
        overall = _overall([need["result"] for need in before if need], skipped_by="any")
        contexts = {
            "github": self._github(),
            "inputs": self.workflow.inputs,
            "needs": needs,
            "vars": {},
        }
        return Scope(contexts=contexts, status=overall, cancelled=self.cancelled)

    def ancestors(self, spec: JobSpec) -> set[str]:
        """The keys of all jobs that have to be done before this one."""
        found = set(spec.needs)
        for key in spec.needs:
            found |= self.ancestors(self.workflow.jobs[key])
        return found

    def _github(self) -> dict[str, Any]:
        return {
            "repository": self.repository,
            "repository_owner": self.repository.partition("/")[0],
            "workflow": self.workflow.name,
            "run_id": str(self.id),
            "run_number": str(self.number),
            "run_attempt": str(self.attempt),
            "event_name": self.event_name,
            "ref": "refs/heads/main",
            "ref_name": "main",
        }


def _overall(results: list[str], *, skipped_by: str = "all") -> str:
    for bad in ("failure", "cancelled"):
        if bad in results:
            return bad
    skipped = [result == "skipped" for result in results]
    if any(skipped) and (skipped_by == "any" or all(skipped)):
        return "skipped"
    return "success"
