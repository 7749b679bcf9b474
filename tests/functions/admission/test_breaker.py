"""Classes and images whose runners fail are held, and tried again."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.admission.breaker import FAILURES, HOLD_SECONDS, WINDOW_SECONDS
from fleet_runtime.admission.starts import InLine, Started

from .conftest import Fleet, Make


def broken(one: Fleet, first: int, *, failures: int = FAILURES, **changes: Any) -> None:
    for number in range(first, first + failures):
        assert one.queue(number, **changes) == Started(), number
        one.end(number, error="Runner.BootTimeout", job_started=False)


def test_an_image_whose_runners_fail_is_held_and_then_probed(fleet: Make) -> None:
    one = fleet()
    broken(one, 100)
    assert isinstance(one.queue(1), InLine)
    assert one.row(1)["waiting_reason"] == (
        "10 runners of small/default-1 have failed, the last one with Runner.BootTimeout: "
        "it broke; further ones are held until 12:05:00 UTC, then one is tried"
    )
    assert one.queue(2, image_tag="other-1") == Started()
    assert one.queue(3, class_name="large") == Started()
    one.queue(4)
    # who joins behind others is told what holds them all up, not that they are there
    assert "further ones are held until 12:05:00" in one.row(4)["waiting_reason"]
    one.now += HOLD_SECONDS - 1
    assert one.starts.next_in_line() == ()
    one.now += 1
    assert one.starts.next_in_line() == ("fleet-1-1",)
    one.play()
    assert one.starts.next_in_line() == (), "one at a time"
    assert "now fleet-1-1 is tried" in one.why(4)
    # it fails as well: held again, and no longer for being told so twice
    one.end(1, error="Runner.BootTimeout", job_started=False)
    one.now += 5
    one.starts.runner_ended("fleet-1-1")
    assert one.starts.next_in_line() == ()
    assert "held until 12:10:00" in one.why(4)
    one.queue(5)
    one.now += HOLD_SECONDS - 5
    assert one.starts.next_in_line() == ("fleet-4-1",)
    one.play()
    # it gets as far as a job: nothing is held any more
    one.end(4)
    assert one.running[-1] == "fleet-5-1"
    assert not one.turns.held
    assert one.ledger.get("breaker/small/default-1") == {}


def test_a_probe_whose_job_runs_frees_the_others_before_it_ends(fleet: Make) -> None:
    one = fleet()
    broken(one, 100)
    one.queue(1)
    one.queue(2)
    one.now += HOLD_SECONDS
    one.starts.next_in_line()
    one.play()
    one.records.update(
        "fleet-1-1", values={"started_at": one.now}, condition="attribute_exists(runner_id)"
    )
    assert one.starts.next_in_line() == ("fleet-2-1",)


@pytest.mark.parametrize("lost", ["cancelled", "never recorded"])
def test_a_lost_probe_is_followed_by_another(fleet: Make, lost: str) -> None:
    one = fleet()
    broken(one, 100)
    one.queue(1)
    one.queue(2)
    one.now += HOLD_SECONDS
    assert one.starts.next_in_line() == ("fleet-1-1",)
    if lost == "cancelled":
        one.play()
        one.end(1, job_started=False)  # released before it had booted
    else:
        one.dynamodb.delete_item(TableName="runners", Key={"runner_id": {"S": "fleet-1-1"}})
    assert one.starts.next_in_line() == ()
    one.now += 60
    assert one.starts.next_in_line() == ("fleet-2-1",)


def test_a_success_in_between_or_a_slow_series_holds_nothing(fleet: Make) -> None:
    one = fleet()
    broken(one, 100, failures=FAILURES - 1)
    one.queue(1)
    one.end(1)
    broken(one, 200, failures=FAILURES - 1)
    one.now += WINDOW_SECONDS
    broken(one, 300, failures=FAILURES - 1)
    assert one.queue(2) == Started()


@pytest.mark.parametrize("began", ["started_at", "claimed_at"])
def test_one_that_began_before_the_failures_proves_nothing_by_its_end(
    fleet: Make, began: str
) -> None:
    one = fleet()
    one.queue(1)
    one.queue(2)
    for number in (1, 2):
        one.records.update(
            f"fleet-{number}-1", values={began: one.now}, condition="attribute_exists(runner_id)"
        )
    one.now += 60
    broken(one, 100, failures=FAILURES - 1)
    one.end(1, job_started=False)
    broken(one, 200, failures=1)
    assert isinstance(one.queue(3), InLine)
    # nor does it let those go that are held
    one.end(2, job_started=False)
    assert isinstance(one.queue(4), InLine)


@pytest.mark.parametrize(
    "said",
    [
        {"error": "Runner.Terminated", "job_started": False},
        {"error": "Runner.ExecutionEnded", "job_started": False},
        {"error": "Runner.CapabilityMissing", "job_started": False},
        {"error": "Runner.JobTimeout", "job_started": True},
        {"error": "", "job_started": False},
    ],
)
def test_what_is_not_the_images_doing_holds_nothing(fleet: Make, said: dict[str, Any]) -> None:
    one = fleet()
    for number in range(FAILURES + 1):
        assert one.queue(number) == Started()
        one.end(number, **said)


def test_what_a_runner_says_of_a_job_blames_nobody_and_clears_nobody(fleet: Make) -> None:
    one = fleet()
    for number in range(FAILURES + 1):
        assert one.queue(number) == Started()
        say_started(one, number)
        one.end(number, error="Runner.TaskStopped", job_started=False)
    broken(one, 100, failures=FAILURES - 1)
    assert one.queue(50) == Started()
    say_started(one, 50)
    one.end(50, error="Runner.TaskStopped", job_started=False)
    broken(one, 200, failures=1)
    assert isinstance(one.queue(51), InLine)


def say_started(one: Any, number: int) -> None:
    """What the runner's hook has written down."""
    one.records.update(
        f"fleet-{number}-1",
        values={"hook_started_at": one.now},
        condition="attribute_exists(runner_id)",
    )


