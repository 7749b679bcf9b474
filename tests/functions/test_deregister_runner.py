"""What the state machine catches of it."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable

from . import entry_points
from .aws_stand_in import RUNNER, Aws
from .github_stand_in import GitHub

deregister = entry_points.deregister


@pytest.mark.parametrize(
    ("operation", "status", "error"),
    [
        ("list", 500, GitHubUnavailable),
        ("list", 0, GitHubUnavailable),
        ("list", 404, GitHubRefused),
        ("delete", 503, GitHubUnavailable),
        ("delete", 429, GitHubUnavailable),
        ("delete", 403, GitHubRefused),
    ],
)
def test_other_answers_are_errors_the_state_machine_knows_by_name(
    *,
    aws: Aws,
    github: GitHub,
    deregister: Any,
    operation: str,
    status: int,
    error: type[Exception],
) -> None:
    github_id = github.add_runner(RUNNER)
    if operation == "delete":
        aws.park("job", github_runner_id=github_id)
    else:
        aws.park("runner")
    github.fail(operation, status)
    with pytest.raises(error) as caught:
        deregister()
    # what Lambda reports as errorType
    assert type(caught.value).__name__ in ("GitHubUnavailable", "GitHubRefused")
