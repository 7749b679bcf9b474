"""What the twin keeps: runners, runs and jobs. Times are epoch seconds (float)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cdk_runner_fleet.local.twin.calls import call_definition
from cdk_runner_fleet.local.twin.coercions import Value, as_text
from cdk_runner_fleet.local.twin.expressions import ExpressionError, Scope
from cdk_runner_fleet.local.twin.limits import UNLIMITED, Limits
from cdk_runner_fleet.local.twin.templates import read_template
from cdk_runner_fleet.local.twin.workflows import JobLeg, JobSpec, Workflow

__all__ = ["Flow", "Job", "Run", "Runner"]

_OUTPUT_CONTEXTS = ("github", "inputs", "vars", "jobs")
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
    `never_starts` says that its runner acquired it and died; `held_back` says whether it was ever
    given to nobody because of its limits.
    """

    id: int
    run: Run
    flow: Flow
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
    limits: Limits = UNLIMITED
    never_starts: bool = False
    held_back: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))

    @property
    def result(self) -> str:
        """What `needs.<job>.result` says of it: a forgiven failure is a success."""
        if self.conclusion == "failure" and self.leg.is_forgiven:
            return "success"
        return self.conclusion or ""


@dataclass(kw_only=True, eq=False)
class Flow:
    """One workflow file under way in a run: the run's own, or one that a job of it calls.

    Args:
        run: the run.
        workflow: the file.
        inputs: its inputs.
        caller: the flow that calls it, and the key of the job there that does; None for the run's
            own file.
        name: the calling job's name, which stands before those of its own.
    """

    run: Run
    workflow: Workflow
    inputs: Mapping[str, Value]
    caller: tuple[Flow, str] | None = None
    name: str = ""

    @property
    def is_over(self) -> bool:
        """Whether every job of the file has come to its end."""
        return all(self.need(key) for key in self.workflow.jobs)

    @property
    def results(self) -> list[str]:
        """How its jobs went, those of the workflows that they call included."""
        own = [job.result for job in self.run.jobs if job.flow is self]
        return own + [
            result
            for flow in self.run.flows
            if flow.caller and flow.caller[0] is self
            for result in flow.results
        ]

    @property
    def ended_at(self) -> float:
        """When the last of its jobs ended, in epoch seconds."""
        within = [
            flow.ended_at for flow in self.run.flows if flow.caller and flow.caller[0] is self
        ]
        own = [job.completed_at or 0.0 for job in self.run.jobs if job.flow is self]
        return max(own + within, default=0.0)

    def title(self, name: str) -> str:
        """A job's name as GitHub shows it: `caller / job`."""
        return f"{self.name} / {name}" if self.name else name

    def legs_of(self, key: str) -> list[Job]:
        """The jobs queued for one key of the file; empty until what it needs is done."""
        return [job for job in self.run.jobs if job.flow is self and job.spec.key == key]

    def calls_of(self, key: str) -> list[Flow]:
        """The workflows that one key of the file has called."""
        return [flow for flow in self.run.flows if flow.caller == (self, key)]

    def is_due(self, spec: JobSpec) -> bool:
        """Whether all that a job needs is done, and it has not begun."""
        begun = self.legs_of(spec.key) or self.calls_of(spec.key)
        return not begun and all(map(self.need, spec.needs))

    def need(self, key: str) -> dict[str, Any] | None:
        """`needs.<key>`: its result and outputs; None until every leg is done."""
        legs, calls = self.legs_of(key), self.calls_of(key)
        if not (legs or calls) or any(job.status != "completed" for job in legs):
            return None
        if not all(flow.is_over for flow in calls):
            return None
        results = [job.result for job in legs] + [each for flow in calls for each in flow.results]
        outputs: dict[str, str] = {}
        for job in sorted(legs, key=lambda leg: leg.completed_at or 0):
            outputs |= job.outputs
        try:
            for flow in sorted(calls, key=lambda each: each.ended_at):
                outputs |= {name: value for name, value in flow.outputs().items() if value}
        except ExpressionError:
            results.append("failure")
        return {"result": _overall(results), "outputs": outputs}

    def outputs(self) -> dict[str, str]:
        """What it hands to its caller; raises ExpressionError."""
        definition = call_definition(self.workflow.definition) or {}
        jobs = {key: self.need(key) for key in self.workflow.jobs}
        scope = Scope(contexts={**self._contexts(), "jobs": jobs})
        return {
            name: as_text(
                read_template(as_text(output["value"]), contexts=_OUTPUT_CONTEXTS).value(scope)
            )
            for name, output in (definition.get("outputs") or {}).items()
        }

    def scope(self, spec: JobSpec) -> Scope:
        """What an expression in a job's own keys sees once all it needs is done.

        `success()` looks at every job before it, not only at those it names: GitHub skips what
        comes after a skipped or failed job, unless a status function says otherwise.
        """
        needs = {key: need for key in spec.needs if (need := self.need(key))}
        before = [self.need(key) for key in self.ancestors(spec)]
        status = _overall([need["result"] for need in before if need], skipped_by="any")
        return Scope(
            contexts={**self._contexts(), "needs": needs},
            status=status,
            cancelled=self.run.cancelled,
        )

    def ancestors(self, spec: JobSpec) -> set[str]:
        """The keys of all jobs that have to be done before this one."""
        found = set(spec.needs)
        for key in spec.needs:
            found |= self.ancestors(self.workflow.jobs[key])
        return found

    def comes_after(self, flow: Flow, key: str) -> bool:
        """Whether a job that had to wait for a flow's job has called it."""
        return self.caller is not None and self.caller[0].job_comes_after(self.caller[1], flow, key)

    def job_comes_after(self, own: str, flow: Flow, key: str) -> bool:
        """Whether one of its jobs had to wait for a job of a flow, by itself or its callers."""
        within: tuple[Flow, str] | None = (flow, key)
        while within:
            if within[0] is self:
                if within[1] in self.ancestors(self.workflow.jobs[own]):
                    return True
                break
            within = within[0].caller
        return self.comes_after(flow, key)

    def _contexts(self) -> dict[str, Value]:
        return {"github": self.run.github(), "inputs": self.inputs, "vars": {}}


