"""A deployed fleet as the commands see it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import CloudFormation, Result, put_runner


@pytest.mark.parametrize(
    "command",
    [("cluster", "status"), ("runners", "list"), ("explain", "fleet-7-1"), ("list-class-sizes",)],
    ids=" ".join,
)
def test_its_stack_is_asked_for_once(
    run: Callable[..., Result], fleet: str, command: tuple[str, ...]
) -> None:
    put_runner("fleet-7-1", job_id=7, run_attempt=1)
    run(*command)
    assert CloudFormation.asked == [fleet]
