"""One request from its limits to what is noted of its answer, over a real socket."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from cdk_runner_fleet.local.twin import ApiFault, GitHubTwin
from fleet_runtime import environment
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.etags import Etags
from fleet_runtime.github.message import (
    GitHubRefused,
    GitHubUnavailable,
    Request,
    Response,
    read_document,
)

from .conftest import (
    NEW_TOKEN,
    REPOSITORY,
    Line,
    quota,
    runners,
)


@pytest.mark.usefixtures("one_app", "aws")
def test_a_token_that_github_takes_no_more_is_replaced_once(twin: GitHubTwin, line: Line) -> None:
    github = GitHub.of(environment.read(Connection))
    github.ask(runners())
    line.clear()
    twin.askers.revoke_tokens()
    assert github.ask(runners()).status == 200
    listing = f"GET /repos/{REPOSITORY}/actions/runners"
    assert line.paths == [listing, NEW_TOKEN, listing]


@pytest.mark.usefixtures("one_app", "aws")
def test_a_401_that_stays_is_the_answer(twin: GitHubTwin, line: Line) -> None:
    twin.api_faults.add(ApiFault(status=401, path="*/actions/runners", times=2))
    assert GitHub.of(environment.read(Connection)).ask(runners()).status == 401
    assert line.paths.count(NEW_TOKEN) == 2


def test_one_request_from_its_limits_to_what_is_noted(asking: Any) -> None:
    now = time.time()
    names = (200, {**quota(2, clock=now), "etag": 'W/"1"'}, "the first")
    unchanged = (304, quota(1, clock=now), "")
    changed = (200, {**quota(0, clock=now), "etag": 'W/"2"'}, "the second")
    github, answers, clock = asking(me=[names, unchanged, changed, (200, {}, "x")], etags=Etags())
    read: list[int] = []

    def message(response: Response) -> str:
        read.append(response.status)
        return str(json.loads(response.body)["message"])

    request = Request.get("/x", read=message)
    # what holds still is neither sent nor read again
    assert [github.ask(request) for _ in range(3)] == ["the first", "the first", "the second"]
    assert read == [200, 200]
    conditions = [one.headers.get("if-none-match") for one in answers.stub.received]
    assert conditions == [None, 'W/"1"', 'W/"1"']
    # and the last answer said that no request is left
    with pytest.raises(GitHubUnavailable, match="not asked, primary rate limit"):
        github.ask(request)
    assert len(answers.asked) == 3
    clock.now += 601
    assert github.ask(request) == "x"
    assert answers.stub.received[-1].headers["if-none-match"] == 'W/"2"'


def test_an_answer_that_cannot_be_read_is_not_kept(asking: Any) -> None:
    etag = {"etag": 'W/"1"'}
    github, answers, _ = asking(me=[(500, etag, "down"), (200, etag, "up")], etags=Etags())
    request = Request.get("/x", read=lambda response: read_document(response, expected=200))
    with pytest.raises(GitHubUnavailable, match="GitHub answered 500: down"):
        github.ask(request)
    assert github.ask(request)["message"] == "up"
    assert "if-none-match" not in answers.stub.received[-1].headers


def test_a_304_that_nobody_asked_for_is_no_answer(asking: Any) -> None:
    github, _, _ = asking(me=[(304, {}, "")], etags=Etags())
    request = Request.get("/x", read=lambda response: read_document(response, expected=200))
    with pytest.raises(GitHubRefused, match="304"):
        github.ask(request)


def test_a_strangers_quota_is_not_the_credentials(asking: Any) -> None:
    # GitHub answers a wrong token with the quota of the address: 60 an hour
    github, answers, _ = asking(me=[(401, quota(0, clock=time.time()), "Bad credentials")])
    assert github.ask(runners()).status == 401
    assert github.ask(runners()).status == 401
    assert len(answers.asked) == 4


def test_the_quota_left_is_a_metric_once_a_minute(
    asking: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    other = {**quota(9000, clock=now), "x-ratelimit-resource": "actions_runner_registration"}
    github, _, clock = asking(
        me=[
            (200, quota(4999, clock=now), ""),
            (200, quota(4998, clock=now), ""),
            (200, other, ""),
            (200, quota(4000, clock=now), ""),
        ]
    )
    for _ in range(3):
        github.ask(runners())
    clock.now += 60
    github.ask(runners())
    lines = [json.loads(one) for one in capsys.readouterr().out.splitlines() if one[:1] == "{"]
    told = [(one["who"], one["GitHubQuotaLeft"]) for one in lines if "GitHubQuotaLeft" in one]
    assert told == [
        ("me", 4999),
        ("me/actions_runner_registration", 9000),
        ("me", 4000),
    ]
