"""The queue of builds: how many images are built at a time, and which one is next.

A build has a *turn* from before CodeBuild is asked for it until its end was handled. The images
that have one and those that wait for one stand in a single entry of the ledger, which is read,
changed by pure transitions of ``BuildQueue``, and written back if nobody wrote in between. There is
one turn for each image, so there are no two builds of one image at a time either.

Turns go by repository, as those of runners do: next is an image that the repository with the
fewest builds waits for, of several the one whose last turn is longest ago. The default image is
nobody's and goes before all of them. What the builds of a day have cost stands on the entry too:
the write that takes a turn back counts it, so it is counted once.

A turn that nobody has started a build for is taken over when its time is up, or by the same one
who is tried again. Within ``TOKEN_SECONDS`` CodeBuild answers both with the same build.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from fleet_runtime.aws.items import Item, Value, amounts, number, text
from fleet_runtime.aws.ledger import BUILDS, BUILDS_SPENT, Ledger

START_SECONDS = 90
"""How long starting a build may take: longer than the function may run."""
TOKEN_SECONDS = 240
"""How long a turn keeps its idempotency token, which CodeBuild remembers for five minutes."""

_NOBODY = ""
_DAYS_KEPT = 2
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
        repository: Whose turn it is; empty if nobody's.
        asked_by: The repositories whose jobs have asked for it.
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
    repository: str = _NOBODY
    asked_by: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        """The same for everyone who starts the build of this turn."""
        return f"{self.tag}-{self.since}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An image that jobs wait for.

    Attributes:
        tag: The image.
        asked_by: The repositories of these jobs; none if it is nobody's.
    """

    tag: str
    asked_by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildQueue:
    """Who has a turn, and who waits for one. Pure: each transition returns the queue after it.

    Attributes:
        held: The turns.
        wanted: Images that jobs wait for, in the order in which they came.
        rebuilds: Images that are to be built anew, after those.
        served: Repositories that had a turn, the one that had the last one last; those that have
            none and are not in line are forgotten.
        spent: Estimated cost of the builds that ended, in US dollars, by day.
    """

    held: tuple[BuildTurn, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    rebuilds: tuple[str, ...] = ()
    served: tuple[str, ...] = ()
    spent: Mapping[str, float] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, document: str, *, spent: Mapping[str, float]) -> BuildQueue:
        """Read the entry's text, and what stands beside it."""
        if not document:
            return cls(spent=spent)
        read = json.loads(document)
        return cls(
            held=tuple(
                BuildTurn(**each | {"asked_by": tuple(each["asked_by"])}) for each in read["held"]
            ),
            wanted=tuple(
                Wanted(tag=each["tag"], asked_by=tuple(each["asked_by"])) for each in read["wanted"]
            ),
            rebuilds=tuple(read["rebuilds"]),
            served=tuple(read["served"]),
            spent=spent,
        )

    def dump(self) -> str:
        """Write the entry's text: all but what was spent."""
        document = asdict(self)
        del document["spent"]
        return json.dumps(document, separators=(",", ":"))

    @property
    def jobs(self) -> tuple[str, ...]:
        """Images that jobs wait for, in the order in which they came."""
        return tuple(wanted.tag for wanted in self.wanted)

    @property
    def waiting(self) -> int:
        """How many images wait for a turn."""
        return len(self.wanted) + len(self.rebuilds)

    def of(self, tag: str) -> BuildTurn | None:
        """Return an image's turn, if it has one."""
        return next((turn for turn in self.held if turn.tag == tag), None)

    def expired(self, now: int) -> tuple[BuildTurn, ...]:
        """Return the turns whose builds should have ended by now."""
        return tuple(turn for turn in self.held if turn.build_id and turn.until <= now)

    def is_any_under_way(self, now: int) -> bool:
        """Whether there is a turn that somebody is at: its end has the next one started."""
        return any(turn.until > now for turn in self.held)

    def ask(self, tag: str, *, is_rebuild: bool, asked_by: Iterable[str] = ()) -> BuildQueue:
        """Get in line, unless the image has a turn or is in line. Jobs go before rebuilds.

        Args:
            tag: The image.
            is_rebuild: Whether no job waits for it.
            asked_by: The repositories whose jobs do. Of an image that is in line they are noted
                beside those before: it waits for the turn of whichever comes first. Default:
                nobody's.
        """
        in_line = next((wanted for wanted in self.wanted if wanted.tag == tag), None)
        if self.of(tag) or (is_rebuild and (in_line or tag in self.rebuilds)):
            return self
        if is_rebuild:
            return replace(self, rebuilds=(*self.rebuilds, tag))
        if in_line:
            known = in_line.asked_by
            more = Wanted(tag=tag, asked_by=tuple(dict.fromkeys((*known, *asked_by))))
            # what is nobody's does not become somebody's
            after = tuple(more if one == in_line and known else one for one in self.wanted)
            return replace(self, wanted=after)
        wanted = Wanted(tag=tag, asked_by=tuple(asked_by))
        return replace(self, wanted=(*self.wanted, wanted), rebuilds=_without(self.rebuilds, tag))

    def take(
        self,
        *,
        owner: str,
        now: int,
        most: int,
        most_of_one: int | None = None,
        is_drained: bool = False,
    ) -> tuple[BuildQueue, BuildTurn | None]:
        """Give the next turn to ``owner``, who then has to start the build.

        Args:
            owner: Who asks. What it had not started when it was last here, it starts first.
            now: Epoch seconds.
            most: How many turns there may be.
            most_of_one: How many of them one repository may have. Default: all.
            is_drained: Whether somebody drains the fleet: nothing is built anew meanwhile.
        """
        until = now + START_SECONDS
        for turn in self.held:
            if not turn.build_id and (turn.owner == owner or turn.until <= now):
                since = turn.since if now - turn.since < TOKEN_SECONDS else now
                mine = replace(turn, owner=owner, since=since, until=until)
                return self._with(mine), mine
        if len(self.held) >= most:
            return self, None
        repository, wanted = self._next(most if most_of_one is None else most_of_one)
        tag = wanted.tag if wanted else "" if is_drained else next(iter(self.rebuilds), "")
        if not tag:
            return self, None
        turn = BuildTurn(
            tag=tag,
            is_rebuild=wanted is None,
            repository=repository,
            asked_by=wanted.asked_by if wanted else (),
            owner=owner,
            since=now,
            until=until,
        )
        after = replace(
            self,
            held=(*self.held, turn),
            wanted=tuple(one for one in self.wanted if one.tag != tag),
            rebuilds=_without(self.rebuilds, tag),
            served=(*_without(self.served, repository), repository),
        )
        return after._remembering(), turn

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
        wanted = Wanted(tag=tag, asked_by=turn.asked_by)
        return replace(self.drop(tag), wanted=(wanted, *self.wanted))

    def drop(self, tag: str) -> BuildQueue:
        """Take an image's turn: there is nothing to build."""
        held = tuple(turn for turn in self.held if turn.tag != tag)
        return replace(self, held=held)._remembering()

    def end(
        self, tag: str, *, build_id: str, started_at: float, day: str = "", cost_usd: float = 0
    ) -> BuildQueue:
        """Take the turn of a build that has ended, whether or not it was noted.

        Args:
            tag: The image.
            build_id: The build.
            started_at: When it began, epoch seconds.
            day: When it ended, as in ``2026-11-21``, UTC.
            cost_usd: What it has cost.
        """
        turn = self.of(tag)
        if turn is None or not (
            turn.build_id == build_id or (not turn.build_id and turn.since <= started_at)
        ):
            return self
        spent = dict(self.spent)
        if cost_usd:
            spent[day] = round(spent.get(day, 0) + cost_usd, 6)
        kept = sorted(spent)[-_DAYS_KEPT:]
        return replace(self.drop(tag), spent={one: spent[one] for one in kept})

    def _remembering(self) -> BuildQueue:
        """Forget the last turns of repositories that have none and are not in line."""
        there = {turn.repository for turn in self.held} - {_NOBODY}
        there.update(repository for one in self.wanted for repository in one.asked_by)
        return replace(self, served=tuple(one for one in self.served if one in there))

    def _next(self, most_of_one: int) -> tuple[str, Wanted | None]:
        """Whose turn is next, and for which image; None if no job's is."""
        held = Counter(turn.repository for turn in self.held)
        served = {repository: place for place, repository in enumerate(self.served, start=1)}
        claims = [
            (repository != _NOBODY, held[repository], served.get(repository, 0), place, repository)
            for place, wanted in enumerate(self.wanted)
            for repository in wanted.asked_by or (_NOBODY,)
            if repository == _NOBODY or held[repository] < most_of_one
        ]
        if not claims:
            return _NOBODY, None
        *_, place, repository = min(claims)
        return repository, self.wanted[place]

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
        most_of_one: How many of them for one repository. Default: all.
        pause: Waits for so many seconds. Default: the system's.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        most: int,
        most_of_one: int | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._most = most
        self._most_of_one = most_of_one
        self._pause = pause

    def read(self) -> BuildQueue:
        """Read the queue, with every write before it."""
        return _parse(self._ledger.get(BUILDS))

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
                owner=owner,
                now=now,
                most=self._most,
                most_of_one=self._most_of_one,
                is_drained=is_drained,
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
            item = self._ledger.get(BUILDS)
            drained_at = number(item, "drained_at")
            before = _parse(item)
            after, answer = transition(before, drained_at is not None)
            seen = {
                "queue": text(item, "queue") or None,
                BUILDS_SPENT: before.spent or None,
                "drained_at": drained_at,
            }
            if after == before or self._put(after, seen=seen):
                return after, answer
            self._pause(random.uniform(0, _PAUSE_SECONDS * (attempt + 1)))  # noqa: S311 - a pause
        raise BuildNotStarted("many builds start and end just now")

    def _put(self, queue: BuildQueue, *, seen: Mapping[str, Value | None]) -> bool:
        values: dict[str, Value] = {"queue": queue.dump()}
        if queue.spent:
            values[BUILDS_SPENT] = queue.spent
        return self._ledger.update(BUILDS, values=values, expected=seen) is not None


def _parse(item: Item) -> BuildQueue:
    return BuildQueue.parse(text(item, "queue"), spent=amounts(item, BUILDS_SPENT))


def _without(tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    return tuple(each for each in tags if each != tag)
