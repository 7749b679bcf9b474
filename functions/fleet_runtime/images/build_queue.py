"""The queue of builds: how many images are built at a time, and which one is next.

A build has a *turn* from before CodeBuild is asked for it until its end was handled. The images
that have one and those that wait for one stand in a single entry of the ledger, which is read,
changed by pure transitions of ``BuildQueue``, and written back if nobody wrote in between. There is
one turn for each image, so there are no two builds of one image at a time either.

A turn that nobody has started a build for is taken over when its time is up, or by the same one
who is tried again. Within ``TOKEN_SECONDS`` CodeBuild answers both with the same build.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from fleet_runtime.aws.items import Value, number, text
from fleet_runtime.aws.ledger import Ledger

ENTRY = "builds"
START_SECONDS = 90
"""How long starting a build may take: longer than the function may run."""
TOKEN_SECONDS = 240
"""How long a turn keeps its idempotency token, which CodeBuild remembers for five minutes."""

_TRIES = 12
_PAUSE_SECONDS = 0.05
Answer = TypeVar("Answer")


class BuildNotStarted(Exception):  # noqa: N818 - the name stands in executions' histories
    """A build could not be started just now. It is not lost, and is to be tried again.

    Attributes:
        is_postponed: Whether CodeBuild has no room for it now, and nothing is wrong.
    """

    def __init__(self, message: str, *, is_postponed: bool = False) -> None:
        super().__init__(message)
        self.is_postponed = is_postponed


@dataclass(frozen=True, kw_only=True)
class BuildTurn:
    """A build that may run.

    Attributes:
        tag: The image.
        is_rebuild: Whether no job waits for it.
        owner: Who starts the build.
        since: When it was given, epoch seconds.
        until: When whoever comes next has to see what became of it.
        build_id: The build; empty until it is known.
    """

    tag: str
    is_rebuild: bool
    owner: str
    since: int
    until: int
    build_id: str = ""

    @property
    def token(self) -> str:
        """The same for everyone who starts the build of this turn."""
        return f"{self.tag}-{self.since}"


@dataclass(frozen=True, kw_only=True)
class BuildQueue:
    """Who has a turn, and who waits for one. Pure: each transition returns the queue after it.

    Attributes:
        held: The turns.
        jobs: Images that jobs wait for, the next one first.
        rebuilds: Images that are to be built anew, after those.
    """

    held: tuple[BuildTurn, ...] = ()
    jobs: tuple[str, ...] = ()
    rebuilds: tuple[str, ...] = ()

    @classmethod
    def parse(cls, document: str) -> BuildQueue:
        """Read the entry's text."""
        if not document:
            return cls()
        read = json.loads(document)
        return cls(
            held=tuple(BuildTurn(**each) for each in read["held"]),
            jobs=tuple(read["jobs"]),
            rebuilds=tuple(read["rebuilds"]),
        )

    def dump(self) -> str:
        """Write the entry's text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @property
    def waiting(self) -> int:
        """How many images wait for a turn."""
        return len(self.jobs) + len(self.rebuilds)

    def of(self, tag: str) -> BuildTurn | None:
        """Return an image's turn, if it has one."""
        return next((turn for turn in self.held if turn.tag == tag), None)

    def expired(self, now: int) -> tuple[BuildTurn, ...]:
        """Return the turns whose builds should have ended by now."""
        return tuple(turn for turn in self.held if turn.build_id and turn.until <= now)

    def is_any_under_way(self, now: int) -> bool:
        """Whether there is a turn that somebody is at: its end has the next one started."""
        return any(turn.until > now for turn in self.held)

    def ask(self, tag: str, *, is_rebuild: bool) -> BuildQueue:
        """Get in line, unless the image has a turn or is in line. Jobs go before rebuilds."""
        if self.of(tag) or tag in self.jobs or (is_rebuild and tag in self.rebuilds):
            return self
        if is_rebuild:
            return replace(self, rebuilds=(*self.rebuilds, tag))
        return replace(self, jobs=(*self.jobs, tag), rebuilds=_without(self.rebuilds, tag))

    def take(
        self, *, owner: str, now: int, most: int, is_drained: bool = False
    ) -> tuple[BuildQueue, BuildTurn | None]:
        """Give the next turn to ``owner``, who then has to start the build.

        Args:
            owner: Who asks. What it had not started when it was last here, it starts first.
            now: Epoch seconds.
            most: How many turns there may be.
            is_drained: Whether somebody drains the fleet: nothing is built anew meanwhile.
        """
        until = now + START_SECONDS
        for turn in self.held:
            if not turn.build_id and (turn.owner == owner or turn.until <= now):
                since = turn.since if now - turn.since < TOKEN_SECONDS else now
                mine = replace(turn, owner=owner, since=since, until=until)
                return self._with(mine), mine
        next_ones = self.jobs or (() if is_drained else self.rebuilds)
        if len(self.held) >= most or not next_ones:
            return self, None
        tag = next_ones[0]
        turn = BuildTurn(tag=tag, is_rebuild=not self.jobs, owner=owner, since=now, until=until)
        left = replace(self, jobs=self.jobs[1:], rebuilds=_without(self.rebuilds, tag))
        return replace(left, held=(*self.held, turn)), turn

    def started(self, tag: str, build_id: str, *, until: int) -> BuildQueue:
        """Note an image's build, or that it takes longer; nothing if its end was handled."""
        turn = self.of(tag)
        if turn is None or turn.build_id not in ("", build_id):
            return self
        return self._with(replace(turn, build_id=build_id, until=until))

    def put_back(self, tag: str) -> BuildQueue:
        """Take an image's turn and make it the next in line."""
        turn = self.of(tag)
        if turn is None:
            return self
        if turn.is_rebuild:
            return replace(self.drop(tag), rebuilds=(tag, *self.rebuilds))
        return replace(self.drop(tag), jobs=(tag, *self.jobs))

    def drop(self, tag: str) -> BuildQueue:
        """Take an image's turn: there is nothing to build."""
        return replace(self, held=tuple(turn for turn in self.held if turn.tag != tag))

    def end(self, tag: str, *, build_id: str, started_at: float) -> BuildQueue:
        """Take the turn of a build that has ended, whether or not it was noted."""
        turn = self.of(tag)
        if turn is None or not (
            turn.build_id == build_id or (not turn.build_id and turn.since <= started_at)
        ):
            return self
        return self.drop(tag)

    def _with(self, changed: BuildTurn) -> BuildQueue:
        held = tuple(changed if turn.tag == changed.tag else turn for turn in self.held)
        return replace(self, held=held)


