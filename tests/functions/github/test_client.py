"""The fleet at GitHub: who of several Apps asks, for which repositories, and page after page."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cdk_runner_fleet.local.twin import ApiFault, GitHubTwin
from fleet_runtime import environment as fleet_environment
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.message import (
    GitHubRefused,
    GitHubUnavailable,
    Request,
    Response,
    read_document,
)
from fleet_runtime.github.runners import list_runners
from fleet_runtime.observability import logger

from ..aws_stand_in import Aws
from ..http_stub import Received, Stub
from .conftest import (
    OK,
    Line,
    as_it_came,
    asked_first,
    github_at,
    quota,
    runners,
)

APP = Request.get("/app", read=as_it_came)


@pytest.mark.usefixtures("one_app", "aws")
def test_the_app_itself_can_be_asked_as(line: Line) -> None:
    github = GitHub.of(fleet_environment.read(Connection))
    assert github.as_app is not None
    assert json.loads(github.as_app.ask(APP).body)["id"] == 11
    assert line.paths == ["GET /app"]


def test_a_token_is_no_app(aws: Aws, twin: GitHubTwin, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GITHUB_API_URL", twin.url)
    assert GitHub.of(fleet_environment.read(Connection)).as_app is None


@pytest.mark.usefixtures("one_app", "aws")
def test_the_limit_of_the_app_itself_is_kept(twin: GitHubTwin, line: Line) -> None:
    limit = ApiFault(status=403, path="/app", message="x", headers={"retry-after": "30"})
    twin.api_faults.add(limit)
    app = GitHub.of(fleet_environment.read(Connection)).as_app
    assert app is not None
    for _ in range(2):
        with pytest.raises(GitHubUnavailable, match="secondary rate limit") as caught:
            app.ask(APP)
        assert 28 <= caught.value.retry_after <= 30
    assert line.paths == ["GET /app"]


def test_another_app_is_asked_at_once_when_one_is_limited(asking: Any) -> None:
    first = asked_first(asking)
    second = {"one": "two", "two": "one"}[first]
    limited = (403, {"retry-after": "100"}, "slow")
    github, answers, _ = asking(**{first: [limited], second: [OK]})
    assert github.ask(runners()).status == 200
    assert answers.asked == [first, second]
    assert github.ask(runners()).status == 200
    assert answers.asked == [first, second, second]


@pytest.mark.parametrize("waits", [("100", "40"), ("40", "100")])
def test_the_soonest_of_all_limits_is_told(asking: Any, waits: tuple[str, str]) -> None:
    one, two = ((403, {"retry-after": wait}, "slow") for wait in waits)
    github, answers, _ = asking(one=[one], two=[two])
    for _ in range(2):
        with pytest.raises(GitHubUnavailable) as caught:
            github.ask(runners())
        assert caught.value.retry_after == 40
    assert len(answers.asked) == 2


def test_the_app_with_most_quota_left_is_asked_and_none_in_turns(asking: Any) -> None:
    first = asked_first(asking)
    second = {"one": "two", "two": "one"}[first]
    now = time.time()
    github, answers, _ = asking(
        **{
            first: [(200, quota(left, clock=now), "") for left in (5000, 4500, 4096, 4000, 3900)],
            second: [(200, quota(left, clock=now), "") for left in (4999, 4500, 4096, 4095)],
        }
    )
    for _ in range(9):
        github.ask(runners())
    assert answers.asked == [first] * 4 + [second] * 4 + [first]


def test_an_app_without_a_token_leaves_it_to_the_others(
    asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    broken = asked_first(asking)
    github, answers, _ = asking(refused=broken, one=[OK], two=[OK])
    assert github.ask(runners()).status == 200
    assert answers.asked == [{"one": "two", "two": "one"}[broken]]
    assert "its key is broken" in log.getvalue()


def test_an_outage_is_no_reason_to_ask_as_somebody_else(asking: Any) -> None:
    github, answers, _ = asking(one=[(0, {}, "")], two=[(0, {}, "")])
    with pytest.raises(GitHubUnavailable, match="cannot be reached"):
        github.ask(runners())
    assert len(answers.asked) == 1


def test_a_refusal_is_no_reason_to_ask_as_somebody_else(asking: Any) -> None:
    gone = (404, {}, "Not Found")
    github, answers, _ = asking(one=[gone], two=[gone])
    request = Request.get("/x", read=lambda response: read_document(response, expected=200))
    with pytest.raises(GitHubRefused, match="404: Not Found"):
        github.ask(request)
    assert len(answers.asked) == 1


def test_another_repository_is_not_asked_for(asking: Any) -> None:
    github, answers, _ = asking(me=[OK])
    with pytest.raises(GitHubRefused, match="octo-org/other is not in the repository octo-org/exa"):
        github.ask(runners(repository="octo-org/other"))
    assert answers.asked == []
    assert github.ask(runners(repository="Octo-Org/Example")).status == 200


@pytest.fixture
def long() -> Iterator[Stub]:
    """A list of 250, in pages of 100."""

    def answer(request: Received) -> tuple[int, dict[str, str], bytes]:
        page = int(parse_qs(urlsplit(request.path).query)["page"][0])
        listed = [{"id": number, "name": f"r-{number}"} for number in range(250)]
        shown = listed[(page - 1) * 100 : page * 100]
        return 200, {}, json.dumps({"runners": shown}).encode()

    stub = Stub(answer)
    yield stub
    stub.stop()


def test_a_list_is_read_page_after_page_to_its_end(long: Stub) -> None:
    github = github_at(long.url)
    listed = github.items(list_runners(scope="/orgs/octo-org"))
    assert [one.name for one in listed] == [f"r-{number}" for number in range(250)]
    assert len(long.received) == 3
    assert all("per_page=100" in one.path for one in long.received)


LARGEST = 4 * 1024 * 1024


@pytest.fixture
def heavy() -> Iterator[Stub]:
    """A list of 130, of which numbers 30 to 34 are so large that four of them are too much."""

    def answer(request: Received) -> tuple[int, dict[str, str], bytes]:
        query = parse_qs(urlsplit(request.path).query)
        page, size = int(query["page"][0]), int(query["per_page"][0])
        listed = [
            {"id": number, "name": "x" * (LARGEST // 4 if 30 <= number < 35 else 1)}
            for number in range(130)
        ]
        shown = listed[(page - 1) * size : page * size]
        return 200, {}, json.dumps({"runners": shown}).encode()

    stub = Stub(answer)
    yield stub
    stub.stop()


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(heavy: Stub) -> None:
    github = github_at(heavy.url)
    listed = github.items(list_runners(scope="/orgs/octo-org"), most=2)
    assert [one.github_runner_id for one in listed] == list(range(130))
    asked = [urlsplit(one.path).query for one in heavy.received]
    assert asked[:5] == [
        "per_page=100&page=1",
        "per_page=50&page=1",
        "per_page=25&page=1",
        "per_page=25&page=2",
        "per_page=5&page=6",
    ]


def test_an_answer_that_is_too_large_as_it_is_is_no_answer(heavy: Stub) -> None:
    github = github_at(heavy.url)

    def read_all(response: Response) -> object:
        return read_document(response, expected=200)

    with pytest.raises(GitHubUnavailable, match=r"is over \d+ bytes long"):
        github.ask(Request.get("/x", read=read_all, query={"per_page": 100, "page": 1}))


def test_no_page_is_asked_for_that_nobody_takes(long: Stub) -> None:
    github = github_at(long.url)
    pages = github.pages(list_runners(scope="/orgs/octo-org"))
    assert long.received == []
    assert len(next(pages).items) == 100
    assert len(long.received) == 1


def test_of_a_list_that_is_too_long_the_rest_is_known_to_be_missing(long: Stub) -> None:
    github = github_at(long.url)
    first, second = github.pages(list_runners(scope="/orgs/octo-org"), most=2)
    assert (len(first.items), len(second.items)) == (100, 100)
    assert second.following is not None
    *_, last = github.pages(list_runners(scope="/orgs/octo-org"), most=3)
    assert last.following is None
