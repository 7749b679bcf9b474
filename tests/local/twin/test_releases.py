"""GitHub's runner releases: what everyone is to install, and when versions are retired."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from cdk_runner_fleet.local.twin import GitHubTwin, TwinApp
from tests.waiting import PATIENCE_SECONDS

SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "rest.schema.json").read_bytes())
SCOPES = ("/repos/octo/fleet", "/orgs/octo", "/enterprises/acme")
API_VERSION = "2026-03-10"

Call = Callable[..., tuple[int, Any]]


def check(shape: str, answer: object) -> None:
    Draft7Validator(SCHEMAS[shape]).validate(answer)


@pytest.fixture
def twin() -> Iterator[GitHubTwin]:
    with GitHubTwin(
        repository="octo/fleet",
        token="pat",
        webhook_secret="s",
        apps=[TwinApp(app_id="11")],
        enterprise="acme",
    ) as twin:
        yield twin


@pytest.fixture
def call(twin: GitHubTwin) -> Call:
    def get(path: str, *, token: str = "pat", version: str = API_VERSION) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}", "X-GitHub-Api-Version": version}
        request = urllib.request.Request(twin.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    return get


@pytest.mark.parametrize("scope", SCOPES)
def test_archives_of_the_current_release_are_listed(
    twin: GitHubTwin, call: Call, scope: str
) -> None:
    filename = "actions-runner-linux-arm64-2.339.0.tar.gz"
    twin.releases.publish("2.339.0", sha256={filename: "e" * 64})
    status, listed = call(f"{scope}/actions/runners/downloads", version="2022-11-28")
    assert status == 200
    check("runner_applications", listed)
    found = {(each["os"], each["architecture"]): each for each in listed}
    assert len(found) == len(listed) == 7
    assert found["linux", "arm64"] == {
        "os": "linux",
        "architecture": "arm64",
        "download_url": f"https://github.com/actions/runner/releases/download/v2.339.0/{filename}",
        "filename": filename,
        "sha256_checksum": "e" * 64,
    }
    others = [each["sha256_checksum"] for key, each in found.items() if key != ("linux", "arm64")]
    assert len({sum_ for sum_ in others if len(sum_) == 64}) == 6
    assert found["win", "x64"]["filename"] == "actions-runner-win-x64-2.339.0.zip"


def test_a_sum_may_be_left_out(twin: GitHubTwin, call: Call) -> None:
    filename = "actions-runner-linux-x64-2.338.0.tar.gz"
    twin.releases.publish("2.338.0", sha256={filename: ""})
    _, listed = call("/repos/octo/fleet/actions/runners/downloads")
    check("runner_applications", listed)
    assert [each["filename"] for each in listed if "sha256_checksum" not in each] == [filename]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_versions_end_is_told(twin: GitHubTwin, call: Call, scope: str) -> None:
    path = f"{scope}/actions/runners/deprecations"
    twin.releases.deprecate(
        "2.334.0", registration="2026-07-27T00:00:00Z", runtime="2026-08-10T00:00:00Z"
    )
    status, told = call(f"{path}/2.334.0")
    check("runner_deprecation", told)
    assert (status, told) == (
        200,
        {
            "runner_version": "2.334.0",
            "registration_deprecates_at": "2026-07-27T00:00:00Z",
            "runtime_deprecates_at": "2026-08-10T00:00:00Z",
        },
    )
    status, told = call(f"{path}/{twin.releases.current}")
    check("runner_deprecation", told)
    assert (status, told["runtime_deprecates_at"]) == (200, None)
    assert call(f"{path}/2.300.0")[0] == 404
    assert call(f"{path}/2.334.0", version="2022-11-28")[0] == 404


def test_a_release_that_is_published_again_keeps_its_end(twin: GitHubTwin, call: Call) -> None:
    twin.releases.deprecate("2.339.0", runtime="2026-12-01T00:00:00Z")
    twin.releases.publish("2.339.0")
    told = call("/orgs/octo/actions/runners/deprecations/2.339.0")[1]
    assert told["runtime_deprecates_at"] == "2026-12-01T00:00:00Z"


@pytest.mark.parametrize("path", ["downloads", "deprecations/2.338.0"])
def test_who_may_see_runners_may_see_releases(twin: GitHubTwin, call: Call, path: str) -> None:
    app = twin.askers.installations[61_000_001]
    permissions = {"administration": "read", "organization_self_hosted_runners": "read"}
    for scope, permission in zip(SCOPES, permissions, strict=False):
        for granted, status in ((permission, 200), ("actions", 403)):
            token = twin.askers.new_token(app, {"permissions": {granted: "read"}})["token"]
            assert call(f"{scope}/actions/runners/{path}", token=token)[0] == status
    token = twin.askers.new_token(app, {"permissions": permissions})["token"]
    assert call(f"/enterprises/acme/actions/runners/{path}", token=token)[0] == 403
    assert call(f"/repos/octo/other/actions/runners/{path}")[0] == 404
    assert call(f"/repos/octo/fleet/actions/runners/{path}", token="stranger")[0] == 401