Transition = Callable[[BuildQueue], BuildQueue]
"""What happens to the queue. It may be asked several times: others write in between."""


def unchanged(queue: BuildQueue) -> BuildQueue:
    """Nothing happens to the queue."""
    return queue


class BuildQueueEntry:
    """The ledger's entry.

    Args:
        ledger: The ledger.
        most: How many builds there may be at a time.
        pause: Waits for so many seconds. Default: the system's.
    """

    def __init__(
        self, *, ledger: Ledger, most: int, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._ledger = ledger
        self._most = most
        self._pause = pause

    def read(self) -> BuildQueue:
        """Read the queue, with every write before it."""
        return BuildQueue.parse(text(self._ledger.get(ENTRY), "queue"))

    def take(
        self, owner: str, *, after: Transition = unchanged
    ) -> tuple[BuildQueue, BuildTurn | None]:
        """Take the next turn, in one write with what has happened before.

        Args:
            owner: Who asks.
            after: What has happened.

        Returns:
            The queue as it is then, and the turn; None if nobody waits, or all turns are taken.

        Raises:
            BuildNotStarted: if others always came first.
        """
        now = self._ledger.now
        return self._write(
            lambda queue, is_drained: after(queue).take(
                owner=owner, now=now, most=self._most, is_drained=is_drained
            )
        )

    def change(self, transition: Transition) -> BuildQueue:
        """Write what a transition makes of the queue, and return that.

        Raises:
            BuildNotStarted: if others always came first.
        """
        queue, _ = self._write(lambda queue, _: (transition(queue), None))
        return queue

    def _write(
        self, transition: Callable[[BuildQueue, bool], tuple[BuildQueue, Answer]]
    ) -> tuple[BuildQueue, Answer]:
        for attempt in range(_TRIES):
            item = self._ledger.get(ENTRY)
            drained_at = number(item, "drained_at")
            before = BuildQueue.parse(known := text(item, "queue"))
            after, answer = transition(before, drained_at is not None)
            seen = {"queue": known or None, "drained_at": drained_at}
            if after == before or self._put(after.dump(), seen=seen):
                return after, answer
            self._pause(random.uniform(0, _PAUSE_SECONDS * (attempt + 1)))  # noqa: S311 - a pause
        raise BuildNotStarted("many builds start and end just now")

    def _put(self, document: str, *, seen: Mapping[str, Value | None]) -> bool:
        return self._ledger.update(ENTRY, values={"queue": document}, expected=seen) is not None


def _without(tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    return tuple(each for each in tags if each != tag)
