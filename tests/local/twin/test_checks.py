"""Check runs and commit statuses: what the fleet says of a job is taken as GitHub would take it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cdk_runner_fleet.local.twin import GitHubTwin, TwinApp
from cdk_runner_fleet.local.twin.payloads import HEAD_SHA
from fleet_runtime.explanation.explanation import Explanation
from fleet_runtime.github.message import Request
from tests.waiting import PATIENCE_SECONDS

REPOSITORY = "/repos/octo/fleet"
APP = TwinApp(app_id="7", permissions={"checks": "write"})
ABOUT = Explanation.from_detail(
    {
        "repository": "octo/fleet",
        "runner_id": "fleet-1-1",
        "job_name": "build",
        "job_url": "https://github.com/octo/fleet/actions/runs/1/job/1",
        "head_sha": HEAD_SHA,
        "error": "Job.CannotBeServed",
        "cause": "class 'huge' is not in the catalog " + "x" * 300,
        "final": True,
        "log_only": False,
    }
)


@pytest.fixture
def twin() -> Iterator[GitHubTwin]:
    with GitHubTwin(repository="octo/fleet", token="t", webhook_secret="s", apps=[APP]) as twin:
        yield twin


def send(twin: GitHubTwin, request: Request[Any], *, token: str = "t") -> tuple[int, Any]:
    asked = urllib.request.Request(
        twin.url + request.path,
        request.body,
        {"Authorization": f"Bearer {token}"},
        method=request.method,
    )
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def installation(twin: GitHubTwin) -> str:
    return str(twin.askers.new_token(APP, {})["token"])


def ask(path: str) -> Request[Any]:
    return Request.get(REPOSITORY + path, read=lambda response: response)


def changed(request: Request[Any], **changes: object) -> Request[Any]:
    body = json.loads(request.body or b"{}") | changes
    given = {name: value for name, value in body.items() if value is not None}
    return replace(request, body=json.dumps(given).encode())


def test_the_fleets_check_run_is_taken_from_an_app_alone(twin: GitHubTwin) -> None:
    request = ABOUT.as_check_run()
    status, answer = send(twin, request)
    assert (status, answer["message"]) == (403, "You must authenticate via a GitHub App.")
    status, made = send(twin, request, token=installation(twin))
    assert status == 201
    assert (made["name"], made["conclusion"]) == ("runner-fleet / build", "failure")
    listed = send(twin, ask(f"/commits/{HEAD_SHA}/check-runs"))[1]
    assert listed == {"total_count": 1, "check_runs": [made]}
    assert twin.checks.runs == [made]


def test_the_fleets_commit_status_is_taken(twin: GitHubTwin) -> None:
    status, made = send(twin, ABOUT.as_commit_status())
    assert status == 201
    assert (made["context"], made["state"]) == ("runner-fleet / build", "failure")
    assert send(twin, ask(f"/commits/{HEAD_SHA}/statuses")) == (200, [made])


def test_an_app_that_may_not_write_statuses_is_refused(twin: GitHubTwin) -> None:
    request = ABOUT.as_commit_status()
    status, answer = send(twin, request, token=installation(twin))
    assert (status, answer["message"]) == (403, "Resource not accessible by integration")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"head_sha": None},
        {"head_sha": "f" * 40},
        {"conclusion": "broken"},
        {"output": {"title": "no summary"}},
        {"details_url": "javascript:1"},
        {"output": {"title": "t", "summary": "s" * 65_536}},
    ],
)
def test_a_bad_check_run_is_refused(twin: GitHubTwin, changes: dict[str, object]) -> None:
    request = changed(ABOUT.as_check_run(), **changes)
    assert send(twin, request, token=installation(twin))[0] == 422
    assert twin.checks.runs == []


@pytest.mark.parametrize(
    "changes",
    [{"state": "broken"}, {"description": "d" * 141}, {"target_url": "javascript:1"}],
)
def test_a_bad_status_is_refused(twin: GitHubTwin, changes: dict[str, object]) -> None:
    assert send(twin, changed(ABOUT.as_commit_status(), **changes))[0] == 422
    assert twin.checks.statuses == []


def test_a_status_of_a_commit_that_is_not_there_is_refused(twin: GitHubTwin) -> None:
    path = f"{REPOSITORY}/statuses/{'f' * 40}"
    request = replace(ABOUT.as_commit_status(), path=path)
    assert send(twin, request)[0] == 422
