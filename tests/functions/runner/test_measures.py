"""How long a runner's start took and what was paid for nothing, by its row."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.explanation.causes import CAUSES
from fleet_runtime.runner.measures import Start, Waste, label
from fleet_runtime.runner.rows import Runner


def row(**attributes: Any) -> Runner:
    item = {"runner_id": {"S": "fleet-1-1"}}
    return Runner.from_item(
        item
        | {k: {"N" if isinstance(v, (int, float)) else "S": str(v)} for k, v in attributes.items()}
    )


def test_the_phases_of_a_start_follow_one_another() -> None:
    start = Start.of(
        row(queued_at=100, timestamp=104, launched_at=111, claimed_at=140, started_at=142)
    )
    assert start == Start(admission=4, launch=7, boot=29, assignment=2)


def test_what_the_row_does_not_know_is_not_made_up() -> None:
    assert Start.of(row(queued_at=100, timestamp=104)) == Start(
        admission=4, launch=None, boot=None, assignment=None
    )


def test_clocks_that_differ_make_no_time_below_zero() -> None:
    assert Start.of(row(claimed_at=140, started_at=139)).assignment == 0


@pytest.mark.parametrize(
    ("times", "seconds", "usd"),
    [
        # booted for 40 s, had a job for 100 s, went 10 s after it
        ({"launched_at": 0, "started_at": 40, "completed_at": 140, "ended_at": 150}, 50, 0.05),
        # no job came
        ({"launched_at": 0, "ended_at": 150}, 150, 0.15),
        # GitHub has not told of the job's end yet
        ({"launched_at": 0, "started_at": 40, "ended_at": 150}, 40, 0.04),
        # nor of its start: the runner has
        ({"launched_at": 0, "hook_started_at": 50, "ended_at": 150}, 50, 0.05),
        # a minute is paid at least
        ({"launched_at": 0, "started_at": 10, "completed_at": 25, "ended_at": 30}, 45, 0.1125),
    ],
)
def test_waste_is_what_was_paid_without_a_job(
    times: dict[str, int], seconds: int, usd: float
) -> None:
    # a time of 0 is none in rows: an epoch is long ago
    known = {name: at + 1000 for name, at in times.items()}
    assert Waste.of(row(cost_usd=0.15, **known)) == Waste(seconds=seconds, usd=usd)


def test_a_runner_that_was_never_launched_wasted_nothing() -> None:
    assert Waste.of(row(ended_at=5)) is None


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("Ecs.AccessDeniedException", "Ecs"),
        ("DynamoDb.ThrottlingException", "DynamoDb"),
        ("whatever", "Other"),
        ("", "Other"),
        *((error, error) for error in CAUSES),
    ],
)
def test_there_is_a_known_number_of_errors_names(error: str, name: str) -> None:
    assert label(error) == name
