"""What a fleet may have at a time, and spend on a day."""

from __future__ import annotations

import math
from dataclasses import dataclass

from aws_cdk import Token, Tokenization


@dataclass(frozen=True, kw_only=True)
class RunnerLimits:
    """Limits that runners are admitted by.

    Args:
        max_runners: Runners of the whole fleet at a time, 1 to 1000. Default: 100, which is how
            many tasks Fargate launches in one burst.
        max_runners_per_repository: Runners for the jobs of one repository at a time. Default: as
            many as the fleet may have.
        daily_budget_usd: Estimated cost of the runners and builds of images that have ended on a
            day, UTC, in US dollars, after which no runner is started until the next. Default: no
            budget.

    Raises:
        ValueError: if a number cannot be kept.
    """

    max_runners: int = 100
    max_runners_per_repository: int | None = None
    daily_budget_usd: float | None = None

    def __post_init__(self) -> None:
        """Check each number."""
        _check_runners("max_runners", self.max_runners)
        if self.max_runners_per_repository is not None:
            _check_runners("max_runners_per_repository", self.max_runners_per_repository)
        _check_budget(self.daily_budget_usd)

    def to_settings(self) -> dict[str, str]:
        """The limits as they stand in the functions' settings: no text for no limit."""
        return {
            "MAX_RUNNERS": _text(self.max_runners),
            "MAX_RUNNERS_PER_REPOSITORY": _text(self.max_runners_per_repository),
            "DAILY_BUDGET_USD": _text(self.daily_budget_usd),
        }


def repository_share(max_runners: int, *, serving: str) -> int | None:
    """Return how many runners one repository may have where nobody says: half of the fleet's.

    So whoever may push to one repository never takes more than half of what an organization has. A
    repository that is served alone shares with nobody, and a number that is known at deployment
    only cannot be halved.

    Args:
        max_runners: Runners of the whole fleet at a time.
        serving: What is served, as the REST API's paths name it.

    Returns:
        The share, at least 1; None for no limit.
    """
    if serving.startswith("repos/") or Token.is_unresolved(max_runners):
        return None
    return max(1, max_runners // 2)


def _check_runners(name: str, value: int) -> None:
    if Token.is_unresolved(value):
        return
    # reconciliation looks at 2,000 running tasks a run, and a runner may have two
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise ValueError(
            f"{name} {value!r} cannot be kept, use a whole number from 1 to 1000, "
            "or several fleets, each with required_labels and a runner_name_prefix of its own"
        )


def _check_budget(value: float | None) -> None:
    # jsii, which knows what a token is, ends at numbers that JSON does not have
    if value is None or (math.isfinite(value) and Token.is_unresolved(value)):
        return
    if isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(
            f"daily_budget_usd {value!r} is no budget, use US dollars above 0, "
            "or leave it out for no limit"
        )


def _text(value: float | None) -> str:
    # a token is resolved late
    return "" if value is None else Tokenization.stringify_number(value)
