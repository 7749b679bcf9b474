"""Who may have a runner: the limits, the budget, and one turn a job however often it is told of."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet_runtime.admission.catalog_reader import CACHE_SECONDS
from fleet_runtime.admission.line import repository_key
from fleet_runtime.admission.starts import InLine, Known, Started
from fleet_runtime.admission.turns import Applicant
from fleet_runtime.aws.client import client

from .conftest import CLASSES, NOON, Make


def test_a_turn_is_held_from_before_the_start_until_the_end(fleet: Make) -> None:
    one = fleet()
    assert one.queue(1) == Started()
    assert one.holders == ["fleet-1-1"]
    assert one.turns.count("fleet") == one.turns.count("class:small") == 1
    assert one.turns.repositories == {repository_key("octo-org/one"): 1}
    one.end(1, cost=0.25)
    assert one.holders == []
    assert one.turns.spent_usd == {"2026-11-21": 0.25}


def test_a_burst_never_passes_the_limit(fleet: Make) -> None:
    one = fleet(10)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: one.starts.start(one.input(n)), range(40)))
    one.play()
    assert len(one.running) == len(set(one.running)) == 10
    assert len(one.holders) == 10
    assert sum(isinstance(answer, InLine) for answer in answers) == 30
    while one.running:
        assert len(one.running) <= 10
        one.end(int(one.running[0].split("-")[1]))
    assert len(one.aws.sfn.named("StartExecution")) == 40, "each job had its runner, once"
    assert one.holders == []


def test_the_same_job_twice_takes_one_turn(fleet: Make) -> None:
    one = fleet(2)
    one.queue(1)
    one.aws.sfn.fail("StartExecution", "ExecutionAlreadyExists")
    assert one.queue(1) == Known()
    assert one.holders == ["fleet-1-1"]


def test_a_job_told_again_after_its_end_keeps_no_turn_and_costs_nothing(fleet: Make) -> None:
    one = fleet(2)
    one.queue(1)
    one.end(1, cost=0.5)
    one.aws.sfn.fail("StartExecution", "ExecutionAlreadyExists")
    assert one.queue(1) == Known()
    assert one.holders == []
    assert one.turns.spent_usd == {"2026-11-21": 0.5}


def test_a_job_told_again_while_others_wait_is_not_put_in_line(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.end(1)
    one.queue(2)
    one.queue(3)
    assert one.queue(1) == Known()
    assert one.row(1)["status"] == "OFFLINE"


def test_a_start_that_fails_is_made_good_by_the_same_event(fleet: Make) -> None:
    one = fleet(1)
    one.aws.sfn.fail("StartExecution", "StateMachineDoesNotExist")
    with pytest.raises(Exception, match="StateMachineDoesNotExist"):
        one.queue(1)
    del one.aws.sfn.answers["StartExecution"]
    assert one.queue(1) == Started()
    assert one.holders == ["fleet-1-1"]


def test_the_turn_of_a_runner_that_took_another_repositorys_job_comes_back_whole(
    fleet: Make,
) -> None:
    one = fleet(1)
    one.queue(1)
    one.records.update(
        "fleet-1-1",
        values={"repository": "octo-org/other"},
        condition="attribute_exists(runner_id)",
    )
    one.end(1)
    assert one.holders == []


def test_a_full_class_or_repository_stops_only_its_own(fleet: Make) -> None:
    one = fleet(3, per_repository=2)
    one.queue(1, class_name="large")
    one.queue(2, class_name="large")
    assert one.row(2)["waiting_reason"] == (
        "class large has 1 of at most 1 runners: the next starts when one has ended, "
        "or raise its max_runners in the class sizes parameter"
    )
    assert one.queue(3) == Started(), "the line's first cannot start, the newcomer can"
    one.queue(4)
    assert one.row(4)["waiting_reason"] == (
        "octo-org/one has 2 of at most 2 runners: the next starts when one has ended, "
        "or raise max_runners_per_repository"
    )
    assert one.queue(5, repository="octo-org/two") == Started()
    one.end(3)
    assert one.running == ["fleet-1-1", "fleet-5-1", "fleet-4-1"]
    one.end(1)
    assert one.running == ["fleet-5-1", "fleet-4-1", "fleet-2-1"]


def test_a_class_limit_that_is_changed_holds_within_the_minute_and_counts_those_who_run(
    fleet: Make,
) -> None:
    one = fleet()
    one.queue(1)
    one.queue(2)
    limited = CLASSES | {"small": CLASSES["small"] | {"max_runners": 2}}
    client("ssm").put_parameter(
        Name="/fleet/class-sizes", Value=json.dumps(limited), Overwrite=True
    )
    one.now += CACHE_SECONDS
    assert isinstance(one.queue(3), InLine)


def test_nobody_overtakes_those_who_wait(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    # the turn is free, but whoever gave it back has not looked at the line yet
    one.entry.leave("fleet-1-1")
    assert one.queue(3) == InLine(reason="other jobs wait before it")
    assert one.running == ["fleet-1-1", "fleet-2-1"]
    assert one.row(3)["waiting_for"] == "turn"


# --- the budget -----------------------------------------------------------------------------


def test_a_spent_budget_stops_starts_until_the_next_day(fleet: Make) -> None:
    one = fleet(budget=1.0)
    for number in (1, 2, 3):
        one.queue(number)
    one.end(1, cost=0.75)
    assert one.queue(4) == Started()
    one.end(2, cost=0.5)
    assert isinstance(one.queue(5), InLine)
    assert one.row(5)["waiting_reason"] == (
        "today's runners and builds of images have cost 1.25 USD of a daily budget of 1.00: "
        "further runners start at 2026-11-22 00:00 UTC, or raise daily_budget_usd"
    )
    assert set(one.running) == {"fleet-3-1", "fleet-4-1"}, "who has a turn runs on"
    one.now += 12 * 3600 - 1
    assert one.starts.next_in_line() == ()
    one.now += 1
    assert one.starts.next_in_line() == ("fleet-5-1",)
    # the new day's first cost begins a new count
    one.play()
    one.end(3, cost=0.125)
    assert one.turns.spent_usd == {"2026-11-21": 1.25, "2026-11-22": 0.125}


@pytest.mark.parametrize(("built", "starts"), [(0.5, True), (0.76, False), (1.5, False)])
def test_what_builds_of_images_cost_is_in_the_budget(
    fleet: Make, built: float, starts: bool
) -> None:
    one = fleet(budget=1)
    one.ledger.update("builds", values={"spent": {"2026-11-20": 9, "2026-11-21": built}})
    if built < 1:
        assert one.queue(1) == Started()
        one.end(1, cost=0.25)
    if starts:
        assert one.queue(2) == Started()
        return
    assert isinstance(one.queue(2), InLine)
    assert one.why(2).startswith(
        f"today's runners and builds of images have cost {built + 0.25 * (built < 1):.2f} USD of "
        "a daily budget of 1.00"
    )
    one.now += 86400
    assert one.starts.next_in_line() == ("fleet-2-1",)


def test_a_budget_is_spent_when_it_is_reached(fleet: Make) -> None:
    one = fleet(budget=1.0)
    one.queue(1)
    one.end(1, cost=1.0)
    assert isinstance(one.queue(2), InLine)


def test_a_cost_told_late_counts_for_its_own_day(fleet: Make) -> None:
    one = fleet(budget=1.0)
    one.queue(1)
    one.queue(2)
    one.now += 86400
    one.end(1, cost=0.25)
    one.now -= 86400
    one.end(2, cost=50.0)
    assert one.turns.spent_usd == {"2026-11-21": 50, "2026-11-22": 0.25}
    assert one.holders == []


def test_a_runner_that_holds_a_turn_is_not_asked_for_money_again(fleet: Make) -> None:
    one = fleet(budget=1.0)
    one.queue(1)
    one.queue(2)
    one.end(1, cost=2)
    assert one.starts.admission.admit(Applicant.of_input(one.input(2))) is None


def test_a_drained_fleet_starts_nobody_until_that_is_taken_back(fleet: Make) -> None:
    one = fleet()
    one.queue(1)
    one.ledger.update("turns", values={"drained_at": NOON})
    answer = one.queue(2)
    assert isinstance(answer, InLine)
    assert "drained since 2026-11-21 12:00 UTC" in answer.reason
    assert "runner-fleet cluster resume" in one.why(2)
    one.end(1)
    assert one.holders == [], "nor does whoever waits, when a turn comes back"
    assert one.queue(1) == Known()
    assert one.queue(3, class_name="large") == InLine(reason=answer.reason)
    one.ledger.write("turns", "REMOVE drained_at")
    assert set(one.starts.next_in_line()) == {"fleet-2-1", "fleet-3-1"}
    assert one.holders == ["fleet-2-1", "fleet-3-1"]
