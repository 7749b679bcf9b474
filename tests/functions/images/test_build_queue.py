"""The queue of builds, as pure transitions, and on its entry with others writing in between."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.images.build_queue import (
    START_SECONDS,
    TOKEN_SECONDS,
    BuildNotStarted,
    BuildQueue,
    BuildQueueEntry,
    BuildTurn,
)

from ..aws_stand_in import Aws


def taken(
    queue: BuildQueue, *, owner: str = "me", now: int = 1000, most: int = 2
) -> tuple[BuildQueue, BuildTurn]:
    queue, turn = queue.take(owner=owner, now=now, most=most)
    assert turn
    return queue, turn


def test_turns_go_in_order_and_jobs_before_rebuilds() -> None:
    queue = BuildQueue()
    for tag, is_rebuild in (("r1", True), ("a", False), ("r2", True), ("b", False)):
        queue = queue.ask(tag, is_rebuild=is_rebuild)
    order = []
    for _ in range(4):
        queue, turn = taken(queue, most=4)
        queue = queue.started(turn.tag, turn.tag, until=9999)
        order.append((turn.tag, turn.is_rebuild))
    assert order == [("a", False), ("b", False), ("r1", True), ("r2", True)]
    assert queue.waiting == 0


def asking(repository: str, *tags: str, queue: BuildQueue | None = None) -> BuildQueue:
    queue = queue or BuildQueue()
    for tag in tags:
        queue = queue.ask(tag, is_rebuild=False, asked_by=[repository])
    return queue


def order(queue: BuildQueue, *, most: int, most_of_one: int | None = None) -> list[str]:
    """Take the turns there are, and whenever there are no more end the oldest build."""
    tags: list[str] = []
    while True:
        queue, turn = queue.take(owner="me", now=1000, most=most, most_of_one=most_of_one)
        if turn:
            tags.append(turn.tag)
            queue = queue.started(turn.tag, turn.tag, until=9999)
        elif queue.wanted and queue.held:
            queue = queue.drop(queue.held[0].tag)
        else:
            return tags


@pytest.mark.parametrize("most", [1, 5])
def test_many_images_of_one_repository_keep_no_others_waiting(most: int) -> None:
    crowd = [f"crowd-{number}" for number in range(20)]
    queue = asking("octo-org/two", "two-1", "two-2", queue=asking("octo-org/one", *crowd))
    turns = order(asking("octo-org/three", "three", queue=queue), most=most)
    assert turns[:6] == ["crowd-0", "two-1", "three", "crowd-1", "two-2", "crowd-2"]
    assert len(turns) == 23


def test_a_turn_is_left_for_a_repository_that_has_none() -> None:
    queue = asking("octo-org/one", "a", "b", "c")
    for owner in ("1", "2", "3"):
        queue, _ = queue.take(owner=owner, now=1000, most=3, most_of_one=2)
    assert [turn.tag for turn in queue.held] == ["a", "b"]
    late, turn = asking("octo-org/two", "d", queue=queue).take(
        owner="4", now=1000, most=3, most_of_one=2
    )
    assert (turn and turn.tag, late.jobs) == ("d", ("c",))
    _, turn = queue.ask("r", is_rebuild=True).take(owner="4", now=1000, most=3, most_of_one=2)
    assert turn and turn.is_rebuild, "nor do rebuilds wait for ever"


def test_what_is_nobodys_goes_before_all() -> None:
    queue = asking("octo-org/one", "a", "b").ask("default", is_rebuild=False)
    assert order(queue, most=1) == ["default", "a", "b"]
    assert order(queue.ask("default", is_rebuild=False, asked_by=["octo-org/one"]), most=1) == [
        "default",
        "a",
        "b",
    ]


def test_an_image_of_several_repositories_has_the_turn_of_whichever_comes_first() -> None:
    crowd = asking("octo-org/one", *"abcdef")
    queue = asking("octo-org/two", "f", queue=crowd)
    assert order(queue, most=1) == ["a", "f", "b", "c", "d", "e"]
    assert queue.ask("f", is_rebuild=False, asked_by=["octo-org/two"]) == queue


def test_what_is_put_back_is_its_repositories_still() -> None:
    queue, turn = taken(asking("octo-org/one", "a"))
    assert turn.repository == "octo-org/one"
    assert queue.put_back("a") == asking("octo-org/one", "a")


def test_what_a_build_has_cost_is_counted_with_the_end_of_its_turn() -> None:
    queue, _ = taken(asking("octo-org/one", "a"))
    queue = queue.started("a", "1", until=2000)
    told = {"build_id": "1", "started_at": 1001, "day": "2026-11-21", "cost_usd": 0.15}
    ended = queue.end("a", **told)  # type: ignore[arg-type]
    assert ended.spent == {"2026-11-21": 0.15}
    assert ended.end("a", **told).spent == ended.spent, "its end may be told twice"  # type: ignore[arg-type]


def test_there_are_never_more_turns_than_may_be() -> None:
    queue = BuildQueue()
    for tag in "abc":
        queue = queue.ask(tag, is_rebuild=False)
    for owner in ("1", "2"):
        queue, _ = taken(queue, owner=owner)
    assert queue.take(owner="3", now=1000, most=2) == (queue, None)


def test_asking_twice_is_asking_once() -> None:
    queue = BuildQueue().ask("a", is_rebuild=False)
    assert queue.ask("a", is_rebuild=False) == queue
    assert queue.ask("a", is_rebuild=True) == queue
    queue, _ = taken(queue)
    assert queue.ask("a", is_rebuild=False) == queue


def test_a_job_does_not_wait_for_its_images_rebuild_to_have_a_turn() -> None:
    queue = (
        BuildQueue().ask("r", is_rebuild=True).ask("a", is_rebuild=True).ask("a", is_rebuild=False)
    )
    assert (queue.jobs, queue.rebuilds) == (("a",), ("r",))


def test_who_is_tried_again_starts_what_it_had_not_started_with_the_same_token() -> None:
    queue, first = taken(BuildQueue().ask("a", is_rebuild=False))
    queue, again = taken(queue, now=1010)
    assert (again.tag, again.token) == ("a", first.token)
    assert len(queue.held) == 1


def test_others_take_an_unstarted_turn_over_when_its_time_is_up() -> None:
    queue, first = taken(BuildQueue().ask("a", is_rebuild=False))
    before = 1000 + START_SECONDS - 1
    assert queue.take(owner="other", now=before, most=2)[1] is None
    queue, second = taken(queue, owner="other", now=before + 1)
    assert (second.owner, second.token) == ("other", first.token)
    _, third = taken(queue, owner="third", now=1000 + TOKEN_SECONDS)
    assert third.token != first.token


def test_a_started_turn_is_nobodys_to_take() -> None:
    queue, _ = taken(BuildQueue().ask("a", is_rebuild=False))
    queue = queue.started("a", "1", until=2000)
    assert queue.take(owner="me", now=5000, most=2)[1] is None
    assert queue.expired(1999) == ()
    assert [turn.tag for turn in queue.expired(2000)] == ["a"]


def test_the_end_of_a_build_takes_its_own_turn_only() -> None:
    queue, _ = taken(BuildQueue().ask("a", is_rebuild=False))
    assert not queue.end("a", build_id="1", started_at=1000.4).held, "it was not noted yet"
    assert queue.end("a", build_id="0", started_at=999.9) == queue, "an earlier build"
    queue = queue.started("a", "1", until=2000)
    assert queue.started("a", "2", until=3000) == queue
    assert queue.end("a", build_id="2", started_at=1001) == queue
    assert not queue.end("a", build_id="1", started_at=1001).held
    assert BuildQueue().end("a", build_id="1", started_at=1) == BuildQueue()


def test_what_is_put_back_is_next() -> None:
    queue = BuildQueue()
    for tag in ("a", "b"):
        queue = queue.ask(tag, is_rebuild=False)
    queue, _ = taken(queue, most=1)
    assert queue.put_back("a").jobs == ("a", "b")
    assert queue.put_back("b") == queue
    rebuild, _ = taken(BuildQueue().ask("r", is_rebuild=True))
    assert rebuild.put_back("r").rebuilds == ("r",)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "rebuild", "take", "started", "put_back", "drop", "end"]),
        st.sampled_from("abcdef"),
        st.integers(0, 200),
    ),
    max_size=60,
)


# a machine that is busy with other things draws slowly
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_no_image_is_lost_or_twice_there(steps: list[tuple[str, str, int]]) -> None:
    queue, now, wanted = BuildQueue(), 0, set()
    for step, tag, seconds in steps:
        now += seconds
        match step:
            case "ask" | "rebuild":
                asked_by = [f"octo-org/{seconds % 3}"] if seconds else []
                queue = queue.ask(tag, is_rebuild=step == "rebuild", asked_by=asked_by)
                wanted.add(tag)
            case "take":
                queue, _ = queue.take(owner=tag, now=now, most=2)
            case "started":
                queue = queue.started(tag, f"b-{tag}", until=now + 50)
            case "put_back":
                queue = queue.put_back(tag)
            case "drop" | "end":
                had = queue.of(tag)
                queue = (
                    queue.drop(tag)
                    if step == "drop"
                    else queue.end(tag, build_id=f"b-{tag}", started_at=now)
                )
                if had and not queue.of(tag):
                    wanted.discard(tag)
        everywhere = [turn.tag for turn in queue.held] + [*queue.jobs, *queue.rebuilds]
        assert sorted(everywhere) == sorted(wanted)
        assert len(queue.held) <= 2
        assert BuildQueue.parse(queue.dump(), spent={}) == queue


def test_a_write_in_between_is_not_lost(aws: Aws) -> None:
    ledger = Ledger(dynamodb=aws.dynamodb, table="ledger")
    other = BuildQueueEntry(ledger=ledger, most=2)
    mine = BuildQueueEntry(ledger=ledger, most=2, pause=lambda _: None)
    others = iter("bcd")

    def transition(queue: BuildQueue) -> BuildQueue:
        if tag := next(others, None):
            other.change(lambda queue: queue.ask(tag, is_rebuild=False))
        return queue.ask("a", is_rebuild=False)

    mine.change(transition)
    assert mine.read().jobs == ("b", "c", "d", "a")


def test_endless_writes_in_between_are_tried_again_later(aws: Aws) -> None:
    ledger = Ledger(dynamodb=aws.dynamodb, table="ledger")
    other = BuildQueueEntry(ledger=ledger, most=2)
    pauses: list[float] = []
    mine = BuildQueueEntry(ledger=ledger, most=2, pause=pauses.append)

    def transition(queue: BuildQueue) -> BuildQueue:
        tag = f"b{len(pauses)}"
        other.change(lambda queue: queue.ask(tag, is_rebuild=False))
        return queue.ask("a", is_rebuild=False)

    with pytest.raises(BuildNotStarted, match="just now"):
        mine.change(transition)
    assert sum(pauses) < 5
