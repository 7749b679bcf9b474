"""The entry ``turns`` and who is counted there: each move of a turn, and what a crash left of one.

The entry has how many turns are held, by fleet, class and repository, so a write of it costs the
same whatever runs. Who holds one has an entry of its own, ``turn/<runner>``. No single write does
both: a turn is counted before it is held and given back by whoever marked it first, and a note on
the entry stands from the one write until after the other. So at any time no fewer are counted than
hold a turn, and what a process left that died in between shows. It is put right once it is settled:
nobody is at it any more by then.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from fleet_runtime.admission.line import repository_key
from fleet_runtime.admission.turns import (
    LAST,
    LEAVING,
    SPENT,
    TURN,
    Applicant,
    RunnerTurns,
    Turn,
)
from fleet_runtime.aws.items import Item, Value, amounts, text
from fleet_runtime.aws.ledger import BUILDS, BUILDS_SPENT, TURNS, Ledger

SETTLED_SECONDS = 300
"""After this a move of a turn is finished by others: no function that makes one lives so long."""

LINE_REST_SECONDS = 60
"""How long after the last one joined a line that looks empty still counts: indexes lag behind."""

_DAY_SECONDS = 86400
_MOST_REMOVED = 300  # of a dozen characters each at most: an expression has room for 4 KB
_MOST_STRUCK = 100
_MOST_LAST = 40
"""Repositories whose last turns are remembered while somebody is always in line: each further
kilobyte of the entry is two units more a job."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found.

    Attributes:
        turns: Those that are held, and those whose giving back was begun.
        given_back: How many were counted and never held; they are counted no more.
        held: Scopes that a breaker may hold back.
    """

    turns: Sequence[Turn]
    given_back: int
    held: frozenset[str]


class TurnsEntry:
    """Makes the moves. Kept between invocations, for the notes that its next write strikes.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._done: set[str] = set()

    @property
    def today(self) -> str:
        """The day it is, as in ``2026-11-21``, UTC."""
        return _day(self._ledger.now)

    @property
    def settled(self) -> int:
        """Whoever began something until then, epoch seconds, is not at it any more."""
        return self._ledger.now - SETTLED_SECONDS

    def read(self) -> RunnerTurns:
        """Read the entry, with every write before it."""
        return RunnerTurns.from_item(self._ledger.get(TURNS))

    def built_usd(self) -> float:
        """Read what the builds of images that ended today have cost."""
        return amounts(self._ledger.get(BUILDS), BUILDS_SPENT).get(self.today, 0)

    def holders(self) -> list[Turn]:
        """Read the turns that are held, and those whose giving back was begun.

        It reads all of the ledger. A turn that is noted on the entry when that is read afterwards,
        and is not among these, is not held, unless its note is a new one.
        """
        return [
            Turn.from_item(item)
            for item in self._ledger.scan()
            if text(item, "entry").startswith(TURN)
        ]

    def take(
        self,
        applicant: Applicant,
        *,
        conditions: Sequence[str],
        names: Mapping[str, str],
        values: Mapping[str, Value],
        in_line: bool,
    ) -> RunnerTurns | None:
        """Give a runner a turn if conditions hold; one that holds a turn keeps it. Two writes.

        Args:
            applicant: The runner.
            conditions: What has to hold, of ``#fleet``, ``#class`` and ``#repository``, which are
                the counts of its scopes, and of what else the entry has.
            names: What stands behind their other ``#names``.
            values: What stands behind their ``:values``.
            in_line: Whether it stands in line: which turn its repository was given is noted.

        Returns:
            None if it holds a turn, or the turns by which it gets none.
        """
        turn = Turn.of(applicant, nonce=secrets.token_hex(4), taken_at=self._ledger.now)
        expression = f"ADD {_each(turn.scopes, ':one')}"
        names = {**names, **turn.scopes, "#taking": turn.taking}
        values = {**values, ":one": 1, ":note": turn.note}
        if in_line:
            expression += ", given :one SET #last = if_not_exists(given, :none) + :one, "
            names["#last"] = LAST + repository_key(applicant.repository)
            values[":none"] = 0
        else:
            expression += " SET "
        # AWS's client asks again where an answer was lost: it is counted once all the same
        conditions = ["attribute_not_exists(#taking)", *conditions]
        counted = self._write(
            f"{expression}#taking = :note",
            condition=" AND ".join(conditions),
            names=names,
            values=values,
        )
        if counted is None:
            turns = self.read()
            if turn.nonce not in turns.taking:
                held = self._find(turn.entry)
                return None if held and held.left_at is None else turns
        return self._hold(turn)

    def leave(
        self, runner_id: str, *, cost_usd: float = 0, ended_at: int | None = None
    ) -> RunnerTurns:
        """Take a runner's turn back, if it holds one, and count what it cost. Three writes.

        Once, however often: whoever marks the turn first does the rest, and if it does not, then
        whoever comes when that is settled.

        Args:
            runner_id: The runner.
            cost_usd: What it cost.
            ended_at: When it ended, for the day that it counts for. Default: now.

        Returns:
            The turns as they are then.
        """
        now = self._ledger.now
        marked = self._ledger.write_if(
            f"{TURN}{runner_id}",
            "SET left_at = :now",
            condition="attribute_exists(entry)"
            " AND (attribute_not_exists(left_at) OR left_at <= :settled)",
            values={":now": now, ":settled": self.settled},
        )
        if marked is None:
            return self.read()
        turn = Turn.from_item(marked)
        names = {**turn.scopes, "#leaving": turn.leaving}
        values: dict[str, Value] = {":less": -1, ":now": now}
        expression = f"SET #leaving = :now ADD {_each(turn.scopes, ':less')}"
        if cost_usd:
            expression += ", #spent :cost"
            names["#spent"] = SPENT + _day(now if ended_at is None else ended_at)
            values[":cost"] = cost_usd
        item = self._write(
            expression,
            # else whoever marked it before did this, or this did, and the answer was lost
            condition="attribute_not_exists(#leaving)",
            names=names,
            values=values,
            remove=[turn.taking],
        )
        self._ledger.delete(turn.entry, condition="nonce = :nonce", operands={":nonce": turn.nonce})
        self._done.add(turn.leaving)
        return self.read() if item is None else RunnerTurns.from_item(item)

    def join_line(self, runner_id: str) -> None:
        """Note that a runner waits in line: from now on nobody overtakes."""
        self._write(
            "SET line = :id, line_at = :now",
            values={":id": runner_id, ":now": self._ledger.now},
        )

    def clear_line(self, turns: RunnerTurns) -> None:
        """Note that nobody waits any more, unless somebody has joined of late."""
        if turns.last_in_line and turns.joined_at <= self._ledger.now - LINE_REST_SECONDS:
            self._write(
                condition="line = :id AND line_at = :at",
                values={":id": turns.last_in_line, ":at": turns.joined_at},
                remove=["line", "line_at", *(LAST + key for key in turns.last_given)],
            )

    def sweep(self) -> Swept:
        """Count no more what nobody holds, and strike what is over. For one process at a time."""
        # in this order, see there
        turns = self.holders()
        nonces = {turn.nonce for turn in turns}
        entry = self.read()
        given_back = 0
        for turn in entry.taking.values():
            if turn.nonce in nonces:
                self._done.add(turn.taking)
            elif turn.taken_at <= self.settled:
                given_back += self._give_back(turn)
        for nonce, since in entry.leaving.items():
            if nonce not in nonces and since <= self.settled:
                self._done.add(LEAVING + nonce)
        self._forget(entry)
        return Swept(turns=turns, given_back=given_back, held=entry.held)

    def _hold(self, turn: Turn) -> RunnerTurns | None:
        """Let a runner hold the turn that it was counted for, unless it holds another."""
        while not self._ledger.create(turn.entry, turn.values):
            held = self._find(turn.entry)
            if held and held.nonce == turn.nonce:
                break
            if held:
                self._give_back(turn)
                return None if held.left_at is None else self.read()
        self._done.add(turn.taking)
        return None

    def _find(self, entry: str) -> Turn | None:
        item = self._ledger.get(entry)
        return Turn.from_item(item) if item else None

    def _give_back(self, turn: Turn) -> bool:
        """Count a turn no more that is not held; whether it was counted."""
        item = self._write(
            f"ADD {_each(turn.scopes, ':less')}",
            condition="attribute_exists(#taking)",
            names={**turn.scopes, "#taking": turn.taking},
            values={":less": -1},
            remove=[turn.taking],
        )
        return item is not None

    def _forget(self, turns: RunnerTurns) -> None:
        """Strike the notes and days that are over, and the scopes in which nobody has a turn."""
        yesterday = _day(self._ledger.now - _DAY_SECONDS)
        days = [SPENT + day for day in turns.spent_usd if day < yesterday]
        if days or self._done:
            self._write(remove=days)
        zeros = {scope: 0 for scope, count in turns.counts.items() if count == 0}
        # no turn that anybody remembers is the longest ago: so is one before all of the others
        long_ago = sorted(turns.last_given.items(), key=lambda last: last[1])[:-_MOST_LAST]
        for forgotten in (zeros, {LAST + key: last for key, last in long_ago}):
            self._strike(dict(islice(forgotten.items(), _MOST_STRUCK)))

    def _strike(self, values: Mapping[str, int]) -> None:
        """Strike attributes, unless one of them has another value by now."""
        if values:
            names = {f"#struck{number}": name for number, name in enumerate(values)}
            self._write(
                condition=" AND ".join(f"{name} = {name.replace('#', ':')}" for name in names),
                names=names,
                values={name.replace("#", ":"): values[names[name]] for name in names},
                remove=tuple(values),
            )

    def _write(
        self,
        expression: str = "",
        *,
        condition: str = "",
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Value] | None = None,
        remove: Sequence[str] = (),
    ) -> Item | None:
        """Write to the entry if a condition holds, and strike this process's notes on the way."""
        # a nonce is nobody else's, so they may go whatever became of their turns since
        struck = list(dict.fromkeys([*remove, *tuple(self._done)]))[:_MOST_REMOVED]
        removed = {f"#gone{number}": name for number, name in enumerate(struck)}
        if removed:
            expression = f"{expression} REMOVE {', '.join(removed)}"
        item = self._ledger.write_if(
            TURNS,
            expression,
            condition=condition,
            names={**(names or {}), **removed},
            values=values,
        )
        if item is not None:
            self._done.difference_update(struck)
        return item


def _each(names: Iterable[str], value: str) -> str:
    return ", ".join(f"{name} {value}" for name in names)


def _day(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).date().isoformat()
