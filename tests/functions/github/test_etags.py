"""What has not changed at GitHub is not sent again."""

from __future__ import annotations

from cdk_runner_fleet.local.twin import GitHubTwin
from fleet_runtime.github.etags import Etags
from fleet_runtime.github.message import Request
from fleet_runtime.github.runners import list_runners

from .conftest import Line, answer, as_it_came, github_at, runners

PATH = "/orgs/octo-org/actions/runners"


def register(twin: GitHubTwin, name: str) -> None:
    twin.board.register(name=name, labels=["x"]).scope = "/orgs/octo-org"


def test_what_has_not_changed_is_not_sent_again(twin: GitHubTwin, line: Line) -> None:
    etags = Etags()
    github = github_at(twin.url, etags=etags)
    register(twin, "first")

    def names() -> list[str]:
        return [one.name for one in github.items(list_runners(scope="/orgs/octo-org"))]

    assert [names(), names()] == [["first"]] * 2
    register(twin, "second")
    assert names() == ["first", "second"]
    etags.forget()
    assert names() == ["first", "second"]
    first, again, changed, anew = line.etags
    assert (first, anew) == ("", "")
    assert again == changed != ""


def test_without_a_place_to_keep_it_everything_is_sent(twin: GitHubTwin, line: Line) -> None:
    github = github_at(twin.url)
    assert [github.ask(runners("/orgs/octo-org")).status for _ in range(2)] == [200, 200]
    assert line.etags == ["", ""]


def test_a_304_costs_nothing_of_the_quota(twin: GitHubTwin, line: Line) -> None:
    github = github_at(twin.url, etags=Etags())
    left = [
        github.ask(request).headers["x-ratelimit-remaining"]
        for request in (runners("/orgs/octo-org"), runners("/orgs/octo-org"), other())
    ]
    assert [bool(etag) for etag in line.etags] == [False, True, False]
    assert int(left[0]) - int(left[2]) == 1, "two were answered 200"


def other() -> Request[object]:
    return Request.get(f"{PATH}/downloads", read=as_it_came)


def test_only_what_reads_is_kept() -> None:
    etags = Etags()
    response = answer({}, etag='"1"')
    post = Request.post("/x", read=as_it_came)
    etags.keep(post, response, answer=1)
    assert etags.known(post) is None
    get = Request.get("/x", read=as_it_came)
    etags.keep(get, answer({}), answer=1)
    assert etags.known(get) is None, "it had no ETag"
    etags.keep(get, response, answer=2)
    known = etags.known(get)
    assert known is not None
    assert (known.etag, known.answer) == ('"1"', 2)
    assert etags.known(post) is None
