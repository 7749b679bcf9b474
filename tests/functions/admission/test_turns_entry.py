"""Each move of a turn: dead at every call, told twice at every write, and any number at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from fleet_runtime.admission.turns import Applicant, RunnerTurns
from fleet_runtime.admission.turns_entry import SETTLED_SECONDS, TurnsEntry
from fleet_runtime.aws.ledger import Ledger
from tests.rotation import is_due

from ..aws_stand_in import Aws
from .conftest import NOON

LIMIT = 2
PLAYS = 200
MOVES = 250
MOST_AT_ONCE = 4
MOST_CALLS = 20


class Death(BaseException):
    """The end of a process in the middle of what it does."""


class Worker:
    """A function's process and its client: it makes one call at a time, and may die before any."""

    def __init__(self, dynamodb: Any, clock: Callable[[], float]) -> None:
        self._dynamodb = dynamodb
        self.exceptions = dynamodb.exceptions
        self.entry = TurnsEntry(Ledger(dynamodb=self, table="ledger", clock=clock))
        self.is_busy = False
        self.is_dead = False
        self._may_go = threading.Semaphore(0)
        self._stands = threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._dynamodb, name)

        def when_it_may(**arguments: Any) -> Any:
            self.pause()
            return call(**arguments)

        return when_it_may

    def begin(self, deed: Callable[[Worker], object]) -> None:
        """Do something, as far as to its first call."""

        def do() -> None:
            try:
                deed(self)
            except Death:
                self.is_dead = True
            finally:
                self.is_busy = False
                self._stands.release()

        self.is_busy = True
        threading.Thread(target=do, daemon=True).start()
        self._stands.acquire()

    def pause(self) -> None:
        """Stand before a call."""
        self._stands.release()
        self._may_go.acquire()
        if self.is_dead:
            raise Death

    def go_on(self, calls: int = MOST_CALLS) -> None:
        """Make so many calls, or as many as there are."""
        for _ in range(calls):
            if self.is_busy:
                self._may_go.release()
                self._stands.acquire()

    def die(self) -> None:
        """End here and now; what it remembers is gone."""
        self.is_dead = True
        self.go_on(1)


