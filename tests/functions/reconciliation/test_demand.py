"""Demand against supply: what is missing, what is surplus, what follows a runner that failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_runtime.job.job import Job
from fleet_runtime.job.runner_name import own_runner_id
from fleet_runtime.job.runner_scope import RunnerScopes
from fleet_runtime.job.scope import Scope
from fleet_runtime.reconciliation.demand import (
    Balance,
    GiveUp,
    Legs,
    Start,
    Wait,
    balance,
    next_try,
)
from fleet_runtime.runner.rows import Runner

NOW, GRACE = 10_000, 60
SCOPES = RunnerScopes(github_scope=Scope.parse("orgs/o"))
PLAIN, MEDIUM = ("self-hosted",), ("self-hosted", "class:medium")


def job(job_id: int, *, labels: tuple[object, ...] = PLAIN, age: int = 600, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "repository": "o/r",
        "job_id": job_id,
        "run_id": 1,
        "run_attempt": 1,
        "name": "build",
        "workflow_name": "ci",
        "labels": labels,
        "status": "queued",
        "conclusion": None,
        "runner_name": None,
        "github_runner_id": None,
        "created_at": NOW - age,
        "started_at": NOW - age,
        "completed_at": None,
        "url": "",
        "head_sha": "",
    }
    return Job(**{**values, **changes})


def runner(runner_id: str, *, labels: tuple[str, ...] = PLAIN, **changes: Any) -> Runner:
    row = Runner.from_item({"runner_id": {"S": runner_id}})
    values: dict[str, Any] = {"status": "STARTING", "live": "started", "runner_labels": labels}
    return Runner(**{**vars(row), **values, **changes})


def idle(runner_id: str, *, age: int = 600, **changes: Any) -> Runner:
    values = {"status": "WAITING_FOR_JOB", "waiting_for": "job", "claimed_at": NOW - age}
    return runner(runner_id, **{**values, **changes})


def in_line(runner_id: str, *, age: int = 600) -> Runner:
    return runner(runner_id, live="in_line", waiting_for="turn", recorded_at=NOW - age)


def compare(jobs: list[Job], runners: list[Runner]) -> tuple[list[int], list[str]]:
    found = balance(jobs, runners, scopes=SCOPES, prefix="fleet", now=NOW, grace=GRACE)
    return [one.job_id for one in found.missing], [one.runner_id for one in found.surplus]


@pytest.mark.parametrize(
    ("jobs", "runners", "missing", "surplus"),
    [
        pytest.param([], [], [], [], id="nothing"),
        pytest.param([job(1)], [], [1], [], id="no runner"),
        pytest.param([job(1, age=59)], [], [], [], id="too young to be missing one"),
        pytest.param(
            [job(1, created_at=1, started_at=NOW - 5)], [], [], [], id="approved a moment ago"
        ),
        pytest.param([job(1)], [runner("fleet-1-1")], [], [], id="its runner starts"),
        pytest.param([job(1)], [in_line("fleet-1-1")], [], [], id="its runner is in line"),
        pytest.param([job(1)], [runner("fleet-1-1-r2")], [], [], id="its replacement starts"),
        pytest.param([job(1)], [idle("fleet-9-1")], [], [], id="another's spare runner"),
        pytest.param(
            [job(1)], [idle("fleet-9-1", started_at=5)], [1], [], id="a runner with a job"
        ),
        pytest.param(
            [],
            [idle("fleet-9-1", hook_started_at=5)],
            [],
            ["fleet-9-1"],
            id="a runner with a job by its own word",
        ),
        pytest.param(
            [job(1)], [runner("fleet-1-1", released_at=5)], [1], [], id="a runner that was released"
        ),
        pytest.param(
            [job(1)], [runner("fleet-1-1", status="FAILED")], [1], [], id="one that failed"
        ),
        pytest.param(
            [job(1, labels=MEDIUM)], [idle("fleet-9-1")], [1], ["fleet-9-1"], id="other labels"
        ),
        pytest.param(
            [job(1, labels=("class:MEDIUM", "Self-Hosted"))],
            [runner("fleet-9-1", labels=MEDIUM)],
            [],
            [],
            id="the same labels, whatever case and order",
        ),
        pytest.param(
            [job(2, age=300), job(1, age=200), job(3, age=400)],
            [runner("fleet-3-1")],
            [2, 1],
            [],
            id="the oldest first, but who has one needs none",
        ),
        pytest.param(
            [job(1), job(2, age=5)], [runner("fleet-2-1")], [1], [], id="the young keep theirs"
        ),
        pytest.param(
            [job(1), job(2, age=5)], [runner("fleet-9-1")], [], [], id="a spare one for the old"
        ),
        pytest.param([job(1, labels=("self-hosted", "a,b"))], [], [1], [], id="unreadable labels"),
        pytest.param([], [idle("fleet-1-1")], [], ["fleet-1-1"], id="idle without a job"),
        pytest.param([], [idle("fleet-1-1", age=59)], [], [], id="idle, but not for long"),
        pytest.param([], [runner("fleet-1-1")], [], [], id="booting: its claim looks at the job"),
        pytest.param([], [in_line("fleet-1-1")], [], ["fleet-1-1"], id="in line without a job"),
        pytest.param([], [in_line("fleet-1-1", age=59)], [], [], id="just joined the line"),
        pytest.param([job(1, age=5)], [idle("fleet-9-1")], [], [], id="the young count too"),
        pytest.param(
            [job(1, age=5)],
            [idle("fleet-1-1", queued_at=1), idle("fleet-9-1", queued_at=2)],
            [],
            ["fleet-9-1"],
            id="whose own job is gone goes first",
        ),
        pytest.param(
            [job(1)],
            [runner("fleet-1-1"), idle("fleet-9-1")],
            [],
            [],
            id="an idle one serves before the one that boots",
        ),
        pytest.param(
            [job(1)],
            [in_line("fleet-1-1"), idle("fleet-9-1")],
            [],
            ["fleet-1-1"],
            id="who is in line goes before one that is there",
        ),
    ],
)
def test_balance(
    jobs: list[Job], runners: list[Runner], missing: list[int], surplus: list[str]
) -> None:
    assert compare(jobs, runners) == (missing, surplus)


def test_hundreds_of_one_repositorys_missing_jobs_keep_no_others_waiting() -> None:
    crowd = [job(number, age=600 - number, repository="octo-org/crowd") for number in range(1, 301)]
    other = [job(number, age=100, repository="octo-org/other") for number in (901, 902)]
    missing, _ = compare([*crowd, *other], [])
    assert missing[:5] == [1, 901, 2, 902, 3]
    assert len(missing) == 302


def test_no_job_is_compared_with_every_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand of one repository would use up the function's time before it has begun."""
    compared: list[object] = []
    monkeypatch.setattr(Job, "__eq__", lambda *both: compared.append(both) or False)
    jobs = [job(number, age=600 if number % 2 else 1) for number in range(1, 101)]
    found = balance(jobs, [], scopes=SCOPES, prefix="fleet", now=NOW, grace=GRACE)
    assert (len(found.missing), len(found.fresh)) == (50, 50)
    assert len(compared) < len(jobs)


