"""Every function dies at every one of its calls, and nothing is left that the fleet does not mend.

A function is killed right after its n-th call to AWS was applied, for each n there is: the first
n that no invocation reaches ends the list. How many there are, it shows at its first death, which
comes when all is done but the answer. Those that speak to GitHub are also killed right before every
other call, at each commit the other half, when GitHub has done what it was asked to and no row says
so yet.

Each point has a job of its own, with labels of its own, so that no job takes another's runner: all
are played at once, and the laws are looked at when the fleet has settled.

A function that Lambda calls again dies once at each point, and is made up for by that call. At one
point in so many, at each commit at others, it dies as often as Lambda calls it; `make test-deep`
plays both at every point.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from cdk_runner_fleet.local.twin.faults import ApiFault, WebhookFault
from cdk_runner_fleet.local.twin.records import Job
from fleet_runtime.admission.turns import Applicant
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws.ledger import Ledger
from testbed.laws import ledger_table
from testbed.stage import REPOSITORY, Deed, JobSpec, Stage, changed, open_stage
from tests import settings
from tests.rotation import DEEP, is_due
from tests.settings import CRASH_CLASSES

MOST_CALLS = 60
JOBS_AT_ONCE = 12
BASE = "public.ecr.aws/docker/library/node:{n}"
RETRIES_TOO = 3
"""As often as Lambda makes an asynchronous call: it is lost, and only the queue has it."""
LOST_ONE_IN = 5
BEFORE_ONE_IN = 2


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A function at one of its events.

    Attributes:
        handler: The function's module.
        event: Texts in the event of a job, by the job's id.
        called_again: Whether Lambda calls it again, so that it can die three times at one point.
        asks_github: Whether it speaks to GitHub between its calls to AWS.
        labels: The job's, besides ``self-hosted``; ``{n}`` is different for each job. Default: a
            class that no other job has.
        prelude: What has to happen for the function to be called.
    """

    handler: str
    event: Callable[[int], list[str]]
    called_again: bool = True
    asks_github: bool = False
    labels: tuple[str, ...] = ()
    prelude: Callable[[Stage, int], None] = lambda _stage, _job_id: None


@dataclass(kw_only=True)
class Point:
    """A place where a function dies, by the emulator's rule, and the job that it does so for.

    Attributes:
        made: How many calls it had made by then.
    """

    outcome: str
    calls: int
    times: int = 1
    rule: int = 0
    job: Job | None = None
    reached: bool = False
    made: int = 0
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
    return lambda job_id: [*texts, BASE.format(n=job_id % 1000)]


def _delivery(action: str) -> Callable[[int], list[str]]:
    return lambda job_id: [f'"action":"{action}"', f'"id":{job_id}']


def _runner(*texts: str) -> Callable[[int], list[str]]:
    return lambda job_id: [text.format(f"fleet-{job_id}-1") for text in texts]


SCENES = {
    "a delivery": Scene(handler="receive_webhook", event=_delivery("queued"), called_again=False),
    "queued": Scene(handler="dispatch_event", event=_delivery("queued")),
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
        called_again=False,
        labels=(f"image:{BASE}",),
    ),
    "image built": Scene(
        handler="build_image",
        event=_image('"detail-type":"CodeBuild Build State Change"'),
        labels=(f"image:{BASE}",),
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
        handler="runner_api",
        event=_runner("/runners/{}/claim"),
        called_again=False,
        asks_github=True,
    ),
    "hook": Scene(handler="runner_api", event=_runner("/runners/{}/events"), called_again=False),
    "release of an idle runner": Scene(
        handler="deregister_runner",
        event=_runner('"runner_id":"{}"'),
        called_again=False,
        asks_github=True,
        prelude=_nobody_needs_it,
    ),
    "deregistration of a failed runner": Scene(
        handler="deregister_runner",
        event=_runner('"runner_id":"{}"'),
        called_again=False,
        asks_github=True,
        prelude=_task_fails(2),
    ),
}


