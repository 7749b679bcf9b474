"""What reconciliation asks GitHub, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fleet_runtime.github import jobs as demand_api
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Response
from fleet_runtime.job.job import JobEvent

from ..conftest import bus_event, sample


def answer(document: object, *, status: int = 200, **headers: str) -> Response:
    return Response(status=status, headers=headers, body=json.dumps(document).encode())


def listed_job(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = sample("queued")["workflow_job"]
    return {**found, **changes}


def read_jobs(response: Response) -> object:
    return demand_api.read_jobs(response, repository="o/r")


def read_runs(response: Response) -> object:
    return demand_api.read_runs(response, repository="o/r")


READERS: dict[str, tuple[Callable[[Response], object], str | None]] = {
    "runs": (read_runs, "workflow_runs"),
    "jobs": (read_jobs, "jobs"),
    "deliveries": (demand_api.read_deliveries, None),
    "repositories": (demand_api.read_repositories, None),
    "hooks": (lambda response: demand_api.read_hook_id(response, url="u"), None),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("document", [None, "text", 7, {"x": 1}, [7], [{"id": "1"}], [{}]])
def test_half_a_list_is_never_taken_for_one(name: str, document: object) -> None:
    read, key = READERS[name]
    with pytest.raises(GitHubUnavailable):
        read(answer({key: document} if key else document))


@pytest.mark.parametrize("name", READERS)
def test_an_answer_that_is_cut_off_is_none(name: str) -> None:
    read, _ = READERS[name]
    with pytest.raises(GitHubUnavailable):
        read(Response(status=200, headers={}, body=b'[{"id": 1}, {"i'))


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("status", "error"), [(404, GitHubRefused), (403, GitHubRefused), (502, GitHubUnavailable)]
)
def test_refusals_are_told_from_trouble(name: str, status: int, error: type[Exception]) -> None:
    read, _ = READERS[name]
    with pytest.raises(error):
        read(answer({"message": "no"}, status=status))


def test_a_listed_job_is_one_from_a_webhook() -> None:
    (job,) = demand_api.read_jobs(answer({"jobs": [listed_job()]}), repository="octo-org/example")
    assert job == JobEvent.from_detail(bus_event(sample("queued"))["detail"]).job


@pytest.mark.parametrize("change", [{"labels": None}, {"run_id": "x"}, {"id": 0}])
def test_a_job_that_cannot_be_read_makes_the_list_incomplete(change: dict[str, Any]) -> None:
    with pytest.raises(GitHubUnavailable):
        read_jobs(answer({"jobs": [listed_job(**change)]}))


def test_a_job_that_is_gone() -> None:
    response = answer({"message": "Not Found"}, status=404)
    assert demand_api.read_listed_job(response, repository="o/r") is None
    with pytest.raises(GitHubUnavailable):
        demand_api.read_listed_job(answer({}, status=500), repository="o/r")


@pytest.mark.parametrize(
    ("run", "attempt"),
    [
        ({"status": "in_progress", "run_attempt": 2}, None),
        ({"status": "completed", "run_attempt": 2}, 2),
        ({"status": "completed"}, 1),
    ],
)
def test_the_attempt_of_a_run_that_has_ended(run: dict[str, Any], attempt: int | None) -> None:
    assert demand_api.read_ended_attempt(answer(run)) == attempt


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
    (found,) = demand_api.read_deliveries(answer([delivery(status_code=code)]))
    assert found.succeeded == succeeded
    assert (found.delivery_id, found.delivered_at) == (12345678, 1795237200)


def test_a_delivery_without_a_time_is_none_to_go_by() -> None:
    with pytest.raises(GitHubUnavailable, match="'yesterday'"):
        demand_api.read_deliveries(answer([delivery(delivered_at="yesterday")]))


@pytest.mark.parametrize(
    ("link", "cursor"),
    [
        ("", ""),
        (
            '<https://api.github.com/x?per_page=100&cursor=v1_12077215967>; rel="next"',
            "v1_12077215967",
        ),
        ('<https://api.github.com/x?cursor=a%3D%3D&per_page=1>; rel="next"', "a=="),
        ('<https://api.github.com/x?cursor=a>; rel="prev"', ""),
        ('<https://h/x?cursor=a>; rel="prev", <https://h/x?cursor=b>; rel="next"', "b"),
    ],
)
def test_where_the_next_page_begins(link: str, cursor: str) -> None:
    assert demand_api.read_next_cursor(answer([], link=link)) == cursor


def test_a_cursor_goes_back_as_it_came() -> None:
    request = demand_api.list_deliveries(hook="/app/hook", cursor="a==&b")
    assert request.path == "/app/hook/deliveries?per_page=100&cursor=a%3D%3D%26b"


def test_the_hook_that_goes_to_the_fleet() -> None:
    hooks = [{"id": 1, "config": {"url": "https://a"}}, {"id": 2, "config": {"url": "https://b"}}]
    assert demand_api.read_hook_id(answer(hooks), url="https://b") == 2
    assert demand_api.read_hook_id(answer(hooks), url="https://c") is None
    assert demand_api.read_hook_id(answer([{"id": 3}]), url="https://c") is None
    assert demand_api.read_app_hook_url(answer({"url": "https://b"})) == "https://b"
    assert demand_api.read_app_hook_url(answer({"message": "no"}, status=404)) == ""