class Turns:
    """The ledger at some time, and processes that move turns in it."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.now = NOON
        self.ledger = Ledger(dynamodb=aws.dynamodb, table="ledger", clock=self.clock)
        self.entry = TurnsEntry(self.ledger)

    def clock(self) -> float:
        return self.now

    def worker(self) -> Worker:
        return Worker(self.aws.dynamodb, self.clock)

    @property
    def holders(self) -> list[str]:
        return sorted(turn.runner_id for turn in self.entry.holders())

    def read(self) -> RunnerTurns:
        return self.entry.read()

    def counted_as_held(self) -> None:
        """Whoever holds a turn is counted in each scope, and nobody else."""
        held = Counter(s for turn in self.entry.holders() for s in turn.scopes.values())
        assert {s: count for s, count in self.read().counts.items() if count} == held

    def settle(self) -> None:
        """What reconciliation does to turns of runners that live on, when all is settled."""
        self.now += SETTLED_SECONDS
        for turn in TurnsEntry(self.ledger).sweep().turns:
            if turn.left_at is not None:
                TurnsEntry(self.ledger).leave(turn.runner_id, cost_usd=1)


@pytest.fixture
def turns(aws: Aws) -> Turns:
    return Turns(aws)


def applicant(runner_id: str) -> Applicant:
    number = int(runner_id.split("-")[1])
    return Applicant(
        runner_id=runner_id,
        class_name=f"c{number % 2}",
        repository=f"octo-org/{number % 3}",
        image_tag="t",
    )


def take(entry: TurnsEntry, runner_id: str = "fleet-1-1", *, in_line: bool = False) -> bool:
    refused = entry.take(
        applicant(runner_id),
        conditions=["(attribute_not_exists(#fleet) OR #fleet < :fleet)"],
        names={},
        values={":fleet": LIMIT},
        in_line=in_line,
    )
    return refused is None


def leave(entry: TurnsEntry) -> RunnerTurns:
    return entry.leave("fleet-1-1", cost_usd=1)


# --- each move ------------------------------------------------------------------------------


def test_a_turn_is_taken_with_two_writes_and_left_with_three(turns: Turns) -> None:
    worker = turns.worker()
    worker.begin(lambda it: take(it.entry))
    worker.go_on(2)
    assert not worker.is_busy
    assert turns.holders == ["fleet-1-1"]
    worker.begin(lambda it: leave(it.entry))
    worker.go_on(3)
    assert not worker.is_busy
    assert turns.holders == []
    assert turns.read().counts["fleet"] == 0


def test_who_holds_a_turn_is_not_asked_for_room_again(turns: Turns) -> None:
    assert all(take(turns.entry, f"fleet-{number}-1") for number in range(LIMIT))
    assert take(turns.entry, "fleet-0-1")
    assert not take(turns.entry, f"fleet-{LIMIT}-1")
    turns.counted_as_held()


def test_notes_are_struck_by_the_next_write_of_the_same_process(turns: Turns) -> None:
    take(turns.entry, "fleet-1-1")
    assert len(turns.read().taking) == 1
    take(turns.entry, "fleet-2-1")
    assert [turn.runner_id for turn in turns.read().taking.values()] == ["fleet-2-1"]
    turns.entry.leave("fleet-2-1")
    turns.entry.leave("fleet-1-1")
    turns.entry.join_line("fleet-9-1")
    assert (turns.read().taking, turns.read().leaving) == ({}, {})


def test_a_refused_write_strikes_nothing_and_forgets_nothing(turns: Turns) -> None:
    assert all(take(turns.entry, f"fleet-{number}-1") for number in range(LIMIT))
    assert not take(turns.entry, "fleet-9-1")
    assert len(turns.read().taking) == 1
    turns.entry.join_line("fleet-9-1")
    assert turns.read().taking == {}


def test_notes_of_processes_that_are_gone_are_struck_by_the_sweep(turns: Turns) -> None:
    take(TurnsEntry(turns.ledger), "fleet-1-1")
    take(TurnsEntry(turns.ledger), "fleet-2-1")
    TurnsEntry(turns.ledger).leave("fleet-2-1")
    TurnsEntry(turns.ledger).sweep()
    # whoever gives it back may be at it, whoever holds it is past it
    assert len(turns.read().leaving) == 1
    assert turns.read().taking == {}
    turns.settle()
    assert turns.read().leaving == {}
    turns.counted_as_held()


def test_what_is_over_is_struck(turns: Turns) -> None:
    take(turns.entry)
    turns.entry.leave("fleet-1-1", cost_usd=2.5, ended_at=turns.now - 86400)
    take(turns.entry)
    turns.entry.leave("fleet-1-1", cost_usd=0.5)
    turns.entry.sweep()
    assert turns.read().counts == {}
    assert turns.read().spent_usd == {"2026-11-20": 2.5, "2026-11-21": 0.5}
    turns.now += 86400
    turns.entry.sweep()
    assert turns.read().spent_usd == {"2026-11-21": 0.5}


def test_last_turns_of_many_repositories_are_forgotten_but_for_the_latest(turns: Turns) -> None:
    last = {f"last:{number:08d}": number for number in range(1, 61)}
    turns.ledger.create("turns", {**last, "given": 60, "line": "fleet-9-1"})
    turns.entry.sweep()
    assert sorted(turns.read().last_given.values()) == list(range(21, 61))
    assert turns.read().given == 60


def test_a_turn_that_is_being_given_back_is_nobodys_again(turns: Turns) -> None:
    take(turns.entry)
    slow = turns.worker()
    slow.begin(lambda it: leave(it.entry))
    slow.go_on(1)
    assert not take(turns.entry)
    assert turns.read().counts["fleet"] == 1
    # nor is it where there is no room for another
    take(turns.entry, "fleet-2-1")
    assert not take(turns.entry)
    slow.go_on()
    assert take(turns.entry)
    turns.counted_as_held()


def test_the_entry_does_not_grow_with_those_who_hold_a_turn(turns: Turns) -> None:
    for number in range(60):
        turns.entry.take(
            applicant(f"fleet-{number}-1"), conditions=[], names={}, values={}, in_line=False
        )
    item = turns.ledger.get("turns")
    size = sum(len(name) + sum(len(str(text)) for text in item[name].values()) for name in item)
    assert size < 400


# --- deaths and lost answers ----------------------------------------------------------------


@pytest.mark.parametrize("calls", range(3))
@pytest.mark.parametrize("again", [True, False], ids=["again", "never again"])
def test_whatever_call_a_taker_dies_at(turns: Turns, calls: int, *, again: bool) -> None:
    worker = turns.worker()
    worker.begin(lambda it: take(it.entry))
    worker.go_on(calls)
    worker.die()
    if again:
        assert take(TurnsEntry(turns.ledger))
    assert 1 <= turns.read().counts.get("fleet", 0) + (calls == 0 and not again) <= 2
    turns.settle()
    assert turns.holders == (["fleet-1-1"] if again or calls == 2 else [])
    turns.counted_as_held()
    assert turns.read().taking == {}


def test_a_death_holds_a_turn_back_until_it_is_settled_and_no_longer(turns: Turns) -> None:
    for _ in range(LIMIT):
        worker = turns.worker()
        worker.begin(lambda it: take(it.entry))
        worker.go_on(1)
        worker.die()
    assert not take(turns.entry)
    turns.now += SETTLED_SECONDS - 1
    assert TurnsEntry(turns.ledger).sweep().given_back == 0
    turns.now += 1
    assert TurnsEntry(turns.ledger).sweep().given_back == LIMIT
    assert take(turns.entry)


@pytest.mark.parametrize("calls", range(4))
def test_whatever_call_a_leaver_dies_at(turns: Turns, calls: int) -> None:
    take(TurnsEntry(turns.ledger))
    worker = turns.worker()
    worker.begin(lambda it: leave(it.entry))
    worker.go_on(calls)
    worker.die()
    leave(TurnsEntry(turns.ledger))  # the event comes again
    turns.settle()
    turns.settle()
    assert turns.holders == []
    turns.counted_as_held()
    assert turns.read().leaving == {}
    assert list(turns.read().spent_usd.values()) == [1], "its cost counts once"


@pytest.mark.parametrize("calls", range(9))
def test_whatever_call_a_sweep_dies_at(turns: Turns, calls: int) -> None:
    """What it finds: one that was counted and is not held, one that is, one that is being left."""
    for runner, done in (("fleet-1-1", 1), ("fleet-3-1", 2)):
        worker = turns.worker()
        worker.begin(lambda it, runner=runner: take(it.entry, runner))
        worker.go_on(done)
        worker.die()
    turns.entry.leave("fleet-3-1")
    take(turns.entry, "fleet-5-1")
    turns.now += SETTLED_SECONDS
    sweeper = turns.worker()
    sweeper.begin(lambda it: it.entry.sweep())
    sweeper.go_on(calls)
    sweeper.die()
    turns.settle()
    assert turns.holders == ["fleet-5-1"]
    turns.counted_as_held()
    assert turns.read().counts["fleet"] == 1
    assert (turns.read().taking, turns.read().leaving) == ({}, {})


class Forgetful:
    """A client whose nth write was done and its answer lost: it asks again, as botocore does."""

    def __init__(self, dynamodb: Any, nth: int) -> None:
        self._dynamodb = dynamodb
        self._left = nth
        self.exceptions = dynamodb.exceptions

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._dynamodb, name)

        def again(**arguments: Any) -> Any:
            if name in ("update_item", "put_item", "delete_item"):
                self._left -= 1
                if self._left == 0:
                    call(**arguments)
            return call(**arguments)

        return again


@pytest.mark.parametrize("write", [1, 2])
@pytest.mark.parametrize("in_line", [True, False])
def test_a_turn_whose_answer_is_lost_is_taken_once(
    turns: Turns, write: int, *, in_line: bool
) -> None:
    ledger = Ledger(dynamodb=Forgetful(turns.aws.dynamodb, write), table="ledger")
    assert take(TurnsEntry(ledger), in_line=in_line)
    assert turns.holders == ["fleet-1-1"]
    turns.counted_as_held()
    assert turns.read().given == (1 if in_line else 0)


def test_a_second_turn_whose_answer_is_lost_is_given_back_once(turns: Turns) -> None:
    take(turns.entry)
    ledger = Ledger(dynamodb=Forgetful(turns.aws.dynamodb, 3), table="ledger")
    assert take(TurnsEntry(ledger))
    turns.counted_as_held()


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_turn_whose_answer_is_lost_is_left_once(turns: Turns, write: int) -> None:
    take(turns.entry, "fleet-1-1")
    take(turns.entry, "fleet-2-1")
    forgetful = Forgetful(turns.aws.dynamodb, write)
    leave(TurnsEntry(Ledger(dynamodb=forgetful, table="ledger", clock=turns.clock)))
    # it cannot tell that it was itself who marked it, and leaves the rest to the sweep
    assert turns.holders == (["fleet-1-1", "fleet-2-1"] if write == 1 else ["fleet-2-1"])
    turns.counted_as_held()
    turns.settle()
    assert turns.holders == ["fleet-2-1"]
    turns.counted_as_held()
    assert list(turns.read().spent_usd.values()) == [1]


# --- any number at once, in any order -------------------------------------------------------


class Play:
    """Runners that begin and end, and processes that go on call by call and die anywhere."""

    def __init__(self, turns: Turns, chance: Random) -> None:
        self.turns = turns
        self.chance = chance
        self.workers: list[Worker] = []
        self.runners = [f"fleet-{number}-1" for number in range(7)]
        self.asked: Counter[str] = Counter()
        self.running: set[str] = set()
        self.over: set[str] = set()
        self.sweepers = 0

    @property
    def busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.is_busy]

    def move(self) -> None:
        moves: list[Callable[[], None]] = [self._ask, self._tell_end, self._sweep, self._end]
        chosen = self.chance.choices(
            [self._go_on, self.chance.choice(moves), self._die, self._pass_time],
            weights=[60, 30, 4, 4],
        )
        chosen[0]()

    def finish(self) -> None:
        """All ends and is told, and reconciliation comes a few times."""
        for worker in self.busy:
            worker.die()
        self.over |= self.running
        self.running.clear()
        for _ in range(4):
            self.turns.now += SETTLED_SECONDS
            self._begin(self._sweeping)
            while busy := self.busy:
                busy[0].go_on(1)
                self.look()

    def look(self) -> None:
        """No runner runs that is not counted, and no more are counted than there may be."""
        counts = self.turns.read().counts
        assert counts.get("fleet", 0) <= LIMIT
        running = Counter(
            scope for one in self.running for scope in ("fleet", *applicant(one).scopes[1:3])
        )
        for scope, count in running.items():
            assert count <= counts.get(scope, 0), scope
        assert all(count >= 0 for count in counts.values())

    def _begin(self, deed: Callable[[Worker], object]) -> None:
        if len(self.busy) < MOST_AT_ONCE:
            free = [one for one in self.workers if not one.is_busy and not one.is_dead]
            worker = self.chance.choice(free) if free else self.turns.worker()
            if not free:
                self.workers.append(worker)
            worker.begin(deed)

    def _go_on(self) -> None:
        if busy := self.busy:
            self.chance.choice(busy).go_on(1)

    def _die(self) -> None:
        if busy := self.busy:
            self.chance.choice(busy).die()

    def _pass_time(self) -> None:
        self.turns.now += 1
        if not self.busy:  # no function lives so long
            self.turns.now += SETTLED_SECONDS

    def _end(self) -> None:
        if self.running:
            runner = self.chance.choice(sorted(self.running))
            self.running.remove(runner)
            self.over.add(runner)

    def _ask(self) -> None:
        """A job is told of, which may have been told of before."""
        runner = self.chance.choice(self.runners)

        def deed(worker: Worker) -> None:
            self.asked[runner] += 1
            try:
                if take(worker.entry, runner, in_line=self.chance.random() < 0.3):
                    worker.pause()
                    if runner in self.over:  # its execution exists, and has ended
                        worker.entry.leave(runner)
                    else:
                        self.running.add(runner)
            finally:
                self.asked[runner] -= 1

        self._begin(deed)

    def _tell_end(self) -> None:
        if self.over:
            runner = self.chance.choice(sorted(self.over))
            self._begin(lambda worker: worker.entry.leave(runner, cost_usd=1))

    def _sweep(self) -> None:
        if not self.sweepers:
            self._begin(self._sweeping)

    def _sweeping(self, worker: Worker) -> None:
        self.sweepers += 1
        try:
            for turn in worker.entry.sweep().turns:
                settled = worker.entry.settled
                if turn.left_at is not None:
                    is_left_over = turn.left_at <= settled
                else:
                    # nobody asks for one any more who never was
                    never_was = turn.runner_id not in self.running | self.over
                    is_forgotten = turn.taken_at <= settled and not self.asked[turn.runner_id]
                    is_left_over = is_forgotten if never_was else turn.runner_id in self.over
                    if never_was and is_left_over:
                        self.runners.remove(turn.runner_id)
                        self.over.add(turn.runner_id)
                if is_left_over:
                    worker.entry.leave(turn.runner_id, cost_usd=1)
        finally:
            self.sweepers -= 1


@pytest.mark.parametrize("number", [n for n in range(PLAYS) if is_due(n, one_in=50)])
def test_no_limit_is_passed_and_no_turn_is_lost(turns: Turns, number: int) -> None:
    play = Play(turns, Random(number))
    for _ in range(MOVES):
        play.move()
        play.look()
    play.finish()
    assert turns.holders == []
    left = turns.read()
    assert not any(left.counts.values()), left
    assert left.taking == {}
    assert all(since > turns.entry.settled for since in left.leaving.values()), left
