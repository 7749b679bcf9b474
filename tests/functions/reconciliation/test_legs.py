"""Jobs that GitHub holds back although they are queued, by the clock, over the shipped decisions.

GitHub is played: it gives the oldest leg to any runner that is there, as long as no more run than
may. What is started, and when, is decided by what is shipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.dispatch.held_back import HeldBack, Place
from fleet_runtime.job.job import Job
from fleet_runtime.job.runner_name import first_runner_id, next_runner_id, own_runner_id
from fleet_runtime.reconciliation.demand import (
    Legs,
    Start,
    Wait,
    balance,
    leg_key,
    legs_of_runs,
    next_try,
)
from fleet_runtime.runner.rows import Runner

from ..aws_stand_in import Aws
from .test_demand import GRACE, MEDIUM, NOW, SCOPES, failed, job, runner

MINUTE = 60
BOOT_SECONDS = 45
RECONCILE_SECONDS = 120
STEP_SECONDS = 15
TASK_END_SECONDS = 30
"""From a job's end until its task has stopped and its execution has ended."""


@dataclass
class Clockwork:
    """A run of a matrix, its runners, and the fleet.

    Attributes:
        legs: How many jobs there are.
        seconds: How long each takes.
        at_once: How many GitHub lets run, by the time.
        idle_seconds: How long a runner waits for one.
        held_back: What the fleet's events note, None if not even the ends of its own executions
            are heard of.
        hears_after: How long after its end the fleet hears of that of a job.
    """

    legs: int
    seconds: int
    at_once: int
    idle_seconds: int
    held_back: HeldBack | None
    hears_after: int = 0
    nobody_until: int = 0
    all_from: int | None = None
    jobs: dict[int, Job] = field(default_factory=dict)
    rows: dict[str, Runner] = field(default_factory=dict)

    def run(self) -> int:
        """Play it; returns when the last leg has ended, in seconds."""
        for number in range(1, self.legs + 1):
            one = job(number, created_at=0, started_at=0)
            self.jobs[number] = one
            self.start(own_runner_id(one, prefix="fleet"), now=0)
        for now in range(0, 24 * 60 * MINUTE, STEP_SECONDS):
            self.end_legs(now)
            self.hear(now)
            self.end_idle(now)
            self.assign(now)
            if now % RECONCILE_SECONDS == MINUTE:
                self.reconcile(now)
            if all(one.status == "completed" for one in self.jobs.values()):
                return now
        raise AssertionError([one for one in self.jobs.values() if one.status != "completed"])

    def waits(self) -> Iterator[int]:
        """For each leg that another had to end for: how long after that it began."""
        began = sorted(one.started_at or 0 for one in self.jobs.values())
        ended = sorted(one.completed_at or 0 for one in self.jobs.values())
        return (after - before for before, after in zip(ended, began[self.at_once :], strict=False))

    def start(self, name: str, *, now: int) -> None:
        assert name not in self.rows
        self.rows[name] = runner(
            name,
            repository="o/r",
            run_id=1,
            run_attempt=1,
            recorded_at=now,
            claimed_at=now + BOOT_SECONDS,
        )

    def there(self, now: int) -> Iterator[Runner]:
        """The runners that wait for a job."""
        for row in self.rows.values():
            if not row.is_over and row.started_at is None and (row.claimed_at or 0) <= now:
                yield row

    def assign(self, now: int) -> None:
        if self.all_from is not None and now >= self.all_from:
            self.at_once = self.legs
        for one in self.jobs.values():
            run = sum(each.status == "in_progress" for each in self.jobs.values())
            idle = next(self.there(now), None)
            if run >= self.at_once or now < self.nobody_until or idle is None:
                return
            if one.status == "queued":
                self.rows[idle.runner_id] = replace(idle, started_at=now, job_id=one.job_id)
                self.jobs[one.job_id] = replace(
                    one, status="in_progress", started_at=now, runner_name=idle.runner_id
                )

    def end_legs(self, now: int) -> None:
        for one in list(self.jobs.values()):
            if one.status == "in_progress" and (one.started_at or 0) + self.seconds <= now:
                self.jobs[one.job_id] = replace(one, status="completed", completed_at=now)
                name = one.runner_name or ""
                self.rows[name] = replace(self.rows[name], status="OFFLINE", ended_at=now)

    def hear(self, now: int) -> None:
        for one in self.jobs.values():
            if one.completed_at is not None and one.completed_at + self.hears_after == now:
                self.call_next(one, now)

    def call_next(self, one: Job, now: int) -> None:
        """What the dispatcher does when it hears of an end: see ``test_held_back.py``."""
        place = Place.of_runner(self.rows[one.runner_name or ""])
        for waiter in self.held_back.behind(place) if self.held_back else ():
            assert self.held_back
            assert self.held_back.take(waiter)
            following = self.rows.get(name := next_runner_id(waiter.runner_id))
            if following is None:
                self.start(name, now=now)
            if following is None or not (following.is_over or following.started_at):
                return

    def end_idle(self, now: int) -> None:
        for row in list(self.there(now)):
            if (row.claimed_at or 0) + self.idle_seconds <= now:
                ended = replace(row, status="OFFLINE", live="", ended_at=now)
                self.rows[row.runner_id] = ended
                if self.held_back:
                    self.held_back.note(ended)

    def reconcile(self, now: int) -> None:
        live = [
            row if (row.claimed_at or 0) > now else replace(row, waiting_for="job")
            for row in self.rows.values()
            if not row.is_over
        ]
        queued = [one for one in self.jobs.values() if one.status == "queued"]
        found = balance(queued, live, scopes=SCOPES, prefix="fleet", now=now, grace=GRACE)
        for row in found.surplus:
            self.rows[row.runner_id] = replace(row, status="OFFLINE", live="", released_at=now)
        legs = legs_of_runs(self.jobs.values(), live)
        for one in found.missing:
            own = own_runner_id(one, prefix="fleet")
            tried = [row for row in self.rows.values() if first_runner_id(row.runner_id) == own]
            mine = legs[leg_key(one)]
            decision = next_try(tried, one, legs=mine, now=now, grace=GRACE, ceiling=3)
            if isinstance(decision, Start):
                self.start(decision.runner_id, now=now)
                mine.add_runner()


