"""Which networks GitHub's webhooks come from: what watch_release notes of GitHub's list."""

from __future__ import annotations

import json
from typing import Any

import pytest

import watch_release
from cdk_runner_fleet.local.twin import ApiFault, GitHubTwin
from fleet_runtime.aws.client import client

from .. import release_fleet
from ..aws_stand_in import Aws
from ..conftest import forget
from ..lines import lines, measured
from ..release_fleet import is_used, logged, told

twin = release_fleet.twin
fleet = release_fleet.fleet
PARAMETER = "hook-networks"
NOTED = ["140.82.112.0/20"]
HOURLY = {"detail-type": "Scheduled Event"}


@pytest.fixture
def hourly(fleet: Aws, environment: pytest.MonkeyPatch, context: Any) -> Any:
    environment.setenv("HOOK_NETWORKS_PARAM", PARAMETER)
    forget()
    client("ssm").put_parameter(Name=PARAMETER, Type="String", Value=json.dumps(NOTED))
    return lambda: watch_release.handler(HOURLY, context)


def noted() -> tuple[list[str], int]:
    """What is noted, and how often it was written."""
    found = client("ssm").get_parameter(Name=PARAMETER)["Parameter"]
    return json.loads(found["Value"]), found["Version"]


def refused(out: str) -> int:
    return sum("HookNetworksRefused" in measured(line) for line in lines(out))


def test_each_hour_what_github_lists_is_noted_if_it_has_changed(
    twin: GitHubTwin, hourly: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    twin.hook_networks = ["192.30.252.0/22", "9.234.98.160/28", "2a0a:a440::/29", "9.234.98.160/28"]
    hourly()
    listed = ["192.30.252.0/22", "2a0a:a440::/29", "9.234.98.160/28"]
    assert noted() == (listed, 2)
    hourly()
    assert noted() == (listed, 2)
    twin.hook_networks = ["192.30.252.0/22"]
    hourly()
    assert noted() == (["192.30.252.0/22"], 3)
    assert refused(capsys.readouterr().out) == 0


@pytest.mark.parametrize(
    "listed",
    [
        [],
        None,
        "192.30.252.0/22",
        {"0": "192.30.252.0/22"},
        [7],
        ["github.com"],
        ["192.30.252.1/22"],
        ["192.30.252.0/22", "0.0.0.0/0"],
        ["128.0.0.0/7"],
        ["::/0"],
        ["2000::/15"],
        ["10.0.0.0/8"],
        ["127.0.0.1/32"],
        [f"9.{a}.{b}.0/24" for a in range(2) for b in range(200)],
    ],
    ids=lambda listed: str(listed)[:20],
)
def test_a_list_that_cannot_be_right_is_refused_and_the_last_one_stays(
    twin: GitHubTwin,
    hourly: Any,
    listed: object,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    twin.hook_networks = listed
    hourly()
    assert noted() == (NOTED, 1)
    assert refused(capsys.readouterr().out) == 1
    assert "hooks of GitHub's /meta: " in logged(caplog)


def test_without_an_answer_the_last_list_stays_and_all_else_is_looked_at(
    fleet: Aws, twin: GitHubTwin, hourly: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    twin.api_faults.add(ApiFault(method="GET", path="/meta", status=503, times=20))
    twin.releases.deprecate("2.334.0", runtime="2026-08-10T00:00:00Z")
    is_used(fleet, "2.334.0")
    hourly()
    assert noted() == (NOTED, 1)
    assert refused(capsys.readouterr().out) == 0
    assert [each["runner_version"] for each in told(fleet)] == ["2.334.0"]


def test_where_deliveries_come_from_everywhere_nothing_is_asked(
    fleet: Aws, twin: GitHubTwin, context: Any
) -> None:
    twin.api_faults.add(ApiFault(method="GET", path="/meta", status=500, times=1))
    watch_release.handler(HOURLY, context)
    assert twin.api_faults.take("GET", "/meta") is not None
