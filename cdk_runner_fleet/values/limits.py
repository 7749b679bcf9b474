"""What a fleet may have at a time, and spend on a day."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from aws_cdk import Tokenization

from cdk_runner_fleet.values.types import check_types, is_token

MOST_RUNNERS = 1000
"""Runners of a fleet: reconciliation looks at 2,000 running tasks a run, and a runner may have two.
"""


@dataclass(frozen=True, kw_only=True)
class RunnerLimits:
    """Limits that runners are admitted by.

    Args:
        max_runners: Runners of the whole fleet at a time, 1 to 1000. Default: 100, which is how
            many tasks Fargate launches in one burst.
        max_runners_per_repository: Runners for the jobs of one repository at a time. Default: half
            of ``max_runners`` for an organization or enterprise, so that no repository takes what
            all others need; as many as the fleet may have for a repository that is served alone, or
            if ``max_runners`` is known at deployment only.
        daily_budget_usd: Estimated cost of runners and of builds of images on one day, UTC, in US
            dollars, after which no runner is started until the next day. What a runner or a build
            costs counts when it has ended, so those that run when the budget is spent come on top.
            Default: no budget.

    Raises:
        TypeError: if a limit is no number.
        ValueError: if a number cannot be kept.
    """

    max_runners: int = 100
    max_runners_per_repository: int | None = None
    daily_budget_usd: float | None = None

    def __post_init__(self) -> None:
        """Check each number."""
        check_types(RunnerLimits, vars(self))
        _check_runners("max_runners", self.max_runners)
        if self.max_runners_per_repository is not None:
            _check_runners("max_runners_per_repository", self.max_runners_per_repository)
            self._check_share(self.max_runners_per_repository)
        _check_budget(self.daily_budget_usd)

    def _check_share(self, share: int) -> None:
        if is_token(share) or is_token(self.max_runners):
            return
        if share > self.max_runners:
            raise ValueError(
                f"max_runners_per_repository {share} is more than max_runners {self.max_runners}, "
                "which is reached before: use at most as many, or leave it out"
            )

    def among_repositories(self) -> RunnerLimits:
        """The same limits where several repositories share them, and nobody said how much is one's.

        Whoever may push to one repository then never takes more than half of what all have. A
        number that is known at deployment only cannot be halved.
        """
        if self.max_runners_per_repository is not None or is_token(self.max_runners):
            return self
        return replace(self, max_runners_per_repository=max(1, self.max_runners // 2))

    def to_settings(self) -> dict[str, str]:
        """The limits as they stand in the functions' settings: no text for no limit."""
        return {
            "MAX_RUNNERS": _text(self.max_runners),
            "MAX_RUNNERS_PER_REPOSITORY": _text(self.max_runners_per_repository),
            "DAILY_BUDGET_USD": _text(self.daily_budget_usd),
        }


def _check_runners(name: str, value: int) -> None:
    if is_token(value):
        return
    if not 1 <= value <= MOST_RUNNERS:
        raise ValueError(
            f"{name} {value!r} cannot be kept, use a whole number from 1 to {MOST_RUNNERS}, "
            "or several fleets, each with required_labels and a runner_name_prefix of its own"
        )


def _check_budget(value: float | None) -> None:
    # jsii, which knows what a token is, ends at numbers that JSON does not have
    if value is None or (math.isfinite(value) and is_token(value)):
        return
    if not 0 < value < math.inf:
        raise ValueError(
            f"daily_budget_usd {value!r} is no budget, use US dollars above 0, "
            "or leave it out for no limit"
        )


def _text(value: float | None) -> str:
    # a token is resolved late
    return "" if value is None else Tokenization.stringify_number(value)
