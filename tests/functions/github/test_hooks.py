"""Webhooks at GitHub and their log: what is asked, and what is made of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.github.hooks import (
    Delivery,
    find_hook,
    get_app_hook_url,
    list_deliveries,
    redeliver,
)
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Page, Response

from .conftest import (
    answer,
)

LOG = "/app/hook/deliveries?per_page=100"


def read_deliveries(response: Response) -> Page[Delivery]:
    return list_deliveries(hook="/app/hook").read(response)


def delivery(**changes: Any) -> dict[str, Any]:
    return {
        "id": 12345678,
        "guid": "0b989ba4-242f-11e5-81e1-c7b6966d2516",
        "delivered_at": "2026-11-21T05:00:00Z",
        "redelivery": False,
        "duration": 0.27,
        "status": "OK",
        "status_code": 200,
        "event": "workflow_job",
        "action": "queued",
        "installation_id": None,
        "repository_id": 1,
        **changes,
    }


@pytest.mark.parametrize(
    ("code", "succeeded"), [(200, True), (202, True), (0, False), (301, False), (503, False)]
)
def test_a_delivery_succeeded_if_it_was_answered_so(code: int, succeeded: bool) -> None:
    (found,) = read_deliveries(answer([delivery(status_code=code)])).items
    assert found.succeeded == succeeded
    assert (found.delivery_id, found.delivered_at) == (12345678, 1795237200)


def test_a_delivery_without_a_time_is_none_to_go_by() -> None:
    with pytest.raises(GitHubUnavailable, match="'yesterday'"):
        read_deliveries(answer([delivery(delivered_at="yesterday")]))


@pytest.mark.parametrize(
    ("link", "cursor"),
    [
        ("", ""),
        (
            '<https://api.github.com/x?per_page=100&cursor=v1_12077215967>; rel="next"',
            f"{LOG}&cursor=v1_12077215967",
        ),
        (
            '<https://api.github.com/x?cursor=a%3D%3D&per_page=1>; rel="next"',
            f"{LOG}&cursor=a%3D%3D",
        ),
        ('<https://api.github.com/x?cursor=a>; rel="prev"', ""),
        (
            '<https://h/x?cursor=a>; rel="prev", <https://h/x?cursor=b>; rel="next"',
            f"{LOG}&cursor=b",
        ),
    ],
)
def test_where_the_next_page_begins(link: str, cursor: str) -> None:
    following = read_deliveries(answer([], link=link)).following
    assert (following.path if following else "") == cursor


def test_a_cursor_goes_back_as_it_came() -> None:
    request = list_deliveries(hook="/app/hook", cursor="a==&b")
    assert request.path == "/app/hook/deliveries?per_page=100&cursor=a%3D%3D%26b"


def test_the_hook_that_goes_to_the_fleet() -> None:
    hooks = [{"id": 1, "config": {"url": "https://a"}}, {"id": 2, "config": {"url": "https://b"}}]
    assert find_hook(scope="/orgs/o", url="https://b").read(answer(hooks)) == 2
    assert find_hook(scope="/orgs/o", url="https://c").read(answer(hooks)) is None
    assert find_hook(scope="/orgs/o", url="https://c").read(answer([{"id": 3}])) is None
    assert get_app_hook_url().read(answer({"url": "https://b"})) == "https://b"
    assert get_app_hook_url().read(answer({"message": "no"}, status=404)) == ""


def test_a_delivery_is_asked_for_again() -> None:
    request = redeliver(hook="/orgs/o/hooks/7", delivery_id=8)
    assert (request.method, request.path) == ("POST", "/orgs/o/hooks/7/deliveries/8/attempts")
    assert request.read(answer({}, status=202)) is None
    with pytest.raises(GitHubRefused, match="422"):
        request.read(answer({}, status=422))
