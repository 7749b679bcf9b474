"""The line of jobs that wait for their turn: whose turn is next. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

_REPOSITORY = "repository:"
_LAST = "last:"
_BEHIND = "0"
"""The character after the slash in a place."""


class Candidate(Protocol):
    """A runner in line, as far as its place depends on it."""

    @property
    def runner_id(self) -> str:
        """Its name."""

    @property
    def repository(self) -> str:
        """Whose job it was started for."""

    @property
    def queued_at(self) -> int | None:
        """When that job was queued, epoch seconds."""


class InLine(Protocol):
    """A runner in line, as far as it is known where to read on behind it."""

    @property
    def place(self) -> str:
        """Its place in the order of the index, of ``place_of``."""


Member = TypeVar("Member", bound=Candidate)
Queued = TypeVar("Queued", bound=InLine)


class Line(Generic[Member]):
    """Runners in line, in fair order: of the repository with the fewest runners the oldest job.

    Of repositories with as many, the one whose last turn is longest ago: else one that has jobs
    enough could keep a small limit to itself, as each of its runners leaves it with the fewest.

    Args:
        waiting: The runners in line, in any order.
        running: How many runners each repository's jobs have, by its key.
        given: How many turns were given.
        last_given: Which of them was each repository's last, by its key; 0 for those that are
            not named.
    """

    def __init__(
        self,
        waiting: Iterable[Member],
        *,
        running: Mapping[str, int],
        given: int,
        last_given: Mapping[str, int],
    ) -> None:
        self._running = Counter(running)
        self._given = given
        self._last_given = Counter(last_given)
        self._waiting: dict[str, deque[Member]] = defaultdict(deque)
        for runner in sorted(waiting, key=_age):
            self._waiting[repository_key(runner.repository)].append(runner)

    @classmethod
    def of_turns(cls, waiting: Iterable[Member], turns: Mapping[str, Any]) -> Line[Member]:
        """Make it from the ledger's entry on turns, as plain numbers by name."""
        return cls(
            waiting,
            running={
                name.removeprefix(_REPOSITORY): turns[name]
                for name in turns
                if name.startswith(_REPOSITORY)
            },
            given=turns.get("given", 0),
            last_given={
                name.removeprefix(_LAST): turns[name] for name in turns if name.startswith(_LAST)
            },
        )

    def next(self) -> Member | None:
        """Take the next one out of the line; None if nobody is left."""
        if not self._waiting:
            return None
        key = min(self._waiting, key=self._claim)
        runner = self._waiting[key].popleft()
        if not self._waiting[key]:
            del self._waiting[key]
        return runner

    def started(self, runner: Member) -> None:
        """Count a runner that has got its turn: its repository's next job comes later for it."""
        key = repository_key(runner.repository)
        self._running[key] += 1
        self._given += 1
        self._last_given[key] = self._given

    def first(self, most: int) -> Sequence[Member]:
        """List those who wait on, those next in turn first, as if each got its turn in order."""
        rest = Line(
            (one for some in self._waiting.values() for one in some),
            running=self._running,
            given=self._given,
            last_given=self._last_given,
        )
        return list(islice(rest._in_order(), most))

    def _claim(self, key: str) -> tuple[int, int, tuple[int, str]]:
        oldest = self._waiting[key][0]
        return (self._running[key], self._last_given[key], _age(oldest))

    def _in_order(self) -> Iterable[Member]:
        while runner := self.next():
            self.started(runner)
            yield runner


def place_of(repository: str, *, queued_at: int, runner_id: str) -> str:
    """Where the index of those in line has a runner: by repository, then the oldest job first."""
    return f"{repository_key(repository)}/{queued_at:010d}/{runner_id}"


def heads(read: Callable[[str], Sequence[Queued]], *, most: int) -> list[Queued]:
    """Read of each repository those in line with the oldest jobs, however many there are in all.

    Where a repository has more, what it has besides is not read: the next page begins behind it.

    Args:
        read: Reads a page of the index, up to ``most``, from behind a place on.
        most: How many of one repository.
    """
    found: list[Queued] = []
    read_of: Counter[str] = Counter()
    page = read("")
    while page:
        for one in page:
            key, _, _ = one.place.partition("/")
            read_of[key] += 1
            if read_of[key] <= most:
                found.append(one)
        if len(page) < most:
            break
        page = read(f"{key}{_BEHIND}" if read_of[key] >= most else page[-1].place)
    return found


def repository_key(repository: str) -> str:
    """Name a repository in twelve characters: an item of some thirty-five is to fit into 1 KB.

    72 bits: whoever may name a repository chooses what is digested, and must not find one that is
    counted as another's and takes its turns.
    """
    digest = hashlib.blake2b(repository.encode(), digest_size=9).digest()
    return base64.urlsafe_b64encode(digest).decode()


def _age(runner: Candidate) -> tuple[int, str]:
    return (runner.queued_at or 0, runner.runner_id)
