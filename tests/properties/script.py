"""What happens to a fleet in one play: jobs, people, and everything that goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cdk_runner_fleet.local.twin.faults import ApiFault, WebhookFault, WebhookFaultKind
from cdk_runner_fleet.local.twin.records import Job, Run
from testbed.laws import job_of
from testbed.stage import NO_CAPACITY, Deed, JobSpec, Stage

DELAY_SECONDS = 0.6

Person = Literal["cancels_at_once", "cancels_running", "reruns"]
Webhook = WebhookFaultKind | Literal["late"]
"""``late``: it comes when its job's runner has another job, at the latest when all is at rest."""
Mishap = Literal["never_boots", "cannot_pull", "interrupted_starting", "interrupted_running"]


@dataclass(frozen=True, kw_only=True)
class Act:
    """A job and what befalls it.

    Attributes:
        labels: Besides ``self-hosted``.
        seconds: How long it takes.
        gated: Whether it waits for an approval, which it gets.
        person: What somebody does to it.
        mishap: What becomes of its task.
        refusals: How often ECS has no capacity for it.
        deaf: Whether the fleet hears nothing of what its runner's hooks report.
        webhooks: What goes wrong with its events, by action.
    """

    labels: tuple[str, ...] = ()
    seconds: float = 0.0
    gated: bool = False
    person: Person | None = None
    mishap: Mishap | None = None
    refusals: int = 0
    deaf: bool = False
    webhooks: tuple[tuple[str, Webhook], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What GitHub answers a few times instead of what it should."""

    status: int
    path: str
    times: int = 1
    applied: bool = False

    @property
    def fault(self) -> ApiFault:
        """The same for the twin. Limits say when they end, and that is soon."""
        limited = self.status == 429
        return ApiFault(
            status=self.status,
            path=self.path,
            times=self.times,
            applied=self.applied,
            headers={"retry-after": "1"} if limited else {},
        )


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A function that ends in the middle."""

    handler: str
    outcome: Literal["crash_after", "crash_before", "times_out"]
    calls: int = 0
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Script:
    """One play."""

    acts: tuple[Act, ...]
    answers: tuple[Answer, ...] = ()
    crashes: tuple[Crash, ...] = ()


def play(stage: Stage, script: Script) -> list[str]:
    """Let it all happen, and everything settle.

    Returns:
        The laws that were broken; none if all is well.
    """
    stage.calm()
    stage.twin.requests_served = 0  # an hour's quota for each play
    ids = stage.next_job_ids(len(script.acts))
    for answer in script.answers:
        stage.twin.api_faults.add(answer.fault)
    for crash in script.crashes:
        stage.fault(
            on="function",
            match=crash.handler,
            outcome=crash.outcome,
            calls=crash.calls,
            times=crash.times,
        )
    for job_id, act in zip(ids, script.acts, strict=True):
        _arm(stage, job_id, act)
    played = _Play(stage)
    for job_id, act in zip(ids, script.acts, strict=True):
        played.begin(job_id, act)
    if any(kind == "late" for act in script.acts for _, kind in act.webhooks):
        stage.quiet()
        played.send_late()
    problems = stage.settle(played.jobs, cancelled=played.cancelled)
    stage.deeds.clear()
    for job in played.jobs:
        stage.twin.board.cancel(job)  # who was told that there is no runner waits no longer
    return problems


def _arm(stage: Stage, job_id: int, act: Act) -> None:
    mine = f"-{job_id}-1"
    for action, kind in act.webhooks:
        stage.twin.webhook_faults.add(
            WebhookFault(
                fault="drop" if kind == "late" else kind,
                action=action,
                job_name=f"job-{job_id}",
                seconds=DELAY_SECONDS,
            )
        )
    if act.deaf:
        stage.fault(
            on="function",
            match="runner_api",
            event=[f"{mine}/events"],
            outcome="crash_after",
            times=None,
        )
    if act.refusals:
        stage.fault(
            on="ecs:RunTask",
            outcome="failure",
            match=mine,
            times=act.refusals,
            reason=NO_CAPACITY,
        )
    if act.mishap in ("never_boots", "cannot_pull"):
        stage.fault(on="task", outcome=act.mishap, match=mine)


class _Play:
    """The jobs of a play, and what people do to them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._late: dict[int, list[str]] = {}
        self.jobs: list[Job] = []
        self.cancelled: set[int] = set()

    def begin(self, job_id: int, act: Act) -> None:
        """Queue a job, and plan for later what is to happen to it later."""
        spec = JobSpec(
            name=f"job-{job_id}", labels=act.labels, seconds=act.seconds, gated=act.gated
        )
        run = self._stage.run(spec)
        (job,) = run.jobs
        assert job.id == job_id
        self.jobs.append(job)
        if act.gated:
            self._stage.twin.board.approve(job)
        self._late[job.id] = [action for action, kind in act.webhooks if kind == "late"]
        deeds = {
            "cancels_at_once": Deed(when=lambda: True, do=lambda: self._cancel(job)),
            "cancels_running": Deed(when=lambda: _is_running(job), do=lambda: self._cancel(job)),
            "reruns": Deed(when=lambda: run.status == "completed", do=lambda: self._rerun(run)),
            "interrupted_starting": Deed(
                when=lambda: _runners(self._stage, job), do=lambda: self._interrupt(job)
            ),
            "interrupted_running": Deed(
                when=lambda: _is_running(job), do=lambda: self._interrupt(job)
            ),
        }
        self._stage.deeds += [deeds[what] for what in (act.person, act.mishap) if what in deeds]
        if self._late[job.id]:
            another = Deed(
                when=lambda: self._runner_has_another(job), do=lambda: self._send_late(job.id)
            )
            self._stage.deeds.append(another)

    def send_late(self) -> None:
        """Send the events that are late and have not come yet."""
        for job_id in self._late:
            self._send_late(job_id)

    def _send_late(self, job_id: int) -> None:
        late = self._late[job_id]
        for event in self._stage.twin.deliveries:
            if event.job_id == job_id and event.action in late and event.status_code is None:
                late.remove(event.action)
                self._stage.twin.hook_deliveries.deliver_again(event)

    def _runner_has_another(self, job: Job) -> bool:
        others = (other for other in self.jobs if other is not job and _is_running(other))
        return job.runner_name is not None and job.runner_name in {o.runner_name for o in others}

    def _cancel(self, job: Job) -> None:
        with self._stage.twin.board.lock:
            if job.status != "completed":
                self.cancelled.add(job.id)
                self._stage.twin.board.cancel(job)

    def _rerun(self, run: Run) -> None:
        self._stage.twin.board.rerun(run)
        self.jobs.extend(run.jobs)

    def _interrupt(self, job: Job) -> None:
        for name in _runners(self._stage, job):
            self._stage.interrupt(name)


def _is_running(job: Job) -> bool:
    return job.status == "in_progress"


def _runners(stage: Stage, job: Job) -> Sequence[str]:
    """The runner that has the job, else those at GitHub that were started for it."""
    if job.runner_name:
        return [job.runner_name]
    return [runner.name for runner in stage.twin.board.registered if job_of(runner.name) == job.id]
