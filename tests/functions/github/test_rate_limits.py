"""GitHub's limits: what is kept without asking again, for how long and for which requests."""

from __future__ import annotations

import time
from typing import Any

import pytest

import runner_api
from cdk_runner_fleet.local.twin import GitHubTwin
from fleet_runtime.github.message import GitHubUnavailable, Response
from fleet_runtime.github.rate_limits import Allowance, LimitReachedError, read_limit, read_quota

from ..aws_stand_in import RUNNER, SESSION, Aws
from ..entry_points import signed_by
from .conftest import (
    JIT_REQUEST,
    OK,
    claim,
    quota,
    runners,
)


@pytest.mark.parametrize(
    ("refusal", "kind", "wait"),
    [
        ((403, {"retry-after": "7"}, "slow down"), "secondary", 7),
        ((429, {"retry-after": "7"}, "slow down"), "secondary", 7),
        ((429, {}, "slow down"), "secondary", 60),
        ((403, {}, "You have exceeded a secondary rate limit."), "secondary", 60),
        ((403, {"x-ratelimit-remaining": "0"}, "API rate limit exceeded"), "primary", 60),
        ((403, {"x-ratelimit-remaining": "0", "retry-after": "9"}, "API rate limit"), "primary", 9),
    ],
)
def test_a_limit_is_kept_without_asking_again(
    asking: Any, refusal: Any, kind: str, wait: int
) -> None:
    github, answers, clock = asking(me=[refusal, OK])
    with pytest.raises(GitHubUnavailable, match=f"^{kind} rate limit until") as caught:
        github.ask(runners())
    assert (caught.value.retry_after, caught.value.status) == (wait, refusal[0])
    clock.now += wait - 1
    with pytest.raises(GitHubUnavailable, match=r"^not asked, ") as caught:
        github.ask(runners())
    assert caught.value.retry_after == 1
    assert len(answers.asked) == 1
    clock.now += 1.5
    assert github.ask(runners()).status == 200


def test_a_primary_limit_lasts_until_its_reset(asking: Any) -> None:
    now = time.time()
    github, answers, clock = asking(me=[(403, quota(0, clock=now), "API rate limit"), OK])
    with pytest.raises(GitHubUnavailable, match=r"^primary") as caught:
        github.ask(runners())
    assert 595 <= caught.value.retry_after <= 600
    clock.now = now + 601
    assert github.ask(runners()).status == 200
    assert len(answers.asked) == 2


def test_the_last_request_of_a_quota_is_answered_and_the_next_not_asked(asking: Any) -> None:
    github, answers, _ = asking(me=[(200, quota(0, clock=time.time()), "")])
    assert github.ask(runners()).status == 200
    with pytest.raises(GitHubUnavailable, match="no request is left"):
        github.ask(runners())
    assert len(answers.asked) == 1


def test_an_outage_with_a_time_is_waited_for_and_one_without_is_an_answer(asking: Any) -> None:
    github, answers, _ = asking(me=[(503, {"retry-after": "20"}, "down")])
    for _ in range(2):
        with pytest.raises(GitHubUnavailable, match="outage until") as caught:
            github.ask(runners())
        assert caught.value.retry_after == 20
    assert len(answers.asked) == 1
    github, answers, _ = asking(me=[(503, {}, "down")])
    assert github.ask(runners()).status == 503
    assert github.ask(runners()).status == 503


def test_a_missing_permission_is_no_limit(asking: Any) -> None:
    github, answers, _ = asking(me=[(403, quota(10, clock=time.time()), "Resource not accessible")])
    for _ in range(2):
        assert github.ask(runners()).status == 403
    assert len(answers.asked) == 2


def test_a_secondary_limit_is_for_all_requests(asking: Any) -> None:
    github, answers, _ = asking(me=[(403, {"retry-after": "30"}, "slow"), OK])
    for request in (JIT_REQUEST, runners(), JIT_REQUEST):
        with pytest.raises(GitHubUnavailable):
            github.ask(request)
    assert len(answers.asked) == 1


def test_a_primary_limit_is_for_its_own_resource(asking: Any) -> None:
    spent = quota(0, clock=time.time())
    registrations = {**spent, "x-ratelimit-resource": "actions_runner_registration"}
    github, answers, _ = asking(me=[(403, registrations, "API rate limit"), OK])
    with pytest.raises(GitHubUnavailable):
        github.ask(JIT_REQUEST)
    assert github.ask(runners()).status == 200
    with pytest.raises(GitHubUnavailable, match="not asked"):
        github.ask(JIT_REQUEST)
    assert len(answers.asked) == 2


def test_registrations_may_be_of_the_one_resource_there_is(asking: Any) -> None:
    # as on a server that has no other
    github, answers, _ = asking(me=[(403, quota(0, clock=time.time()), "API rate limit"), OK])
    with pytest.raises(GitHubUnavailable):
        github.ask(JIT_REQUEST)
    with pytest.raises(GitHubUnavailable, match="not asked"):
        github.ask(runners())
    assert len(answers.asked) == 1


def test_a_claim_during_a_long_limit_comes_back_within_a_minute(
    aws: Aws, twin: GitHubTwin, environment: pytest.MonkeyPatch, context: Any
) -> None:
    environment.setenv("GITHUB_API_URL", twin.url)
    twin.requests_an_hour = 0
    aws.park("runner", job_id=7)
    answer = runner_api.handler(
        {"rawPath": f"/runners/{RUNNER}/claim", **signed_by(SESSION)},
        context,
    )
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "60")
    assert twin.requests_served == 2
    aws.park("runner", job_id=7)
    assert claim(context)[0] == 503
    assert twin.requests_served == 2, "GitHub is not asked again"


def test_only_limits_are_limits() -> None:
    for status in (200, 304, 401, 404, 422, 500):
        response = Response(status=status, headers={"x-ratelimit-remaining": "0"}, body=b"")
        assert read_limit(response, quota=None, now=0) is None
    allowance = Allowance()
    last = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "100"}
    response = Response(status=304, headers=last, body=b"")
    allowance.note(runners(), response, quota=read_quota(response), now=0)
    with pytest.raises(LimitReachedError):
        allowance.check(runners(), now=99)
    allowance.check(runners(), now=100)
