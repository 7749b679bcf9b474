"""What the state machine catches of it, and that it writes nothing."""

from __future__ import annotations

import pytest

from fleet_runtime.runner.registered import RunnerOffline

from . import entry_points
from .aws_stand_in import RUNNER, Aws
from .entry_points import Check, silent
from .github_stand_in import GitHub

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
