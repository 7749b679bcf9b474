"""Requests as values, answers as values or errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet_runtime.github import hooks, jobs, runners
from fleet_runtime.github.message import (
    GitHubRefused,
    GitHubUnavailable,
    Page,
    Response,
    headers,
    list_pages,
    read_document,
    read_list,
)

from .conftest import answer


@pytest.mark.parametrize(
    ("response", "retry_after"),
    [
        (answer(status=500), 5),
        (answer(b"<html>", status=502), 5),
        (answer({"message": "x"}, retry_after="7", status=503), 7),
        (answer(status=408), 5),
        (answer(b"not json", status=200), 5),
        (answer([], status=200), 5),
        # a proxy's page in place of GitHub's answer
        (answer(b"<html>", status=202), 5),
        (answer(b"", status=204), 5),
    ],
)
def test_what_may_pass_is_unavailable(response: Response, retry_after: int) -> None:
    with pytest.raises(GitHubUnavailable) as caught:
        read_document(response, expected=200)
    assert caught.value.retry_after == retry_after
    assert caught.value.status == response.status


def test_errors_carry_githubs_message_cut_short() -> None:
    with pytest.raises(GitHubRefused) as caught:
        read_document(answer({"message": "x" * 1000}, status=404), expected=200)
    assert str(caught.value) == "GitHub answered 404: " + "x" * 200
    for body, said in ((b"<html>", "no JSON, as a proxy or a firewall"), (b"", "no message")):
        with pytest.raises(GitHubRefused, match=said):
            read_document(answer(body, status=403), expected=200)


def test_a_request_names_the_api_that_its_path_is_of() -> None:
    versions = {
        "/orgs/o/actions/runners/downloads": runners.list_runner_downloads(scope="/orgs/o"),
        "/orgs/o/actions/runners/deprecations/2.338.0": runners.get_runner_deprecation(
            scope="/orgs/o", version="2.338.0"
        ),
    }
    assert [request.path for request in versions.values()] == list(versions)
    assert [
        headers(request, token="t", etag="")["x-github-api-version"]
        for request in versions.values()
    ] == ["2022-11-28", "2026-03-10"]


READERS: dict[str, tuple[Callable[[Response], object], str | None]] = {
    "runs": (jobs.list_runs(repository="o/r", status="queued").read, "workflow_runs"),
    "jobs": (jobs.list_jobs(repository="o/r", run_id=1).read, "jobs"),
    "repositories": (jobs.list_active_repositories(organization="o", count=1).read, None),
    "deliveries": (hooks.list_deliveries(hook="/app/hook").read, None),
    "hooks": (hooks.find_hook(scope="/orgs/o", url="u").read, None),
    "runners": (runners.list_runners(scope="/orgs/o").read, "runners"),
    "runner": (runners.find_runner(scope="/orgs/o", name="n").read, "runners"),
    "groups": (runners.list_runner_groups(scope="/orgs/o").read, "runner_groups"),
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


def numbered(response: Response) -> list[int]:
    return [each["id"] for each in read_list(response)]


def test_a_full_page_has_one_behind_it() -> None:
    first = list_pages("/x", read=numbered, query={"status": "a b"}, repository="o/r")
    assert (first.path, first.repository) == ("/x?status=a+b&per_page=100&page=1", "o/r")
    page = first.read(answer([{"id": number} for number in range(100)]))
    assert page.items == tuple(range(100))
    second = page.following
    assert second is not None
    assert (second.path, second.repository) == ("/x?status=a+b&per_page=100&page=2", "o/r")
    assert first.smaller is not None
    assert first.smaller().path == "/x?status=a+b&per_page=50&page=1"
    assert second.smaller is not None
    assert second.smaller().path == "/x?status=a+b&per_page=50&page=3"
    assert second.read(answer([{"id": 100}])) == Page(items=(100,), following=None)
    assert second.read(answer([])) == Page(items=(), following=None)
