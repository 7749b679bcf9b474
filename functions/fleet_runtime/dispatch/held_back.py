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
from fleet_runtime.runner.name import first_runner_id, read_name
from fleet_runtime.runner.rows import Runner

_MEMORY_SECONDS = 86400
"""GitHub itself gives a job up that was queued for a day."""
_MOST_NOTED = 500
"""Of a repository and its labels: 25 KB, each of which a write pays for. Reconciliation finds those
that are not noted."""


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

    def behind(self, job: Job) -> Sequence[Waiter]:
        """List those that may have waited for a job: first its own run's, the oldest first."""
        entry = _entry(job.repository, job.labels)
        noted = texts(self.ledger.get(entry), "runners") if entry else ()
        found = [Waiter(entry=entry, note=note) for note in noted]
        return sorted(found, key=lambda one: (one.run_id != str(job.run_id), one.order))

    def take(self, waiter: Waiter) -> bool:
        """Take one off the list; False if somebody else did."""
        taken = self.ledger.update(
            waiter.entry,
            discard={"runners": frozenset({waiter.note})},
            condition="contains(runners, :note)",
            operands={":note": waiter.note},
        )
        return taken is not None

    def forget(self, job: Job, *, own_id: str) -> None:
        """Take all off the list that were started for a job."""
        for waiter in self.behind(job):
            if first_runner_id(waiter.runner_id) == own_id:
                self.take(waiter)


@dataclass(frozen=True, kw_only=True)
class Waiter:
    """A runner that got no job, whose own may be held back.

    Attributes:
        entry: Where it is noted.
        note: What is noted.
    """

    entry: str
    note: str

    @property
    def run_id(self) -> str:
        """The run that its own job is of."""
        return self.note.partition("/")[0]

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