def test_a_failure_told_often_or_days_late_counts_once_or_not_at_all(fleet: Make) -> None:
    one = fleet()
    broken(one, 100, failures=1)
    for _ in range(FAILURES):
        one.starts.runner_ended("fleet-100-1")
    assert one.queue(1) == Started()
    one.now += 2 * WINDOW_SECONDS
    broken(one, 200, failures=FAILURES - 1)
    one.starts.runner_ended("fleet-100-1")
    assert one.queue(2) == Started()


def test_stragglers_prolong_nothing(fleet: Make) -> None:
    one = fleet()
    for number in range(FAILURES + 3):
        one.queue(number)
    for number in range(FAILURES):
        one.end(number, error="Runner.TaskStopped", job_started=False)
    one.now += 100
    for number in range(FAILURES, FAILURES + 3):
        one.end(number, error="Runner.TaskStopped", job_started=False)
    one.queue(50)
    assert "held until 12:05:00" in one.row(50)["waiting_reason"]


def test_what_nobody_asks_for_any_more_is_not_held_for_ever(fleet: Make) -> None:
    """Else each base that fails leaves a line on the entry that every turn is written to."""
    one = fleet()
    for number in range(3):
        broken(one, 100 * (number + 1), image_tag=f"image-{number}")
    one.ledger.write("turns", "ADD held :s", values={":s": frozenset({"image:small/crashed"})})
    assert len(one.turns.held) == 4
    one.now += 86400
    one.starts.sweep_turns()
    assert one.turns.held == {f"image:small/image-{number}" for number in range(3)}
    one.now += HOLD_SECONDS
    one.starts.sweep_turns()
    assert not one.turns.held
    assert one.ledger.get("breaker/small/image-0") == {}
    assert one.queue(1, image_tag="image-0") == Started()


def test_what_a_crash_between_two_writes_left_held_is_let_go(fleet: Make) -> None:
    one = fleet()
    one.ledger.write("turns", "ADD held :s", values={":s": frozenset({"image:small/default-1"})})
    assert one.queue(1) == Started()
    assert not one.turns.held
