"""What a fleet may have: which numbers can be kept."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import Token

from cdk_runner_fleet.values.limits import RunnerLimits, repository_share


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_runners": 0}, "max_runners 0 cannot be kept, use a whole number from 1 to 1000"),
        ({"max_runners": 1001}, "several fleets"),
        ({"max_runners": True}, "max_runners True"),
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
    ("serving", "most", "share"),
    [
        ("orgs/o", 100, 50),
        ("enterprises/e", 5, 2),
        ("orgs/o", 1, 1),
        ("repos/o/r", 100, None),
        pytest.param("orgs/o", Token.as_number({"Ref": "Most"}), None, id="token"),
    ],
)
def test_where_nobody_says_one_repository_has_half_of_what_several_share(
    serving: str, most: int, share: int | None
) -> None:
    assert repository_share(most, serving=serving) == share
