"""What the state machine catches of it, and that it writes nothing."""

from __future__ import annotations

import pytest

from fleet_runtime.runner.registered import RunnerOffline

from . import entry_points
from .conftest import RUNNER, Aws, GitHub
from .entry_points import Check, silent

check = entry_points.check


def test_the_row_is_only_read(aws: Aws, github: GitHub, check: Check) -> None:
    silent(aws, github.add_runner(RUNNER, status="offline"))
    before = aws.row()
    with pytest.raises(RunnerOffline) as caught:
        check()
    # what Lambda reports as errorType, and the state machine catches
    assert type(caught.value).__name__ == "RunnerOffline"
    assert aws.row() == before
    assert aws.sfn.calls == []