def test_runners_of_jobs_that_nobody_has_listed_are_no_supply_of_others() -> None:
    """A repository has more runs than are listed at once: those wait in line, and are not seen."""
    unseen = [
        replace(in_line(f"fleet-{number}-1"), repository="octo-org/crowd")
        for number in range(100, 200)
    ]
    seen = replace(in_line("fleet-1-1"), repository="octo-org/crowd")
    jobs = [job(1, repository="octo-org/crowd"), job(901, repository="octo-org/other")]

    def missing(unlisted: set[str]) -> list[int]:
        found = balance(
            jobs,
            [*unseen, seen],
            scopes=SCOPES,
            prefix="fleet",
            now=NOW,
            grace=GRACE,
            unlisted=unlisted,
        )
        return [one.job_id for one in found.missing]

    assert missing({"octo-org/crowd"}) == [901]
    assert missing(set()) == []


LABELS = st.sampled_from([PLAIN, MEDIUM])
JOBS = st.lists(
    st.builds(job, st.integers(1, 12), labels=LABELS, age=st.integers(0, 200)),
    unique_by=lambda one: one.job_id,
)
RUNNERS = st.lists(
    st.builds(
        lambda number, again, kind, labels, age: {
            "idle": idle,
            "in_line": lambda name, **rest: runner(
                name, live="in_line", waiting_for="turn", recorded_at=NOW - age, labels=labels
            ),
            "boots": lambda name, **rest: runner(name, labels=labels),
            "runs": lambda name, **rest: runner(name, labels=labels, started_at=5),
        }[kind](f"fleet-{number}-1{again}", age=age, labels=labels),
        st.integers(1, 15),
        st.sampled_from(["", "-r1"]),
        st.sampled_from(["idle", "in_line", "boots", "runs"]),
        LABELS,
        st.integers(0, 200),
    ),
    unique_by=lambda one: one.runner_id,
)


def decide(jobs: list[Job], runners: list[Runner]) -> Balance:
    return balance(jobs, runners, scopes=SCOPES, prefix="fleet", now=NOW, grace=GRACE)


