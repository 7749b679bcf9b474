"""Check runs and commit statuses: what is said, and whether GitHub has taken it."""

from __future__ import annotations

import json

import pytest

from cdk_runner_fleet.local.twin.checks import Checks, ChecksError
from cdk_runner_fleet.local.twin.payloads import HEAD_SHA
from fleet_runtime.github.checks import create_check_run, create_commit_status
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Request

from .conftest import answer

SHA = "e3103f8eb03e1ad7f2331c5446b23c070fc54055"


def check_run(details_url: str = "") -> Request[None]:
    return create_check_run(
        repository="o/r",
        head_sha=SHA,
        name="runner-fleet / build",
        external_id="fleet-1-1",
        conclusion="neutral",
        title="No runner yet",
        summary="It has not come yet.",
        details_url=details_url,
    )


def commit_status(target_url: str = "") -> Request[None]:
    return create_commit_status(
        repository="o/r",
        head_sha=SHA,
        state="success",
        context="runner-fleet / build",
        description="No runner yet",
        target_url=target_url,
    )


def test_a_check_run_has_the_documented_body() -> None:
    request = check_run()
    assert (request.method, request.path) == ("POST", "/repos/o/r/check-runs")
    assert json.loads(request.body or b"") == {
        "name": "runner-fleet / build",
        "head_sha": SHA,
        "external_id": "fleet-1-1",
        "status": "completed",
        "conclusion": "neutral",
        "output": {"title": "No runner yet", "summary": "It has not come yet."},
    }


def test_a_commit_status_has_the_documented_body() -> None:
    request = commit_status()
    assert (request.method, request.path) == ("POST", f"/repos/o/r/statuses/{SHA}")
    assert json.loads(request.body or b"") == {
        "state": "success",
        "context": "runner-fleet / build",
        "description": "No runner yet",
    }


def test_where_there_is_more_is_said_if_it_is_known() -> None:
    url = "https://github.com/o/r/actions/runs/1/job/1"
    assert json.loads(check_run(url).body or b"")["details_url"] == url
    assert json.loads(commit_status(url).body or b"")["target_url"] == url


@pytest.mark.parametrize("request_", [check_run(), commit_status()])
def test_what_github_has_not_taken_is_an_error(request_: Request[None]) -> None:
    assert request_.repository == "o/r", "another's is not told"
    assert request_.read(answer({"id": 1}, status=201)) is None
    for status in (200, 403, 422):
        with pytest.raises(GitHubRefused, match=str(status)):
            request_.read(answer({"message": "no"}, status=status))
    with pytest.raises(GitHubUnavailable, match="200"):
        request_.read(answer(b"<html>", status=200))


def test_a_commit_status_has_no_characters_that_github_refuses() -> None:
    said = "🚀 Größe 日本 ✓ 😀"
    request = create_commit_status(
        repository="o/r",
        head_sha=HEAD_SHA,
        state="success",
        context=f"runner-fleet / {said}",
        description=said,
        target_url="",
    )
    twin, body = Checks(), json.loads(request.body or b"")
    twin.add_status(HEAD_SHA, body)
    assert body["context"] == "runner-fleet /  Größe 日本 ✓ "
    for name in ("context", "description"):
        with pytest.raises(ChecksError, match="4-byte Unicode"):
            twin.add_status(HEAD_SHA, body | {name: said})
