"""The order of those who wait."""

from __future__ import annotations

from fleet_runtime.admission.line import Line, repository_key
from fleet_runtime.runner.rows import Runner


def test_fair_order_counts_those_who_got_their_turn() -> None:
    def runner(number: int, repository: str) -> Runner:
        item = {"runner_id": {"S": str(number)}, "repository": {"S": repository}}
        return Runner.from_item(item | {"queued_at": {"N": str(number)}})

    waiting = [runner(number, "one") for number in (4, 2, 1)] + [
        runner(number, "two") for number in (9, 8, 7)
    ]
    one = repository_key("one")
    line = Line(waiting, running={one: 2}, given=5, last_given={one: 5})
    # two catches up; with as many each, it is the turn of whose last one is longer ago
    in_order = [each.runner_id for each in line.first(10)]
    assert in_order == ["7", "8", "1", "9", "2", "4"]