def spare(runners: list[Runner], labels: tuple[str, ...]) -> list[Runner]:
    return [one for one in runners if one.runner_labels == labels and one.started_at is None]


@pytest.mark.parametrize(
    ("jobs", "runners", "fresh"),
    [
        pytest.param([job(1, age=59)], [], [1], id="its event may be lost"),
        pytest.param([job(1, age=60)], [], [], id="old enough to be missing"),
        pytest.param([job(1, age=5)], [runner("fleet-1-1")], [], id="its event has come"),
        pytest.param([job(1, age=5)], [idle("fleet-9-1")], [], id="a spare one is there"),
        pytest.param(
            [job(1), job(2, age=5)], [idle("fleet-9-1")], [2], id="the spare one is for the old"
        ),
        pytest.param([job(2, age=5), job(1, age=9)], [], [1, 2], id="the oldest first"),
        pytest.param([job(1, age=5)], [idle("fleet-9-1", labels=MEDIUM)], [1], id="other labels"),
    ],
)
def test_fresh_jobs(jobs: list[Job], runners: list[Runner], fresh: list[int]) -> None:
    assert [one.job_id for one in decide(jobs, runners).fresh] == fresh


@given(JOBS, RUNNERS)
def test_all_that_is_queued_has_a_runner_after_it_and_no_more(
    jobs: list[Job], runners: list[Runner]
) -> None:
    found = decide(jobs, runners)
    for labels in (PLAIN, MEDIUM):
        queued = [one for one in jobs if one.labels == labels]
        begun = [one for one in (*found.missing, *found.fresh) if one.labels == labels]
        supply = len(spare(runners, labels)) + len(begun)
        assert supply >= len(queued)
        assert not begun or supply == len(queued)


@given(JOBS, RUNNERS)
def test_after_it_every_old_job_can_be_served_and_no_more(
    jobs: list[Job], runners: list[Runner]
) -> None:
    found = decide(jobs, runners)
    for labels in (PLAIN, MEDIUM):
        queued = [one for one in jobs if one.labels == labels]
        old = [
            one for one in queued if one.created_at is not None and one.created_at <= NOW - GRACE
        ]
        missing = [one for one in found.missing if one.labels == labels]
        surplus = [one for one in found.surplus if one.runner_labels == labels]
        supply = len(spare(runners, labels)) + len(missing) - len(surplus)
        assert supply >= len(old)
        assert not missing or supply <= len(queued)
        assert not surplus or supply >= len(queued)


@given(JOBS, RUNNERS)
def test_started_and_released_leaves_nothing_to_do(jobs: list[Job], runners: list[Runner]) -> None:
    found = decide(jobs, runners)
    gone = {one.runner_id for one in found.surplus}
    new = [
        runner(own_runner_id(one, prefix="fleet") + "-r9", labels=one.labels)
        for one in found.missing
    ]
    again = decide(jobs, [one for one in runners if one.runner_id not in gone] + new)
    assert again.missing == ()
    assert again.surplus == ()


@given(JOBS, RUNNERS)
def test_only_what_it_may(jobs: list[Job], runners: list[Runner]) -> None:
    found = decide(jobs, runners)
    own = {one.runner_id.removesuffix("-r1") for one in runners if one.started_at is None}
    for one in found.missing:
        assert one.created_at is not None
        assert one.created_at <= NOW - GRACE
        labelled = {r.runner_id.removesuffix("-r1") for r in spare(runners, one.labels)}
        assert own_runner_id(one, prefix="fleet") not in own & labelled
    for gone in found.surplus:
        assert gone.started_at is None
        assert gone.waiting_for in ("job", "turn")


# --- what follows a runner that came to nothing ----------------------------------------------


def failed(number: int, *, ended_at: int, **changes: Any) -> Runner:
    name = f"fleet-1-1-r{number}" if number else "fleet-1-1"
    return runner(name, **{"status": "FAILED", "live": "", "ended_at": ended_at, **changes})


