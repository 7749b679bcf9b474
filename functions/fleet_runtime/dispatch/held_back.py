"""Jobs that GitHub may hold back: their runners got no job, and another's end may make room.

GitHub tells of a leg behind ``max-parallel``, and of a job behind a limit of its own, as of any
other that is queued. So whoever got no runner's worth is noted here, and is called when a job ends
that it may have waited for. It is in the ledger and not on a row: rows that are over are in no
index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from fleet_runtime.aws.items import texts
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.job import labels
from fleet_runtime.job.job import Job
from fleet_runtime.job.labels import Refusal
from fleet_runtime.job.runner_name import first_runner_id, read_name
from fleet_runtime.runner.rows import Runner

_MEMORY_SECONDS = 86400
"""GitHub itself gives a job up that was queued for a day."""
_MOST_NOTED = 500
"""Of a repository and its labels: 25 KB, each of which a write pays for. Reconciliation finds those
that are not noted."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a job leaves free for another at its end.

    Attributes:
        repository: The job's.
        labels: What it asked for, or what its runner has where that is not known.
        run_id: The run that it was of.
    """

    repository: str
    labels: Sequence[object]
    run_id: int | None

    @classmethod
    def of_job(cls, job: Job) -> Place:
        """The place of a job, as GitHub tells of its end."""
        return cls(repository=job.repository, labels=job.labels, run_id=job.run_id)

    @classmethod
    def of_runner(cls, runner: Runner) -> Place:
        """The place of the job that a runner had, of which nobody has told yet."""
        return cls(repository=runner.repository, labels=runner.runner_labels, run_id=runner.run_id)


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """Runners that got no job, an entry of the ledger for each repository and set of labels.

    Attributes:
        ledger: The ledger.
    """

    ledger: Ledger

    def note(self, runner: Runner) -> None:
        """Note a runner that has ended, if it got no job."""
        entry = _entry(runner.repository, runner.runner_labels)
        if entry and runner.got_no_job:
            self.ledger.update(
                entry,
                values={"expires_at": self.ledger.now + _MEMORY_SECONDS},
                add={"runners": frozenset({f"{runner.run_id}/{runner.runner_id}"})},
                condition="attribute_not_exists(runners) OR size(runners) < :most",
                operands={":most": _MOST_NOTED},
            )

    def behind(self, place: Place) -> Sequence[Waiter]:
        """List those that may have waited for a place: first of its own run, the oldest first."""
        entry = _entry(place.repository, place.labels)
        noted = texts(self.ledger.get(entry), "runners") if entry else ()
        found = [Waiter(entry=entry, note=note) for note in noted]
        return sorted(found, key=lambda one: (not one.is_leg(place), one.order))

    def take(self, waiter: Waiter) -> bool:
        """Take one off the list; False if somebody else did."""
        taken = self.ledger.update(
            waiter.entry,
            discard={"runners": frozenset({waiter.note})},
            condition="contains(runners, :note)",
            operands={":note": waiter.note},
        )
        return taken is not None

    def strike(self, waiters: Sequence[Waiter]) -> None:
        """Take those off their list that wait no more, in one write."""
        if waiters:
            self.ledger.update(
                waiters[0].entry,
                discard={"runners": frozenset(waiter.note for waiter in waiters)},
                condition="attribute_exists(runners)",
            )

    def forget(self, job: Job, *, own_id: str) -> None:
        """Take all off the list that were started for a job."""
        waiters = self.behind(Place.of_job(job))
        self.strike([one for one in waiters if first_runner_id(one.runner_id) == own_id])


@dataclass(frozen=True, kw_only=True)
class Waiter:
    """A runner that got no job, whose own may be held back.

    Attributes:
        entry: Where it is noted.
        note: What is noted.
    """

    entry: str
    note: str

    def is_leg(self, place: Place) -> bool:
        """Whether its own job is of the run that a place came free in."""
        return self.note.partition("/")[0] == str(place.run_id)

    @property
    def runner_id(self) -> str:
        """Its name."""
        return self.note.partition("/")[2]

    @property
    def order(self) -> tuple[int, int]:
        """What the oldest is first by: GitHub's ids grow."""
        name = read_name(self.runner_id)
        return (name.job_id, name.number) if name else (0, 0)


def _entry(repository: str, texts: Sequence[object]) -> str:
    request = labels.read(texts)
    if isinstance(request, Refusal):
        return ""
    asked = f"{repository.lower()} {request.waiting_labels}"
    return f"held-back/{sha256(asked.encode()).hexdigest()}"
