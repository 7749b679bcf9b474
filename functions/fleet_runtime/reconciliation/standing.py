"""How the fleet stands: the runners in each phase, and how long the oldest job waits. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet_runtime.runner.rows import Runner

_WAITING = frozenset({"turn", "capacity", "image"})


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Runners that are not over, by what they do.

    Attributes:
        waiting: For their turn, for capacity or for their image: nothing is paid for them.
        starting: Their tasks boot.
        idle: Registered, and without a job.
        running: At a job.
        longest_wait: Seconds that the oldest job has waited whose runner is waiting or starting; 0
            if there is none.
    """

    waiting: int
    starting: int
    idle: int
    running: int
    longest_wait: int

    @classmethod
    def of(cls, rows: Iterable[Runner], *, now: int) -> Standing:
        """Count them."""
        counts = dict.fromkeys(("waiting", "starting", "idle", "running"), 0)
        longest = 0
        for row in rows:
            if row.is_over:
                continue
            phase = _phase(row)
            counts[phase] += 1
            if phase in ("waiting", "starting") and row.queued_at is not None:
                longest = max(longest, now - row.queued_at)
        return cls(**counts, longest_wait=longest)

    @property
    def is_quiet(self) -> bool:
        """Whether there is no runner."""
        return not (self.waiting or self.starting or self.idle or self.running)


def _phase(row: Runner) -> str:
    if row.started_at is not None or row.waiting_for == "completion":
        return "running"
    if row.waiting_for == "job":
        return "idle"
    return "waiting" if row.waiting_for in _WAITING else "starting"
