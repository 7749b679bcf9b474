"""The order of those who wait."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from fleet_runtime.admission.line import Line, heads, place_of, repository_key
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


def test_nobody_finds_a_name_that_is_counted_as_another_repositorys() -> None:
    """2^40 names are tried in hours, 2^72 in no lifetime."""
    key = repository_key("octo-org/payments")
    assert len(base64.urlsafe_b64decode(key)) * 8 >= 72
    assert "/" not in key, "it would end early in a place"


@dataclass(frozen=True)
class Placed:
    place: str


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 4))
def test_a_look_finds_the_oldest_of_each_repository(lengths: list[int], most: int) -> None:
    line = sorted(
        place_of(f"octo-org/{name}", queued_at=number // 2, runner_id=f"fleet-{number}-1")
        for name, length in enumerate(lengths)
        for number in range(length)
    )
    pages: list[str] = []

    def read(after: str) -> list[Placed]:
        pages.append(after)
        return [Placed(place) for place in line if place > after][:most]

    wanted = [
        place
        for _, places in groupby(line, key=lambda place: place.partition("/")[0])
        for place in list(places)[:most]
    ]
    assert [one.place for one in heads(read, most=most)] == wanted
    assert len(pages) <= 2 * len(lengths) + 1, "what else a repository has is not read"