def chain(*ended_at: int) -> list[Runner]:
    return [failed(number, ended_at=at) for number, at in enumerate(ended_at)]


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        pytest.param(chain(NOW), "fleet-1-1-r1", id="the first one at once"),
        pytest.param(chain(1, NOW - 599), None, id="the second after ten minutes: not yet"),
        pytest.param(chain(1, NOW - 600), "fleet-1-1-r2", id="the second after ten minutes"),
        pytest.param(chain(1, 2, NOW - 3599), None, id="the third after an hour: not yet"),
        pytest.param(chain(1, 2, NOW - 3600), "fleet-1-1-r3", id="the third after an hour"),
        pytest.param(
            [failed(0, ended_at=NOW - 599, error="Image.BuildFailed")],
            None,
            id="what has to be mended first: not yet",
        ),
        pytest.param(
            [failed(0, ended_at=NOW - 600, error="Image.BuildFailed")],
            "fleet-1-1-r1",
            id="what has to be mended first, after ten minutes",
        ),
        pytest.param(
            [failed(0, ended_at=NOW, error="Runner.Terminated", released_at=NOW)],
            "fleet-1-1-r1",
            id="somebody terminated it, and its job is still queued",
        ),
        pytest.param([runner("fleet-1-1")], None, id="it is alive, the index was behind"),
        pytest.param(
            [failed(0, ended_at=1), failed(1, ended_at=NOW, started_at=5, job_id=7)],
            "fleet-1-1-r2",
            id="a runner that another job took has not failed",
        ),
        pytest.param(
            [runner("fleet-1-1", started_at=5, job_id=7)],
            "fleet-1-1-r1",
            id="a runner that another job has now",
        ),
        pytest.param(
            [failed(0, ended_at=NOW, started_at=NOW - 20, job_id=1)],
            None,
            id="the job itself ran: GitHub's list is behind",
        ),
        pytest.param(
            [failed(0, ended_at=NOW, status="OFFLINE", hook_started_at=NOW - 20, job_id=1)],
            None,
            id="it said that it had the job: GitHub may be behind",
        ),
        pytest.param(
            [failed(0, ended_at=NOW, status="OFFLINE", hook_started_at=NOW - 300, job_id=1)],
            "fleet-1-1-r1",
            id="it said so minutes ago, and GitHub knows nothing of it",
        ),
        pytest.param(
            [
                failed(0, ended_at=1, status="OFFLINE", released_at=1),
                failed(1, ended_at=NOW, status="OFFLINE", released_at=NOW),
            ],
            "fleet-1-1-r2",
            id="released twice, and missing now",
        ),
        pytest.param(
            [failed(number, ended_at=NOW - 3599, status="OFFLINE") for number in range(6)],
            None,
            id="no job came to six: not yet",
        ),
        pytest.param(
            [failed(number, ended_at=NOW - 3600, status="OFFLINE") for number in range(6)],
            "fleet-1-1-r6",
            id="no job came to six: one an hour, however long GitHub assigns none",
        ),
    ],
)
def test_next_try(tried: list[Runner], expected: str | None) -> None:
    found = next_try(tried, job(1), legs=Legs(), now=NOW, grace=GRACE, ceiling=3)
    if expected is None:
        assert isinstance(found, Wait)
        assert found.reason
    else:
        assert found == Start(runner_id=expected)


def test_enough_is_enough() -> None:
    tried = chain(1, 2, 3, 4)
    assert next_try(tried, job(1), legs=Legs(), now=NOW, grace=GRACE, ceiling=3) == GiveUp(
        last=tried[-1]
    )


def test_pauses_scale_with_the_grace() -> None:
    assert isinstance(
        next_try(chain(1, NOW - 9), job(1), legs=Legs(), now=NOW, grace=1, ceiling=3), Wait
    )
    found = next_try(chain(1, NOW - 10), job(1), legs=Legs(), now=NOW, grace=1, ceiling=3)
    assert found == Start(runner_id="fleet-1-1-r2")


@given(st.lists(st.integers(0, NOW), min_size=1, max_size=8), st.integers(0, 5))
def test_never_more_runners_than_the_ceiling_says(ended_at: list[int], ceiling: int) -> None:
    found = next_try(chain(*ended_at), job(1), legs=Legs(), now=NOW, grace=GRACE, ceiling=ceiling)
    assert isinstance(found, GiveUp) == (len(ended_at) > ceiling)


BY_REPOSITORY = RunnerScopes(github_scope=Scope.parse("orgs/o"), register_for="repository")


@pytest.mark.parametrize(
    ("registered_for", "missing", "surplus"),
    [("repos/o/r", [], []), ("repos/O/R", [], []), ("repos/o/other", [1], ["fleet-9-1"])],
)
def test_a_repositorys_runner_is_no_supply_for_another_repositorys_job(
    registered_for: str, missing: list[int], surplus: list[str]
) -> None:
    there = [idle("fleet-9-1", registered_for=registered_for)]
    found = balance([job(1)], there, scopes=BY_REPOSITORY, prefix="fleet", now=NOW, grace=GRACE)
    assert [one.job_id for one in found.missing] == missing
    assert [one.runner_id for one in found.surplus] == surplus
