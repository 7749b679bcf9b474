"""What a fleet may have: which numbers can be kept."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import Token

from cdk_runner_fleet.values.limits import RunnerLimits


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_runners": 0}, "max_runners 0 cannot be kept, use a whole number from 1 to 1000"),
        ({"max_runners": 1001}, "several fleets"),
        ({"max_runners_per_repository": 0}, "max_runners_per_repository 0"),
        ({"daily_budget_usd": 0}, "daily_budget_usd 0 is no budget"),
        ({"daily_budget_usd": float("inf")}, "leave it out for no limit"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerLimits(**given)


def test_no_limit_is_no_text() -> None:
    assert RunnerLimits().to_settings() == {
        "MAX_RUNNERS": "100",
        "MAX_RUNNERS_PER_REPOSITORY": "",
        "DAILY_BUDGET_USD": "",
    }


@pytest.mark.parametrize(
    ("most", "said", "share"),
    [
        (100, None, 50),
        (5, None, 2),
        (1, None, 1),
        (100, 80, 80),
        pytest.param(Token.as_number({"Ref": "Most"}), None, None, id="token"),
    ],
)
def test_where_nobody_says_one_repository_has_half_of_what_several_share(
    most: int, said: int | None, share: int | None
) -> None:
    limits = RunnerLimits(max_runners=most, max_runners_per_repository=said, daily_budget_usd=5)
    shared = limits.among_repositories()
    assert shared.max_runners_per_repository == share
    assert (shared.max_runners, shared.daily_budget_usd) == (most, 5)
