"""Which releases of GitHub's runner the fleet builds with, and for how long they work."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

import watch_release
from cdk_runner_fleet.local.twin import ApiFault, GitHubTwin
from fleet_runtime.aws.announcements import EventNotTakenError
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.github.message import GitHubUnavailable
from fleet_runtime.images.releases import ENTRY, Release, Releases, ReleasesEntry
from fleet_runtime.observability import logger

from .. import release_fleet
from ..aws_stand_in import Aws
from ..conftest import forget
from ..release_fleet import (
    DAY,
    DEPRECATIONS,
    NEWER,
    PIN,
    archives,
    days_left,
    entry,
    found,
    has,
    in_days,
    is_used,
    logged,
    told,
)

twin = release_fleet.twin
fleet = release_fleet.fleet
watch = release_fleet.watch


# --- which release images are built with --------------------------------------------------------


def test_the_librarys_own_release_stands_while_github_offers_no_newer_one(
    fleet: Aws, watch: Any
) -> None:
    before = int(time.time())
    assert watch() == {"release": "2.338.0", "days_left": None, "retired": []}
    kept = entry(fleet)
    assert before <= kept.pop("checked_at") <= time.time()
    assert kept == {"entry": "runner-release", **PIN, "versions": {"2.338.0": None}}


def test_a_newer_release_of_githubs_is_taken_with_its_sums(
    fleet: Aws, twin: GitHubTwin, watch: Any
) -> None:
    twin.releases.publish("2.340.10", sha256=archives("2.340.10", NEWER))
    assert watch()["release"] == "2.340.10"
    kept = entry(fleet)
    assert (kept["version"], kept["sha256"]) == ("2.340.10", NEWER)
    assert kept["versions"] == {"2.340.10": None}


def test_a_release_that_is_taken_over_is_told_of_once_and_after_it_stands_there(
    fleet: Aws, twin: GitHubTwin, watch: Any
) -> None:
    watch()
    assert told(fleet) == [], "the library's own is not news"
    twin.releases.publish("2.340.0", sha256=archives("2.340.0", NEWER))
    known: list[str] = []
    fleet.events.during = lambda _: known.append(entry(fleet)["version"])
    watch()
    watch()
    assert told(fleet) == [{"runner_version": "2.340.0"}]
    assert known == ["2.340.0"]


@pytest.mark.parametrize("version", ["2.337.9", "2.99.0", "1.999.999"])
def test_an_older_release_of_githubs_is_not_taken(
    fleet: Aws, twin: GitHubTwin, watch: Any, version: str
) -> None:
    twin.releases.publish(version)
    assert watch()["release"] == "2.338.0"
    assert (entry(fleet)["version"], entry(fleet)["sha256"]) == ("2.338.0", PIN["sha256"])


def test_it_never_goes_back(
    fleet: Aws, twin: GitHubTwin, watch: Any, environment: pytest.MonkeyPatch
) -> None:
    twin.releases.publish("2.340.0", sha256=archives("2.340.0", NEWER))
    watch()
    twin.releases.publish("2.339.0")
    assert watch()["release"] == "2.340.0"
    assert entry(fleet)["sha256"] == NEWER
    environment.setenv("RUNNER_RELEASE", json.dumps(PIN | {"version": "2.341.0"}))
    forget()
    assert watch()["release"] == "2.341.0", "a newer library brings a newer release"
    assert entry(fleet)["sha256"] == PIN["sha256"]


@pytest.mark.parametrize("architecture", ["x64", "arm64"])
@pytest.mark.parametrize("sum_", ["", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_a_release_without_both_sums_is_not_taken(
    fleet: Aws, twin: GitHubTwin, watch: Any, architecture: str, sum_: str
) -> None:
    sums = archives("2.339.0", NEWER | {architecture: sum_})
    twin.releases.publish("2.339.0", sha256=sums)
    assert watch()["release"] == "2.338.0"
    assert entry(fleet)["versions"] == {"2.338.0": None}


# --- how long versions work ---------------------------------------------------------------------


def test_days_left_are_those_of_the_version_in_use_that_ends_first(
    fleet: Aws, twin: GitHubTwin, watch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for version, days in (("2.335.1", 40), ("2.336.0", 20), ("2.337.0", 3)):
        twin.releases.deprecate(version, runtime=in_days(days), registration=in_days(1))
    is_used(fleet, "2.335.1")
    is_used(fleet, "2.336.0", days_ago=29.9)
    is_used(fleet, "2.337.0", days_ago=30.1)
    assert watch()["days_left"] == 20
    assert days_left(capsys) == [("fleet", 20)]
    assert sorted(entry(fleet)["versions"]) == ["2.335.1", "2.336.0", "2.337.0", "2.338.0"]
    assert told(fleet) == []


def test_a_dead_runner_in_an_image_that_is_seldom_used_is_told_and_no_metric(
    fleet: Aws, twin: GitHubTwin, watch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in ("2.334.0", "2.335.1"):
        twin.releases.deprecate(version, runtime=in_days(-1))
    is_used(fleet, "2.334.0", days_ago=59)
    is_used(fleet, "2.335.1", days_ago=59, status=None)  # brought along: nobody deletes its row
    is_used(fleet, "2.336.0")
    assert watch() == {"release": "2.338.0", "days_left": None, "retired": ["2.334.0"]}
    assert days_left(capsys) == []
    assert [each["runner_version"] for each in told(fleet)] == ["2.334.0"]
    is_used(fleet, "2.334.0", days_ago=2)
    assert watch()["days_left"] < 0


def test_only_images_that_jobs_can_start_with_are_in_use(
    fleet: Aws, twin: GitHubTwin, watch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for status in ("QUEUED", "BUILDING", "FAILED", "RETIRED"):
        is_used(fleet, "2.330.0", status=status)
    is_used(fleet, "2.336.0", status=None)  # brought along, not built
    is_used(fleet, None)
    twin.releases.deprecate("2.330.0", runtime=in_days(1))
    twin.releases.deprecate("2.336.0", runtime=in_days(4))
    assert watch()["days_left"] == 4
    assert days_left(capsys) == [("fleet", 4)]


def test_images_beyond_the_first_page_are_in_use_too(
    fleet: Aws, twin: GitHubTwin, watch: Any
) -> None:
    for number in range(6):
        fleet.put_image(
            image_tag=f"image-{number}",
            status="READY",
            used_at=int(time.time()),
            runner_version=f"2.330.{number}",
            ballast="x" * 390_000,  # a page ends after 1 MB
        )
    watch()
    assert len(entry(fleet)["versions"]) == 7


def test_nothing_is_told_while_no_date_is_known(
    fleet: Aws, twin: GitHubTwin, watch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    twin.releases.deprecate("2.337.0", runtime=None, registration=in_days(-1))
    is_used(fleet, "2.337.0")
    is_used(fleet, "2.300.0")  # GitHub does not know it
    assert watch()["days_left"] is None
    assert days_left(capsys) == []
    assert told(fleet) == []
    assert entry(fleet)["versions"] == {"2.300.0": None, "2.337.0": None, "2.338.0": None}


def test_what_only_the_next_build_has_is_asked_for_and_not_in_use(
    fleet: Aws, twin: GitHubTwin, watch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    twin.releases.deprecate("2.338.0", runtime="2026-01-02T00:00:00Z")
    watch()
    assert entry(fleet)["versions"] == {"2.338.0": "2026-01-02T00:00:00Z"}
    assert (days_left(capsys), told(fleet)) == ([], [])


def test_a_version_that_is_retired_is_told_on_the_bus(
    fleet: Aws, twin: GitHubTwin, watch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    twin.releases.deprecate("2.334.0", runtime="2026-08-10T00:00:00Z")
    twin.releases.deprecate("2.335.1", runtime=in_days(-0.5))
    twin.releases.deprecate("2.336.0", runtime=in_days(0))
    for version in ("2.334.0", "2.335.1", "2.336.0"):
        is_used(fleet, version)
    assert watch()["retired"] == ["2.334.0", "2.335.1"]
    assert [each["runner_version"] for each in told(fleet)] == ["2.334.0", "2.335.1"]
    assert told(fleet)[0]["deprecated_at"] == "2026-08-10T00:00:00Z"
    [entry_] = fleet.events.named("PutEvents")[0]["Entries"]
    assert (entry_["EventBusName"], entry_["Source"], entry_["DetailType"]) == (
        "fleet-bus",
        "cdk-runner-fleet/fleet",
        "runner_version_retired",
    )
    [(_, left)] = days_left(capsys)
    assert left < 0


def test_an_event_that_the_bus_did_not_take_is_an_error(
    fleet: Aws, twin: GitHubTwin, watch: Any
) -> None:
    failed = [{"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}]
    fleet.events.answers["PutEvents"] = {"FailedEntryCount": 1, "Entries": failed}
    twin.releases.deprecate("2.334.0", runtime="2026-08-10T00:00:00Z")
    is_used(fleet, "2.334.0")
    with pytest.raises(EventNotTakenError, match="ThrottlingException: slow down"):
        watch()


def test_what_github_says_of_a_version_counts_whoever_asked(
    fleet: Aws, twin: GitHubTwin, context: Any
) -> None:
    # none is launched with it any more: what its runner said has taken its image away
    has(fleet, "2.337.0", status="RETIRED")
    twin.releases.deprecate("2.337.0", runtime=in_days(-1))
    watch_release.handler(found("2.337.0"), context)
    [event] = told(fleet)
    assert (event["runner_version"], event["image_tag"]) == ("2.337.0", "")
    has(fleet, "../../x")
    watch_release.handler(found("../../x"), context)
    assert "../../x" not in entry(fleet)["versions"]


@pytest.mark.parametrize("version", ["2.337.0", "2.999.0", "2.338.0"])
def test_a_version_that_its_image_does_not_have_is_not_asked_for(
    fleet: Aws, twin: GitHubTwin, context: Any, version: str
) -> None:
    """It takes nobody's image away, and costs nothing of GitHub's quota."""
    is_used(fleet, "2.337.0")
    has(fleet, "2.336.0")
    twin.releases.publish("2.340.0", sha256=archives("2.340.0", NEWER))
    before = twin.requests_served
    watch_release.handler(found(version), context)
    assert (twin.requests_served, told(fleet)) == (before, [])


def test_an_event_that_was_not_put_is_put_when_it_is_tried_again(
    fleet: Aws, twin: GitHubTwin, context: Any
) -> None:
    has(fleet, "2.338.0")
    twin.releases.publish("2.340.0", sha256=archives("2.340.0", NEWER))
    failed = [{"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}]
    taken = fleet.events.answers["PutEvents"]
    fleet.events.answers["PutEvents"] = {"FailedEntryCount": 1, "Entries": failed}
    # that there is a newer one, which is lost: the day's upkeep follows it all the same
    for tried in ("2.340.0", "2.338.0"):
        with pytest.raises(EventNotTakenError):
            watch_release.handler(found("2.338.0"), context)
        assert told(fleet)[-1]["runner_version"] == tried
    fleet.events.answers["PutEvents"] = taken
    watch_release.handler(found("2.338.0"), context)
    assert told(fleet)[-1]["runner_version"] == "2.338.0"


def test_what_a_runner_has_found_stands_until_github_has_had_a_day(
    fleet: Aws, twin: GitHubTwin, watch: Any
) -> None:
    now = int(time.time())
    ledger = Ledger(dynamodb=fleet.dynamodb, table="ledger", clock=lambda: now)
    ReleasesEntry(ledger=ledger, pin=Release.of(PIN)).found_dead("2.338.0")
    twin.releases.deprecate("2.338.0", runtime=None)
    watch()
    known = Releases.from_item(
        fleet.dynamodb.get_item(TableName="ledger", Key={"entry": {"S": ENTRY}})["Item"],
        pin=Release.of(PIN),
    )
    since = datetime.fromtimestamp(now, UTC).isoformat()
    assert known.dates == {"2.338.0": None}
    assert known.dead(["2.338.0", "2.337.0"], now=now + DAY - 1) == {"2.338.0": since}
    assert known.dead(["2.338.0"], now=now + DAY) == {}


def test_what_a_runner_has_found_is_never_told_as_githubs_word(
    fleet: Aws, twin: GitHubTwin, watch: Any, context: Any
) -> None:
    ReleasesEntry(
        ledger=Ledger(dynamodb=fleet.dynamodb, table="ledger"), pin=Release.of(PIN)
    ).found_dead("2.338.0")
    twin.releases.deprecate("2.338.0", runtime=in_days(30))
    has(fleet, "2.338.0")
    assert watch()["retired"] == []
    watch_release.handler(found("2.338.0"), context)
    assert told(fleet) == []
    twin.releases.publish("2.340.0", sha256=archives("2.340.0", NEWER))
    watch_release.handler(found("2.338.0"), context)
    _, event = told(fleet)
    assert (event["runner_version"], event["image_tag"]) == ("2.338.0", "default-1")


@pytest.mark.parametrize("version", ["", "2.338", "x", "../../../user", "2.338.0\n", "2.338.0?a=b"])
def test_a_version_that_is_none_is_not_asked_for(fleet: Aws, watch: Any, version: str) -> None:
    is_used(fleet, version)
    watch()
    assert entry(fleet)["versions"] == {"2.338.0": None}


def test_a_date_that_github_takes_back_is_gone_and_one_it_forgets_is_not(
    fleet: Aws, twin: GitHubTwin, watch: Any
) -> None:
    date = in_days(9)
    for version in ("2.336.0", "2.337.0"):
        twin.releases.deprecate(version, runtime=date)
        is_used(fleet, version)
    watch()
    twin.releases.deprecate("2.336.0", runtime=None)
    del twin.releases.deprecations["2.337.0"]
    watch()
    assert entry(fleet)["versions"] == {"2.336.0": None, "2.337.0": date, "2.338.0": None}


@pytest.mark.parametrize("scope", ["orgs/octo-org", "enterprises/acme"])
def test_an_organization_and_an_enterprise_are_asked_where_their_runners_are(
    fleet: Aws, twin: GitHubTwin, watch: Any, environment: pytest.MonkeyPatch, scope: str
) -> None:
    environment.setenv("GITHUB_SCOPE", scope)
    twin.releases.deprecate("2.338.0", runtime=in_days(7))
    is_used(fleet, "2.338.0")
    assert watch()["days_left"] == 7


# --- when GitHub does not say -------------------------------------------------------------------


@pytest.fixture
def known(fleet: Aws) -> Aws:
    """What GitHub has said before: one version is retired by now, one ends in five days."""
    dates = {"2.334.0": "2026-08-10T00:00:00Z", "2.336.0": in_days(5)}
    release = Release(version="2.339.0", sha256=NEWER)
    values = Releases(current=release, dates=dates).to_values() | {"checked_at": 7}
    Ledger(dynamodb=fleet.dynamodb, table="ledger").write(
        ENTRY,
        "SET " + ", ".join(f"{name} = :{name}" for name in values),
        values={f":{name}": value for name, value in values.items()},
    )
    is_used(fleet, "2.336.0")
    return fleet


@pytest.mark.parametrize("path", ["*/runners/downloads", DEPRECATIONS])
@pytest.mark.parametrize("status", [0, 500, 429])
def test_the_dates_that_are_known_count_down_while_github_is_away(
    known: Aws,
    twin: GitHubTwin,
    *,
    watch: Any,
    capsys: pytest.CaptureFixture[str],
    path: str,
    status: int,
) -> None:
    is_used(known, "2.334.0")
    before = entry(known)
    twin.releases.publish("2.340.0")
    twin.api_faults.add(ApiFault(status=status, path=path))
    with pytest.raises(GitHubUnavailable):
        watch()
    assert entry(known) == before
    assert days_left(capsys)[0][1] < 0
    assert [each["runner_version"] for each in told(known)] == ["2.334.0"]
    forget()  # of the limit
    assert watch()["release"] == "2.340.0", "the next attempt asks again"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("*/runners/downloads", 401),
        ("*/runners/downloads", 403),
        ("*/runners/downloads", 404),
        (DEPRECATIONS, 401),
        (DEPRECATIONS, 403),
    ],
)
def test_a_refusal_is_logged_with_the_remedy_and_not_tried_again(
    known: Aws,
    twin: GitHubTwin,
    *,
    watch: Any,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    path: str,
    status: int,
) -> None:
    twin.api_faults.add(ApiFault(status=status, path=path, message="no permission", times=9))
    before = entry(known)
    assert watch() == {"release": "2.339.0", "days_left": 5, "retired": []}
    assert days_left(capsys) == [("fleet", 5)]
    assert entry(known) == before
    assert f"GitHub answered {status}: no permission" in logged(caplog)
    assert "give the GitHub App Administration" in logged(caplog)


@pytest.mark.parametrize("status", [400, 404])
def test_a_server_without_the_endpoint_retires_nothing(
    fleet: Aws,
    twin: GitHubTwin,
    *,
    watch: Any,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    status: int,
) -> None:
    twin.releases.publish("2.339.0", sha256=archives("2.339.0", NEWER))
    twin.api_faults.add(ApiFault(status=status, path=DEPRECATIONS, times=99))
    is_used(fleet, "2.334.0")
    assert watch() == {"release": "2.339.0", "days_left": None, "retired": []}
    assert entry(fleet)["versions"] == {"2.334.0": None, "2.339.0": None}
    assert (days_left(capsys), told(fleet)) == ([], [{"runner_version": "2.339.0"}])
    assert "remedy" not in logged(caplog)


# --- values -------------------------------------------------------------------------------------


def test_the_secret_is_not_logged(
    known: Aws, twin: GitHubTwin, watch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger=logger.name)
    twin.token = "another"
    watch()
    assert "Bad credentials" in logged(caplog)
    assert "ghp_" not in logged(caplog)
