"""Turns to build, as pure transitions, and on the real entry with others writing in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.images.build_turns import (
    START_SECONDS,
    TOKEN_SECONDS,
    BuildNotStarted,
    BuildTurns,
    Turn,
    Turns,
)

from ..conftest import Aws


def taken(turns: Turns, *, owner: str = "me", now: int = 1000, most: int = 2) -> tuple[Turns, Turn]:
    turns, turn = turns.take(owner=owner, now=now, most=most)
    assert turn
    return turns, turn


def test_turns_go_in_order_and_jobs_before_rebuilds() -> None:
    turns = Turns()
    for tag, is_rebuild in (("r1", True), ("a", False), ("r2", True), ("b", False)):
        turns = turns.ask(tag, is_rebuild=is_rebuild)
    order = []
    for _ in range(4):
        turns, turn = taken(turns, most=4)
        turns = turns.started(turn.tag, turn.tag, until=9999)
        order.append((turn.tag, turn.is_rebuild))
    assert order == [("a", False), ("b", False), ("r1", True), ("r2", True)]
    assert turns.waiting == 0


def test_there_are_never_more_turns_than_may_be() -> None:
    turns = Turns()
    for tag in "abc":
        turns = turns.ask(tag, is_rebuild=False)
    for owner in ("1", "2"):
        turns, _ = taken(turns, owner=owner)
    assert turns.take(owner="3", now=1000, most=2) == (turns, None)


def test_asking_twice_is_asking_once() -> None:
    turns = Turns().ask("a", is_rebuild=False)
    assert turns.ask("a", is_rebuild=False) == turns
    assert turns.ask("a", is_rebuild=True) == turns
    turns, _ = taken(turns)
    assert turns.ask("a", is_rebuild=False) == turns


def test_a_job_does_not_wait_for_its_images_rebuild_to_have_a_turn() -> None:
    turns = Turns().ask("r", is_rebuild=True).ask("a", is_rebuild=True).ask("a", is_rebuild=False)
    assert (turns.jobs, turns.rebuilds) == (("a",), ("r",))


def test_who_is_tried_again_starts_what_it_had_not_started_with_the_same_token() -> None:
    turns, first = taken(Turns().ask("a", is_rebuild=False))
    turns, again = taken(turns, now=1010)
    assert (again.tag, again.token) == ("a", first.token)
    assert len(turns.held) == 1


def test_others_take_an_unstarted_turn_over_when_its_time_is_up() -> None:
    turns, first = taken(Turns().ask("a", is_rebuild=False))
    before = 1000 + START_SECONDS - 1
    assert turns.take(owner="other", now=before, most=2)[1] is None
    turns, second = taken(turns, owner="other", now=before + 1)
    assert (second.owner, second.token) == ("other", first.token)
    _, third = taken(turns, owner="third", now=1000 + TOKEN_SECONDS)
    assert third.token != first.token


def test_a_started_turn_is_nobodys_to_take() -> None:
    turns, _ = taken(Turns().ask("a", is_rebuild=False))
    turns = turns.started("a", "1", until=2000)
    assert turns.take(owner="me", now=5000, most=2)[1] is None
    assert turns.expired(1999) == ()
    assert [turn.tag for turn in turns.expired(2000)] == ["a"]


def test_the_end_of_a_build_takes_its_own_turn_only() -> None:
    turns, _ = taken(Turns().ask("a", is_rebuild=False))
    assert not turns.end("a", build_id="1", started_at=1000.4).held, "it was not noted yet"
    assert turns.end("a", build_id="0", started_at=999.9) == turns, "an earlier build"
    turns = turns.started("a", "1", until=2000)
    assert turns.started("a", "2", until=3000) == turns
    assert turns.end("a", build_id="2", started_at=1001) == turns
    assert not turns.end("a", build_id="1", started_at=1001).held
    assert Turns().end("a", build_id="1", started_at=1) == Turns()


def test_what_is_put_back_is_next() -> None:
    turns = Turns()
    for tag in ("a", "b"):
        turns = turns.ask(tag, is_rebuild=False)
    turns, _ = taken(turns, most=1)
    assert turns.put_back("a").jobs == ("a", "b")
    assert turns.put_back("b") == turns
    rebuild, _ = taken(Turns().ask("r", is_rebuild=True))
    assert rebuild.put_back("r").rebuilds == ("r",)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "rebuild", "take", "started", "put_back", "drop", "end"]),
        st.sampled_from("abcdef"),
        st.integers(0, 200),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_image_is_lost_or_twice_there(steps: list[tuple[str, str, int]]) -> None:
    turns, now, wanted = Turns(), 0, set()
    for step, tag, seconds in steps:
        now += seconds
        match step:
            case "ask" | "rebuild":
                turns = turns.ask(tag, is_rebuild=step == "rebuild")
                wanted.add(tag)
            case "take":
                turns, _ = turns.take(owner=tag, now=now, most=2)
            case "started":
                turns = turns.started(tag, f"b-{tag}", until=now + 50)
            case "put_back":
                turns = turns.put_back(tag)
            case "drop" | "end":
                had = turns.of(tag)
                turns = (
                    turns.drop(tag)
                    if step == "drop"
                    else turns.end(tag, build_id=f"b-{tag}", started_at=now)
                )
                if had and not turns.of(tag):
                    wanted.discard(tag)
        everywhere = [turn.tag for turn in turns.held] + [*turns.jobs, *turns.rebuilds]
        assert sorted(everywhere) == sorted(wanted)
        assert len(turns.held) <= 2
        assert Turns.parse(turns.dump()) == turns


def test_a_write_in_between_is_not_lost(aws: Aws) -> None:
    ledger = Ledger(dynamodb=aws.dynamodb, table="ledger")
    other = BuildTurns(ledger=ledger, most=2)
    mine = BuildTurns(ledger=ledger, most=2, pause=lambda _: None)
    others = iter("bcd")

    def transition(turns: Turns) -> Turns:
        if tag := next(others, None):
            other.change(lambda turns: turns.ask(tag, is_rebuild=False))
        return turns.ask("a", is_rebuild=False)

    mine.change(transition)
    assert mine.read().jobs == ("b", "c", "d", "a")


def test_endless_writes_in_between_are_tried_again_later(aws: Aws) -> None:
    ledger = Ledger(dynamodb=aws.dynamodb, table="ledger")
    other = BuildTurns(ledger=ledger, most=2)
    pauses: list[float] = []
    mine = BuildTurns(ledger=ledger, most=2, pause=pauses.append)

    def transition(turns: Turns) -> Turns:
        tag = f"b{len(pauses)}"
        other.change(lambda turns: turns.ask(tag, is_rebuild=False))
        return turns.ask("a", is_rebuild=False)

    with pytest.raises(BuildNotStarted, match="just now"):
        mine.change(transition)
    assert sum(pauses) < 5
