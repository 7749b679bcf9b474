"""How many runners there may be at a time, and what they may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a fleet. None: no limit.

    Attributes:
        max_runners: Runners of the whole fleet, at least 1.
        max_runners_per_repository: Runners for the jobs of one repository, at least 1.
        daily_budget_usd: Estimated cost of the runners that end on one day, UTC, in US dollars.

    Raises:
        ValueError: if a limit is 0: nothing would ever start.
    """

    max_runners: int
    max_runners_per_repository: int | None = None
    daily_budget_usd: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value == 0:
                raise ValueError(f"{name} is 0, it must be more, as nothing would ever start")