@pytest.mark.parametrize("idle_seconds", [600, 360], ids=["its own time", "GitHub's patience"])
@pytest.mark.parametrize(
    "hears_after", [0, TASK_END_SECONDS, None], ids=["webhooks", "no webhook", "nothing"]
)
@pytest.mark.parametrize(
    ("legs", "minutes", "at_once"),
    [(10, 12, 1), (10, 5, 1), (6, 25, 1), (30, 12, 5), (12, 90, 2)],
    ids=str,
)
def test_legs_behind_max_parallel_wait_two_minutes_each_at_most(
    *, aws: Aws, legs: int, minutes: int, at_once: int, hears_after: int | None, idle_seconds: int
) -> None:
    """Three where nothing reaches the fleet, not even from its own account: by its lists alone."""
    ledger = Ledger(dynamodb=client("dynamodb"), table="ledger")
    world = Clockwork(
        legs=legs,
        seconds=minutes * MINUTE,
        at_once=at_once,
        idle_seconds=idle_seconds,
        held_back=None if hears_after is None else HeldBack(ledger=ledger),
        hears_after=hears_after or 0,
    )
    waves = -(-legs // at_once)
    ended = world.run() / MINUTE
    # a runner that was missing is found within two minutes, and boots
    patience = (RECONCILE_SECONDS if hears_after is None else hears_after) + BOOT_SECONDS
    assert ended <= waves * (minutes + (patience + 2 * STEP_SECONDS) / MINUTE)
    most = RECONCILE_SECONDS + BOOT_SECONDS + STEP_SECONDS if hears_after is None else 120
    assert max(world.waits()) <= most
    # the first of each, one for each that was held back, and a few to see
    assert len(world.rows) <= 2 * legs + 2 * ended / 60


def test_after_an_outage_the_legs_of_a_run_come_ever_faster(aws: Aws) -> None:
    """GitHub gave nobody a job for three hours, and then everybody one."""
    ledger = Ledger(dynamodb=client("dynamodb"), table="ledger")
    outage = 180 * MINUTE
    world = Clockwork(
        legs=40,
        seconds=30 * MINUTE,
        at_once=40,
        idle_seconds=600,
        held_back=HeldBack(ledger=ledger),
        nobody_until=outage,
    )
    ended = world.run()
    began = [one.started_at or 0 for one in world.jobs.values()]
    assert max(began) - outage <= 25 * MINUTE, sorted(began)
    assert ended <= outage + 60 * MINUTE
    started_in_vain = [row for row in world.rows.values() if row.got_no_job]
    assert len(started_in_vain) <= 40 + outage / (10 * MINUTE), "one of them at a time looks"


@pytest.mark.parametrize("given", [3, 9])
def test_what_github_has_once_overlooked_is_not_taken_for_a_limit(aws: Aws, given: int) -> None:
    """It gave some legs a job and then nobody one for a quarter of an hour; these run for hours."""
    world = Clockwork(
        legs=10,
        seconds=180 * MINUTE,
        at_once=given,
        idle_seconds=360,
        held_back=None,
        all_from=15 * MINUTE,
    )
    world.run()
    began = [one.started_at or 0 for one in world.jobs.values()]
    assert max(began) <= 35 * MINUTE, sorted(began)


# --- one decision at a time ------------------------------------------------------------------


def ran(number: int, *, since: int, until: int | None = None) -> Job:
    status = "in_progress" if until is None else "completed"
    return job(number, status=status, runner_name="x", started_at=NOW - since, completed_at=until)


IN_VAIN = failed(0, ended_at=NOW - 300, status="OFFLINE")


@pytest.mark.parametrize(
    ("others", "spare", "starts"),
    [
        pytest.param([ran(2, since=900)], 0, False, id="another runs, as it did then"),
        pytest.param([ran(2, since=900, until=NOW - 60)], 0, True, id="it has ended since"),
        pytest.param(
            [ran(2, since=900, until=NOW - 60), ran(3, since=30)], 0, False, id="its place is taken"
        ),
        pytest.param(
            [ran(2, since=900, until=NOW - 60)], 1, False, id="a runner waits for the place"
        ),
        pytest.param(
            [ran(2, since=900, until=NOW - 400), ran(3, since=900)], 0, False, id="ended before"
        ),
        pytest.param([], 1, False, id="none ran, and one runner looks"),
        pytest.param([], 0, True, id="none ran, and none looks"),
        pytest.param([ran(2, since=200)], 0, True, id="GitHub gives jobs again"),
        pytest.param([ran(2, since=200), ran(3, since=100)], 1, True, id="and one more"),
        pytest.param([ran(2, since=200)], 1, False, id="not two for one"),
        pytest.param(
            [job(2, status="completed", completed_at=NOW - 9)], 1, False, id="cancelled in line"
        ),
    ],
)
def test_a_place_is_free_or_not(others: list[Job], spare: int, starts: bool) -> None:
    legs = Legs(jobs=[job(1), *others], spare=spare)
    found = next_try([IN_VAIN], job(1), legs=legs, now=NOW, grace=GRACE, ceiling=3)
    assert isinstance(found, Start if starts else Wait), found


@pytest.mark.parametrize(
    ("place", "in_vain", "others", "seconds"),
    [
        pytest.param(1, 1, [ran(90, since=99_999)], 600, id="the first of the run, once"),
        pytest.param(1, 2, [ran(90, since=99_999)], 3600, id="and then each hour"),
        pytest.param(3, 1, [ran(90, since=99_999)], 3 * 3600, id="the third"),
        pytest.param(
            1, 1, [ran(90, since=9999, until=NOW - 40), ran(91, since=30)], 3600, id="it moves on"
        ),
    ],
)
def test_while_others_run_a_runner_looks_after_an_hour_for_each_place(
    place: int, in_vain: int, others: list[Job], seconds: int
) -> None:
    legs = Legs(jobs=[*others, *map(job, range(1, 6))])
    own = f"fleet-{place}-1"
    for early in (1, 0):
        last = replace(IN_VAIN, runner_id=own, ended_at=NOW - seconds + early)
        tried = [last] * in_vain
        found = next_try(tried, job(place), legs=legs, now=NOW, grace=GRACE, ceiling=3)
        assert isinstance(found, Wait if early else Start)


def test_one_that_failed_is_not_held_back() -> None:
    legs = Legs(jobs=[job(1), ran(2, since=900)], spare=3)
    found = next_try([failed(0, ended_at=NOW)], job(1), legs=legs, now=NOW, grace=GRACE, ceiling=3)
    assert found == Start(runner_id="fleet-1-1-r1")


def test_legs_of_one_matrix_may_have_different_labels() -> None:
    """``runs-on: ${{ matrix.os }}``: what ended since was held to the same limit."""
    for until, starts in ((NOW - 60, True), (None, False)):
        other = replace(ran(2, since=900, until=until), labels=MEDIUM)
        legs = legs_of_runs([job(1), other], [])[leg_key(job(1))]
        tried = [replace(IN_VAIN, runner_id=f"fleet-1-1{number}") for number in ("", "-r1", "-r2")]
        found = next_try(tried, job(1), legs=legs, now=NOW, grace=GRACE, ceiling=3)
        assert isinstance(found, Start if starts else Wait), found
