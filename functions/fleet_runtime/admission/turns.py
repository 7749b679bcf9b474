"""Turns: who asks for one, who holds one, and why somebody has to wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.admission.breaker import scope_of
from fleet_runtime.admission.line import repository_key
from fleet_runtime.aws.items import Item, Value, amount, number, text, texts
from fleet_runtime.runner.rows import Runner, Waiting

FLEET = "fleet"
"""The scope that everybody is in."""

LAST = "last:"
SPENT = "spent:"
TAKING = "+"
LEAVING = "-"
TURN = "turn/"
"""What the entries of those who hold a turn begin with."""

_CLASS = "class:"
_REPOSITORY = "repository:"


@dataclass(frozen=True, kw_only=True)
class Applicant:
    """A runner that is to be, as far as limits go."""

    runner_id: str
    class_name: str
    repository: str
    image_tag: str

    @classmethod
    def of_input(cls, document: Mapping[str, Any]) -> Applicant:
        """The runner of an execution's input."""
        return cls(
            runner_id=document["runner_id"],
            class_name=document["class_name"],
            repository=document["repository"],
            image_tag=document["image_tag"],
        )

    @classmethod
    def of_row(cls, runner: Runner | Waiting) -> Applicant:
        """The runner of a row in line."""
        return cls(
            runner_id=runner.runner_id,
            class_name=runner.class_name,
            repository=runner.repository,
            image_tag=runner.image_tag,
        )

    @property
    def class_scope(self) -> str:
        """Its class, as it is counted."""
        return f"{_CLASS}{self.class_name}"

    @property
    def repository_scope(self) -> str:
        """Its repository, as it is counted."""
        return f"{_REPOSITORY}{repository_key(self.repository)}"

    @property
    def image_scope(self) -> str:
        """What a breaker holds back."""
        return scope_of(self.class_name, self.image_tag)

    @property
    def scopes(self) -> tuple[str, ...]:
        """All that it is in."""
        return (FLEET, self.class_scope, self.repository_scope, self.image_scope)


@dataclass(frozen=True, kw_only=True)
class NotYet:
    """A runner gets no turn now.

    Attributes:
        scope: What is full or held: the same goes for everybody in it.
        reason: Why, until when, and what can be done, for people.
    """

    scope: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A turn that a runner holds, or is about to.

    Attributes:
        runner_id: The runner.
        nonce: Eight characters of its own: a runner may have another turn before or after.
        repository_scope: Where it is counted, besides in the fleet.
        class_scope: The same.
        taken_at: When it was counted, epoch seconds.
        left_at: When somebody began to give it back; None while it is held.
    """

    runner_id: str
    nonce: str
    repository_scope: str
    class_scope: str
    taken_at: int
    left_at: int | None = None

    @classmethod
    def of(cls, applicant: Applicant, *, nonce: str, taken_at: int) -> Turn:
        """The turn that a runner is given."""
        return cls(
            runner_id=applicant.runner_id,
            nonce=nonce,
            repository_scope=applicant.repository_scope,
            class_scope=applicant.class_scope,
            taken_at=taken_at,
        )

    @classmethod
    def from_item(cls, item: Item) -> Turn:
        """Read an entry of one who holds a turn."""
        return cls(
            runner_id=text(item, "entry").removeprefix(TURN),
            nonce=text(item, "nonce"),
            repository_scope=text(item, "repository_scope"),
            class_scope=text(item, "class_scope"),
            taken_at=number(item, "taken_at") or 0,
            left_at=number(item, "left_at"),
        )

    @classmethod
    def from_note(cls, nonce: str, note: str) -> Turn:
        """Read the note of one that is about to be held."""
        taken_at, runner_id, repository_scope, class_scope = note.split(" ", 3)
        return cls(
            runner_id=runner_id,
            nonce=nonce,
            repository_scope=repository_scope,
            class_scope=class_scope,
            taken_at=int(taken_at),
        )

    @property
    def entry(self) -> str:
        """The entry of who holds it."""
        return f"{TURN}{self.runner_id}"

    @property
    def values(self) -> Mapping[str, Value]:
        """What that says."""
        return {
            "nonce": self.nonce,
            "repository_scope": self.repository_scope,
            "class_scope": self.class_scope,
            "taken_at": self.taken_at,
        }

    @property
    def note(self) -> str:
        """What its note says."""
        return f"{self.taken_at} {self.runner_id} {self.repository_scope} {self.class_scope}"

    @property
    def taking(self) -> str:
        """The note that it was counted and may not be held yet."""
        return f"{TAKING}{self.nonce}"

    @property
    def leaving(self) -> str:
        """The note that it is counted no more and may be held yet."""
        return f"{LEAVING}{self.nonce}"

    @property
    def scopes(self) -> Mapping[str, str]:
        """Where it is counted, by the names of expressions."""
        return {"#fleet": FLEET, "#class": self.class_scope, "#repository": self.repository_scope}


@dataclass(frozen=True, kw_only=True)
class RunnerTurns:
    """The entry ``turns``.

    Attributes:
        counts: How many turns are held, by scope.
        taking: Turns that were counted and may not be held yet, by nonce.
        leaving: When turns were given back that may be held yet, by nonce.
        held: Scopes that a breaker may hold back.
        last_in_line: Who joined the line last; empty if nobody is in line.
        joined_at: When, epoch seconds.
        given: How many turns those in line have had.
        last_given: Which of them was each repository's last, by its key.
        spent_usd: Estimated cost of the runners that ended, by day, as in ``2026-11-21``, UTC.
        drained_at: Since when nobody is given a turn, because somebody drains the fleet, epoch
            seconds; None if nobody does.
    """

    counts: Mapping[str, int]
    taking: Mapping[str, Turn]
    leaving: Mapping[str, int]
    held: frozenset[str]
    last_in_line: str
    joined_at: int
    given: int
    last_given: Mapping[str, int]
    spent_usd: Mapping[str, float]
    drained_at: int | None

    @classmethod
    def from_item(cls, item: Item) -> RunnerTurns:
        """Read the entry."""
        notes = {name[1:]: text(item, name) for name in item if name.startswith(TAKING)}
        return cls(
            counts={
                name: number(item, name) or 0
                for name in item
                if name == FLEET or name.startswith((_CLASS, _REPOSITORY))
            },
            taking={nonce: Turn.from_note(nonce, note) for nonce, note in notes.items()},
            leaving=_numbers(item, LEAVING),
            held=texts(item, "held"),
            last_in_line=text(item, "line"),
            joined_at=number(item, "line_at") or 0,
            given=number(item, "given") or 0,
            last_given=_numbers(item, LAST),
            spent_usd={
                name.removeprefix(SPENT): amount(item, name)
                for name in item
                if name.startswith(SPENT)
            },
            drained_at=number(item, "drained_at"),
        )

    def count(self, scope: str) -> int:
        """How many hold a turn in a scope."""
        return self.counts.get(scope, 0)

    @property
    def repositories(self) -> dict[str, int]:
        """How many runners each repository's jobs have, by its key."""
        return {
            scope.removeprefix(_REPOSITORY): count
            for scope, count in self.counts.items()
            if scope.startswith(_REPOSITORY)
        }


def _numbers(item: Item, prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): number(item, name) or 0
        for name in item
        if name.startswith(prefix)
    }
