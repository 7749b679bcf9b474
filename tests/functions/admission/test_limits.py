"""The limits, from the functions' settings."""

from __future__ import annotations

from typing import Any

import pytest

from ..aws_stand_in import Aws
from ..conftest import forget
from ..events import bus_event, job, sample


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("MAX_RUNNERS", "0", "max_runners is 0, it must be more"),
        ("MAX_RUNNERS_PER_REPOSITORY", "many", "_REPOSITORY is 'many': it must be a whole number"),
        ("DAILY_BUDGET_USD", "0", "daily_budget_usd is 0"),
        ("DAILY_BUDGET_USD", "-1", "DAILY_BUDGET_USD is '-1': it must be a number, and not below"),
        ("DAILY_BUDGET_USD", "nan", "DAILY_BUDGET_USD is 'nan': it must be a number"),
    ],
)
def test_a_limit_that_cannot_be_read_is_named(
    *, dispatch: Any, environment: pytest.MonkeyPatch, key: str, value: str, says: str
) -> None:
    environment.setenv(key, value)
    forget()
    with pytest.raises(Exception, match=says):
        dispatch(bus_event(sample("queued")))


def test_limits_are_read_from_the_environment(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MAX_RUNNERS_PER_REPOSITORY", "1")
    environment.setenv("DAILY_BUDGET_USD", "2.5")
    forget()
    dispatch(bus_event(sample("queued")))
    dispatch(bus_event(job("queued", id=2)))
    row = aws.row("fleet-2-1")
    assert row is not None
    assert "1 of at most 1" in row["waiting_reason"]
