"""Every function dies at every one of its calls, and nothing is left that the fleet does not mend.

A function is killed right after its n-th call to AWS was applied, for each n there is: the first
n that no invocation reaches ends the list. Those that speak to GitHub are also killed right before
a call, when GitHub has done what it was asked to and no row says so yet.

Each point has a job of its own, so that all of a scene are played at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from cdk_runner_fleet.local.twin.faults import ApiFault, WebhookFault
from cdk_runner_fleet.local.twin.records import Job
from tests.properties.laws import ledger_table
from tests.properties.stage import Deed, JobSpec, Stage, open_stage

CALLS_AT_ONCE = 5
MOST_CALLS = 60
JOBS_AT_ONCE = 12
_BASE = "public.ecr.aws/docker/library/node:{n}"
LEAST_RECONCILING_CALLS = 20
"""What a run with work to do needs at the very least: fewer, and it found none."""
NEGLECTED = (1, 2, 4, 6, 9, 12, 15, 18, 21, 24, 28, 32)
"""Calls before which there is new work for it, so that a run dies at each kind of work."""
RETRIES_TOO = 3
"""As often as Lambda makes an asynchronous call: it is lost, and only the queue has it."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A function at one of its events.

    Attributes:
        handler: The function's module.
        event: Texts in the event of a job, by the job's id.
        times: How often it dies at the same point.
        asks_github: Whether it speaks to GitHub between its calls to AWS.
        labels: The job's, besides ``self-hosted``; ``{n}`` is different for each job.
        prelude: What has to happen for the function to be called.
        held_seconds: How long GitHub holds back its jobs' first events: until all are queued, as a
            runner that is there already would take the next one's job.
    """

    handler: str
    event: Callable[[int], list[str]]
    times: int = RETRIES_TOO
    asks_github: bool = False
    labels: tuple[str, ...] = ()
    prelude: Callable[[Stage, int], None] = lambda _stage, _job_id: None
    held_seconds: float = 0.7


@dataclass(kw_only=True)
class Point:
    """A place where a function dies, and the job that it does so for."""

    outcome: str
    calls: int
    job: Job | None = None
    reached: bool = False
    problems: list[str] = field(default_factory=list)


def _task_fails(times: int) -> Callable[[Stage, int], None]:
    def prelude(stage: Stage, job_id: int) -> None:
        stage.fault(on="task", outcome="cannot_pull", match=f"-{job_id}-1", times=times)

    return prelude


def _nobody_needs_it(stage: Stage, job_id: int) -> None:
    """The job is cancelled at once, and nobody tells the fleet."""
    stage.twin.webhook_faults.add(
        WebhookFault(fault="drop", action="completed", job_name=f"job-{job_id}")
    )
    stage.twin.api_faults.add(ApiFault(status=500, path=f"*/jobs/{job_id}", times=3))
    jobs = stage.twin.board.jobs
    stage.deeds.append(
        Deed(
            when=lambda: job_id in jobs,
            do=lambda: stage.twin.board.cancel(jobs[job_id]),
        )
    )


def _aborted(stage: Stage, job_id: int) -> None:
    """Somebody stops the execution while its task boots."""
    runner = f"fleet-{job_id}-1"
    stage.fault(on="task", outcome="never_boots", match=runner)

    def abort() -> None:
        machine = stage.local.outputs["StateMachineArn"]
        stage.local.client("stepfunctions").stop_execution(
            executionArn=f"{machine.replace(':stateMachine:', ':execution:')}:{runner}"
        )

    stage.deeds.append(
        Deed(when=lambda: stage.row(runner).get("waiting_for") == "runner", do=abort)
    )


def _image(*texts: str) -> Callable[[int], list[str]]:
    return lambda job_id: [*texts, _BASE.format(n=job_id % 1000)]


def _delivery(action: str) -> Callable[[int], list[str]]:
    return lambda job_id: [f'"action":"{action}"', f'"id":{job_id}']


def _runner(*texts: str) -> Callable[[int], list[str]]:
    return lambda job_id: [text.format(f"fleet-{job_id}-1") for text in texts]


SCENES = {
    "a delivery": Scene(handler="receive_webhook", event=_delivery("queued"), times=1),
    "queued": Scene(handler="dispatch_event", event=_delivery("queued")),
    "queued, then tried again": Scene(handler="dispatch_event", event=_delivery("queued"), times=1),
    "in progress": Scene(handler="dispatch_event", event=_delivery("in_progress")),
    "completed": Scene(handler="dispatch_event", event=_delivery("completed")),
    "task stopped": Scene(
        handler="dispatch_event",
        event=_runner('"detail-type":"ECS Task State Change"', '"startedBy":"{}"'),
    ),
    "task never came up": Scene(
        handler="dispatch_event",
        event=_runner('"detail-type":"ECS Task State Change"', '"startedBy":"{}"'),
        prelude=_task_fails(1),
    ),
    "execution ended": Scene(
        handler="dispatch_event",
        event=_runner('"detail-type":"Step Functions Execution Status Change"', '"name":"{}"'),
    ),
    "execution aborted": Scene(
        handler="reconcile_demand",
        event=_runner('"detail-type":"Step Functions Execution Status Change"', '"name":"{}"'),
        asks_github=True,
        prelude=_aborted,
    ),
    "image asked for": Scene(
        handler="build_image",
        event=_image('{"image_tag":'),
        times=1,
        labels=(f"image:{_BASE}",),
    ),
    "image built": Scene(
        handler="build_image",
        event=_image('"detail-type":"CodeBuild Build State Change"'),
        labels=(f"image:{_BASE}",),
    ),
    "job cannot be served": Scene(
        handler="dispatch_event", event=_delivery("queued"), labels=("class:huge",)
    ),
    "explanation": Scene(
        handler="explain_job",
        event=_runner('"runner_id":"{}"'),
        asks_github=True,
        labels=("class:huge",),
    ),
    "claim": Scene(
        handler="runner_api", event=_runner("/runners/{}/claim"), times=1, asks_github=True
    ),
    "hook": Scene(handler="runner_api", event=_runner("/runners/{}/events"), times=1),
    "release of an idle runner": Scene(
        handler="deregister_runner",
        event=_runner('"runner_id":"{}"'),
        times=1,
        asks_github=True,
        prelude=_nobody_needs_it,
        held_seconds=2.0,
    ),
    "deregistration of a failed runner": Scene(
        handler="deregister_runner",
        event=_runner('"runner_id":"{}"'),
        times=1,
        asks_github=True,
        prelude=_task_fails(2),
    ),
}


def perform(stage: Stage, scene: Scene) -> list[Point]:
    """Play a scene at all of its points at once; they say what came of it."""
    stage.calm()
    stage.twin.requests_served = 0  # an hour's quota for each scene
    points: list[Point] = []
    for first in range(0, MOST_CALLS, CALLS_AT_ONCE):
        more = _points(scene, first=first)
        for point in more if first else [Point(outcome="times_out", calls=0), *more]:
            _begin(stage, scene, point)
            points.append(point)
        stage.quiet(for_seconds=0.5 + scene.held_seconds)
        _look(stage, points)
        if not points[-1].reached:
            break
    jobs = {point.job.id: point for point in points if point.job}
    never_run = {
        job.id
        for point in points
        if (job := point.job) and job.conclusion == "cancelled" and not job.runner_name
    }
    problems = stage.settle([p.job for p in points if p.job], cancelled=never_run)
    for problem in problems:
        named = re.search(r"\b(?:fleet-|job )(\d+)", problem)
        assert named, problem
        jobs[int(named[1])].problems.append(problem)
    return points


def _points(scene: Scene, *, first: int) -> list[Point]:
    """The points at the next few calls; that of the last call comes last."""
    calls = range(first, first + CALLS_AT_ONCE)
    before = [Point(outcome="crash_before", calls=number) for number in calls if number > 1]
    after = [Point(outcome="crash_after", calls=number) for number in calls]
    return [*(before if scene.asks_github else ()), *after]


def _look(stage: Stage, points: list[Point]) -> None:
    rules = [rule for rule in stage.faults_used() if rule["on"] == "function"]
    for rule, point in zip(rules, points, strict=True):
        point.reached = rule["used"] > 0


def _begin(stage: Stage, scene: Scene, point: Point) -> None:
    stage.until(lambda: stage.stats()["executions_running"] < JOBS_AT_ONCE)
    (job_id,) = stage.next_job_ids(1)
    stage.fault(
        on="function",
        match=scene.handler,
        outcome=point.outcome,
        calls=point.calls,
        event=scene.event(job_id),
        times=scene.times,
    )
    scene.prelude(stage, job_id)
    stage.twin.webhook_faults.add(
        WebhookFault(
            fault="delay",
            action="queued",
            job_name=f"job-{job_id}",
            seconds=scene.held_seconds,
        )
    )
    labels = tuple(label.format(n=job_id % 1000) for label in scene.labels)
    (point.job,) = stage.queue(JobSpec(name=f"job-{job_id}", labels=labels))
    assert point.job.id == job_id
    stage.act()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_stage() as stage:
        yield stage


@pytest.mark.parametrize("name", SCENES)
def test_whatever_call_it_dies_at_is_made_up_for(stage: Stage, name: str) -> None:
    points = perform(stage, SCENES[name])
    assert {0, 1} <= {point.calls for point in points if point.reached}
    assert not points[-1].reached, "it makes more calls than that"
    broken = {
        f"{point.outcome} {point.calls}": point.problems for point in points if point.problems
    }
    assert not broken, json.dumps(broken, indent=1)


def test_reconciliation_dies_at_every_call(stage: Stage) -> None:
    """Each run dies one call later than the one before, right after what it asked of GitHub."""
    stage.calm()
    stage.twin.requests_served = 0
    jobs: list[Job] = []
    for calls in range(1, MOST_CALLS):
        if calls in NEGLECTED:
            jobs += _neglect(stage)
        rule = {"match": "reconcile_demand", "outcome": "crash_before", "calls": calls}
        stage.fault(on="function", **rule)
        if "errorType" not in stage.reconcile():
            break
    else:
        pytest.fail("there is no end to its calls")
    assert calls > LEAST_RECONCILING_CALLS
    stage.calm()
    assert not stage.settle(jobs)


def _neglect(stage: Stage) -> list[Job]:
    """Leave work for reconciliation: two jobs that the fleet has not heard of, and leftovers."""
    dropped, failed = stage.next_job_ids(2)
    stage.twin.webhook_faults.add(
        WebhookFault(fault="drop", action="queued", job_name=f"job-{dropped}")
    )
    stage.fault(
        on="function",
        match="receive_webhook",
        outcome="crash_after",
        event=_delivery("queued")(failed),
    )
    jobs = stage.queue(JobSpec(name=f"job-{dropped}"), JobSpec(name=f"job-{failed}"))
    # a registration and a turn of a runner that is long gone
    ghost = f"fleet-{dropped}-1-r9"
    stage.register(ghost)
    stage.local.client("dynamodb").update_item(
        TableName=ledger_table(stage.local),
        Key={"entry": {"S": "turns"}},
        UpdateExpression="ADD #fleet :ghost",
        ExpressionAttributeNames={"#fleet": "fleet"},
        ExpressionAttributeValues={":ghost": {"SS": [ghost]}},
    )
    return jobs