class Play:
    """All scenes on one fleet: dead after all calls, then at each of them, until none is left."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.points: dict[str, list[Point]] = {
            name: _deaths(scene, "times_out", 0) for name, scene in SCENES.items()
        }

    def perform(self) -> None:
        self._play()
        for name, points in self.points.items():
            made = max(point.made for point in points)
            self.points[name] += _points(SCENES[name], range(1, made + 2))
        self._play()
        while unended := [name for name, points in self.points.items() if points[-1].reached]:
            for name in unended:
                following = self.points[name][-1].calls + 1
                assert following < MOST_CALLS, name
                self.points[name] += _points(SCENES[name], range(following, following + 1))
            self._play()
        self._settle()

    def _play(self) -> None:
        for name, points in self.points.items():
            for point in points:
                if point.job is None:
                    self._begin(SCENES[name], point)
        self._stage.quiet()
        self._look()

    def _begin(self, scene: Scene, point: Point) -> None:
        stage = self._stage
        stage.until(lambda: stage.at_work() < JOBS_AT_ONCE)
        (job_id,) = stage.next_job_ids(1)
        point.rule = stage.fault(
            on="function",
            match=scene.handler,
            outcome=point.outcome,
            calls=point.calls,
            event=scene.event(job_id),
            times=point.times,
        )
        scene.prelude(stage, job_id)
        labels = tuple(label.format(n=job_id % 1000) for label in scene.labels)
        (point.job,) = stage.queue(
            JobSpec(name=f"job-{job_id}", labels=labels or own_labels(job_id))
        )
        assert point.job.id == job_id
        stage.act()

    def _look(self) -> None:
        rules = self._stage.faults_used()
        for points in self.points.values():
            for point in points:
                rule = rules[point.rule]
                point.reached, point.made = rule["used"] > 0, rule["calls_made"]

    def _settle(self) -> None:
        points = [point for points in self.points.values() for point in points]
        jobs = {point.job.id: point for point in points if point.job}
        never_run = {
            job.id
            for point in points
            if (job := point.job) and job.conclusion == "cancelled" and not job.runner_name
        }
        for problem in self._stage.settle(
            [point.job for point in points if point.job], cancelled=never_run
        ):
            named = re.search(r"\b(?:fleet-|job )(\d+)", problem)
            assert named, problem
            jobs[int(named[1])].problems.append(problem)
        for point in points:
            if point.job:
                self._stage.twin.board.cancel(point.job)  # those that cannot be served


def _points(scene: Scene, calls: range) -> list[Point]:
    """The points at these calls; that of the last call comes last."""
    outcomes = ("crash_before", "crash_after") if scene.asks_github else ("crash_after",)
    return [
        point
        for number in calls
        for outcome in outcomes
        if outcome == "crash_after" or (number > 1 and is_due(number, one_in=BEFORE_ONE_IN))
        for point in _deaths(scene, outcome, number)
    ]


def _deaths(scene: Scene, outcome: str, calls: int) -> list[Point]:
    """The function's deaths at one point that are due: once, or as often as Lambda calls it."""
    is_lost = scene.called_again and is_due(calls, one_in=LOST_ONE_IN)
    once = [1] if DEEP or not is_lost else []
    return [
        Point(outcome=outcome, calls=calls, times=times)
        for times in (*once, *([RETRIES_TOO] if is_lost else []))
    ]


def own_labels(job_id: int) -> tuple[str, str]:
    """A class that no other job of these minutes has, and a label that none ever has.

    The class is for the breaker, which counts by it; the label is for GitHub, and for jobs that are
    held back behind others with the same ones.
    """
    return (f"class:c{job_id % CRASH_CLASSES}", f"run-id={job_id}")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_stage(settings.CRASHES) as stage:
        yield stage


@pytest.fixture(scope="module")
def play(stage: Stage) -> Play:
    play = Play(stage)
    play.perform()
    return play


@pytest.mark.parametrize("name", SCENES)
def test_whatever_call_it_dies_at_is_made_up_for(play: Play, name: str) -> None:
    points = play.points[name]
    assert {0, 1} <= {point.calls for point in points if point.reached}
    assert not points[-1].reached, "it makes more calls than that"
    broken = {
        f"{point.outcome} {point.calls}, {point.times} x": point.problems
        for point in points
        if point.problems
    }
    assert not broken, json.dumps(broken, indent=1)


def test_reconciliation_dies_at_every_call(stage: Stage) -> None:
    """Each run dies one call later than the one before, right after what it asked of GitHub."""
    stage.calm()
    stage.twin.requests_served = 0  # an hour's quota
    jobs = _neglect(stage)
    _leave_over(stage, f"fleet-{jobs[0].id}-1-r9")
    for calls in range(1, MOST_CALLS):
        if all(job.status != "queued" for job in jobs):
            jobs += _neglect(stage)
        rule = {"match": "reconcile_demand", "outcome": "crash_before", "calls": calls}
        stage.fault(on="function", **rule)
        report = stage.reconcile()
        if "errorType" not in report and changed(report):
            break
    else:
        pytest.fail("there is no end to its calls")
    stage.calm()
    assert not stage.settle(jobs)


def _neglect(stage: Stage) -> list[Job]:
    """Two jobs that the fleet does not hear of."""
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
    return stage.queue(
        JobSpec(name=f"job-{dropped}", labels=own_labels(dropped)),
        JobSpec(name=f"job-{failed}", labels=own_labels(failed)),
    )


def _leave_over(stage: Stage, runner: str) -> None:
    """A registration and a turn of a runner that is long gone."""
    stage.register(runner)
    dynamodb, table = stage.local.client("dynamodb"), ledger_table(stage.local)
    ledger = Ledger(dynamodb=dynamodb, table=table, clock=lambda: 0)
    gone = Applicant(runner_id=runner, class_name="medium", repository=REPOSITORY, image_tag="t")
    TurnsEntry(ledger).take(gone, conditions=[], names={}, values={}, in_line=False)