@dataclass(kw_only=True)
class Run:
    """One run of a workflow file; a re-run is a new attempt with new jobs.

    `cancelled` says whether somebody cancelled it: `cancelled()` asks for no more. `flows` are the
    file and the workflows that its jobs have called so far.
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
    flows: list[Flow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.flows = [Flow(run=self, workflow=self.workflow, inputs=self.workflow.inputs)]

    @property
    def event_name(self) -> str:
        """What started it: a file that has inputs is started by hand."""
        return "workflow_dispatch" if self.workflow.inputs else "push"

    @property
    def status(self) -> str:
        """`queued`, `in_progress`, `waiting` or `completed`, as derived from the jobs.

        `pending` while it has none, behind another run of its group.
        """
        if not self.jobs:
            return "pending"
        done = [job.status == "completed" for job in self.jobs]
        if all(done) and self.flows[0].is_over:
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

    def begin_again(self, *, without: Job | None = None) -> None:
        """A new attempt: of everything, or of one job and what had to wait for it."""
        self.attempt += 1
        self.cancelled = False
        if without is None:
            self.jobs, self.flows = [], self.flows[:1]
            return
        flow, key = without.flow, without.spec.key
        self.jobs = [
            job
            for job in self.jobs
            if job is not without and not job.flow.job_comes_after(job.spec.key, flow, key)
        ]
        self.flows = [each for each in self.flows if not each.comes_after(flow, key)]

    def github(self) -> dict[str, Any]:
        """The `github` context."""
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
    """The result of several jobs: what went wrong with one, went wrong with all."""
    for bad in ("failure", "cancelled"):
        if bad in results:
            return bad
    skipped = [result == "skipped" for result in results]
    if any(skipped) and (skipped_by == "any" or all(skipped)):
        return "skipped"
    return "success"
