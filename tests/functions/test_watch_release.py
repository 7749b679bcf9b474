"""watch_release: when it looks, and what it makes of its events."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest

import watch_release
from cdk_runner_fleet.local.twin import GitHubTwin
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.environment import SettingError
from fleet_runtime.images.releases import ENTRY

from . import release_fleet
from .aws_stand_in import Aws
from .release_fleet import NEWER, PIN, archives, entry, found, has, in_days, is_used, told

twin = release_fleet.twin
fleet = release_fleet.fleet
watch = release_fleet.watch


@pytest.mark.parametrize(
    ("release", "why"),
    [
        ("", "not set"),
        ("2.338.0", "no release of the runner"),
        ("[]", "no version"),
        (json.dumps(PIN | {"version": "2.338"}), "'2.338' is no version, write it as 2.338.0"),
        (json.dumps(PIN | {"version": 2}), "2 is no version"),
        (json.dumps({"version": "2.338.0"}), "SHA-256 of 2.338.0 for x64 is None"),
        (json.dumps(PIN | {"sha256": {"x64": "3" * 64}}), "for arm64 is None"),
    ],
)
def test_a_setting_that_is_no_release_is_an_error_that_says_so(
    fleet: Aws, watch: Any, environment: pytest.MonkeyPatch, release: str, why: str
) -> None:
    environment.setenv("RUNNER_RELEASE", release)
    with pytest.raises(SettingError, match=why):
        watch()


def test_images_whose_runner_is_found_dead_follow_as_soon_as_a_newer_one_is_known(
    fleet: Aws, twin: GitHubTwin, context: Any
) -> None:
    has(fleet, "2.338.0")
    watch_release.handler(found("2.338.0"), context)
    assert told(fleet) == [], "there is nothing to follow with"
    twin.releases.publish("2.340.0", sha256=archives("2.340.0", NEWER))
    watch_release.handler(found("2.338.0"), context)
    assert entry(fleet)["version"] == "2.340.0"
    taken_over, event = told(fleet)
    assert taken_over == {"runner_version": "2.340.0"}
    assert (event["runner_version"], event["image_tag"]) == ("2.338.0", "default-1")
    assert datetime.fromisoformat(event["deprecated_at"]).timestamp() <= time.time()
    calls = fleet.events.named("PutEvents")
    kinds = [one["DetailType"] for call in calls for one in call["Entries"]]
    # neither of which it hears itself
    assert kinds == ["runner_release_taken_over", "runner_version_retired"]


def test_a_look_that_an_event_causes_tells_of_no_other_version(
    fleet: Aws, twin: GitHubTwin, context: Any
) -> None:
    for version in ("2.334.0", "2.338.0"):
        twin.releases.deprecate(version, runtime=in_days(-1))
        is_used(fleet, version, status=None)
    has(fleet, "2.338.0")
    watch_release.handler(found("2.338.0"), context)
    [event] = told(fleet)
    assert (event["runner_version"], event["image_tag"]) == ("2.338.0", ""), "GitHub says so"
    assert event["deprecated_at"] == entry(fleet)["versions"]["2.338.0"]


SCHEDULED = {"detail-type": "Scheduled Event"}


def test_the_schedule_looks_once_a_day(fleet: Aws, twin: GitHubTwin, context: Any) -> None:
    assert watch_release.handler(SCHEDULED, context)
    before = twin.requests_served
    assert watch_release.handler(SCHEDULED, context) is None
    assert twin.requests_served == before
    ledger = Ledger(dynamodb=fleet.dynamodb, table="ledger")
    ledger.write(ENTRY, "SET checked_at = :then", values={":then": int(time.time()) - 22 * 3600})
    assert watch_release.handler(SCHEDULED, context)


def test_the_schedule_looks_each_hour_while_no_release_is_to_be_had(
    fleet: Aws, twin: GitHubTwin, context: Any
) -> None:
    twin.releases.deprecate("2.338.0", runtime=in_days(-1))
    assert watch_release.handler(SCHEDULED, context)
    assert watch_release.handler(SCHEDULED, context)
    twin.releases.publish("2.340.0", sha256=archives("2.340.0", NEWER))
    assert watch_release.handler(SCHEDULED, context)["release"] == "2.340.0"
    assert watch_release.handler(SCHEDULED, context) is None
