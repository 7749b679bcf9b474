"""Turns: who asks for one, who holds one, and why somebody has to wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.admission.breaker import scope_of
from fleet_runtime.aws.items import Item, amount, number, text, texts
from fleet_runtime.runner.rows import Runner, Waiting

FLEET = "fleet"
"""The scope that everybody is in."""

LAST = "last:"
_KINDS = (FLEET, "class:", "repository:")


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
        """Its class, as the sets are named."""
        return f"class:{self.class_name}"

    @property
    def repository_scope(self) -> str:
        """Its repository, as the sets are named."""
        return f"repository:{self.repository}"

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
class RunnerTurns:
    """The entry ``turns``.

    Attributes:
        holders: Runner ids by scope.
        held: Scopes that a breaker may hold back.
        last_in_line: Who joined the line last; empty if nobody is in line.
        joined_at: When, epoch seconds.
        given: How many turns those in line have had.
        last_given: Which of them was each repository's last.
        day: The day that ``spent_usd`` is for, as in ``2026-11-21``, UTC.
        spent_usd: Estimated cost of the runners that ended on it.
    """

    holders: Mapping[str, frozenset[str]]
    held: frozenset[str]
    last_in_line: str
    joined_at: int
    given: int
    last_given: Mapping[str, int]
    day: str
    spent_usd: float

    @classmethod
    def from_item(cls, item: Item) -> RunnerTurns:
        """Read the entry."""
        return cls(
            holders={name: texts(item, name) for name in item if name.startswith(_KINDS)},
            held=texts(item, "held"),
            last_in_line=text(item, "line"),
            joined_at=number(item, "line_at") or 0,
            given=number(item, "given") or 0,
            last_given={
                name.removeprefix(LAST): number(item, name) or 0
                for name in item
                if name.startswith(LAST)
            },
            day=text(item, "day"),
            spent_usd=amount(item, "spent_usd"),
        )

    def count(self, scope: str) -> int:
        """How many hold a turn in a scope."""
        return len(self.holders.get(scope, ()))

    @property
    def repositories(self) -> dict[str, int]:
        """How many runners each repository's jobs have."""
        prefix = "repository:"
        return {
            scope.removeprefix(prefix): len(ids)
            for scope, ids in self.holders.items()
            if scope.startswith(prefix)
        }
