"""An order in which no repository's things, however many, keep all others' waiting. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol, TypeVar


class Owned(Protocol):
    """Something that a repository has."""

    @property
    def repository(self) -> str:
        """Whose it is."""


Thing = TypeVar("Thing", bound=Owned)


def in_rounds(things: Iterable[Thing]) -> list[Thing]:
    """Put the first of each repository before the second of any, each round in the given order."""
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, Thing]] = []
    for thing in things:
        rounds.append((seen[thing.repository], thing))
        seen[thing.repository] += 1
    return [thing for _, thing in sorted(rounds, key=lambda each: each[0])]
