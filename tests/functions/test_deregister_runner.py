from __future__ import annotations

from typing import Any

import pytest

import deregister_runner
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable

from .conftest import RUNNER, Aws, GitHub


@pytest.fixture
def deregister(aws: Aws, github: GitHub, environment: pytest.MonkeyPatch, context: Any) -> Any:
    environment.setenv("GITHUB_API_URL", github.stub.url)
    return lambda: deregister_runner.handler({"runner_id": RUNNER}, context)


def test_a_registered_runner_is_removed(aws: Aws, github: GitHub, deregister: Any) -> None:
    github_id = github.add_runner(RUNNER)
    aws.park("job", github_runner_id=github_id)
    assert deregister() == {"busy": False}
    assert github.runners == {}
    assert github.calls == [f"DELETE runners/{github_id}"]
    assert deregister() == {"busy": False}, "gone counts as removed"


def test_a_busy_runner_stays(aws: Aws, github: GitHub, deregister: Any) -> None:
    github_id = github.add_runner(RUNNER, busy=True)
    aws.park("job", github_runner_id=github_id)
    assert deregister() == {"busy": True}
    assert list(github.runners) == [github_id]


@pytest.mark.parametrize("row", [True, False])
def test_a_runner_whose_id_is_not_known_is_found_by_its_name(
    aws: Aws, github: GitHub, deregister: Any, row: bool
) -> None:
    if row:
        aws.park("runner")
    github.add_runner("fleet-another-1")
    github.add_runner(RUNNER)
    assert deregister() == {"busy": False}
    assert [one["name"] for one in github.runners.values()] == ["fleet-another-1"]
    assert deregister() == {"busy": False}


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
