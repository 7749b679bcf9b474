"""Releases of the runner, as GitHub offers them, and how long each works."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from fleet_runtime.github import runners
from fleet_runtime.github.message import GitHubUnavailable, Response
from fleet_runtime.github.runners import RunnerDeprecation, RunnerDownload
from fleet_runtime.images.releases import Release, Releases

from ..release_fleet import DAY, PIN


def test_what_is_offered_has_to_be_one_release() -> None:
    def offer(*names: str) -> Release | None:
        return Release.offered([RunnerDownload(filename=name, sha256="c" * 64) for name in names])

    x64, arm64 = (f"actions-runner-linux-{arch}-2.339.0.tar.gz" for arch in ("x64", "arm64"))
    others = ["actions-runner-linux-arm-2.338.0.tar.gz", "actions-runner-osx-x64-2.338.0.tar.gz"]
    assert offer(x64, arm64, *others) == Release(
        version="2.339.0", sha256={"x64": "c" * 64, "arm64": "c" * 64}
    )
    assert offer() is None
    assert offer(x64) is None
    assert offer(x64, arm64.replace("2.339.0", "2.340.0")) is None
    assert offer(x64.replace("2.339.0", "2.339"), arm64.replace("2.339.0", "2.339")) is None
    evil = "2.339.0/../../evil"
    assert offer(x64.replace("2.339.0", evil), arm64.replace("2.339.0", evil)) is None


def response(document: object, status: int = 200) -> Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Response(status=status, headers={}, body=body)


DEPRECATION = runners.get_runner_deprecation(scope="/orgs/o", version="1.2.3")


def test_a_date_is_read_with_its_zone_and_may_be_missing() -> None:
    read = DEPRECATION.read
    for date in ("2026-09-01T00:00:00Z", "2026-09-01T00:00:00+02:00", "2026-09-01"):
        assert read(response({"runtime_deprecates_at": date})) == RunnerDeprecation(
            runtime_deprecates_at=date
        )
        known = Releases(current=Release.of(PIN), dates={"1.2.3": date})
        midnight = datetime(2026, 9, 1, tzinfo=UTC).timestamp()
        start = midnight - (2 * 3600 if date.endswith("+02:00") else 0)
        assert known.days_left(["1.2.3"], now=start - DAY) == 1
        assert known.days_left(["1.2.3"], now=start - DAY + 1) == 0
        assert known.dead(["1.2.3", "1.2.4"], now=start) == {"1.2.3": date}
        assert known.dead(["1.2.3"], now=start - 1) == {}
    assert read(response({"runner_version": "1.2.3"})) == RunnerDeprecation(
        runtime_deprecates_at=None
    )


@pytest.mark.parametrize("date", ["", "soon", 7, {}, False])
def test_a_date_that_is_none_is_not_kept(date: object) -> None:
    with pytest.raises(GitHubUnavailable, match="for a time"):
        DEPRECATION.read(response({"runtime_deprecates_at": date}))


@pytest.mark.parametrize("document", [{}, b"<html>", None])
def test_what_is_no_list_of_archives_is_no_answer(document: object) -> None:
    with pytest.raises(GitHubUnavailable, match="without a list of archives"):
        runners.list_runner_downloads(scope="/orgs/o").read(response(document))
