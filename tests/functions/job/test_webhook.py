"""What is read of GitHub's deliveries, over the real handler."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from cdk_runner_fleet.cli import references
from cdk_runner_fleet.values import github
from fleet_runtime.job import scope

from ..conftest import forget
from ..events import delivery, job, sample
from ..light_aws import LightAws, post

REPOSITORIES = (scope.REPOSITORY, github.REPOSITORY, re.compile(references.REPOSITORY))


def test_a_queued_job_becomes_one_trimmed_event(light: LightAws) -> None:
    assert post(delivery(sample("queued"))) == (202, "accepted")
    (entry,) = light.events
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == (
        "fleet-bus",
        "cdk-runner-fleet/fleet",
        "workflow_job",
    )
    detail = json.loads(entry["Detail"])
    assert detail.pop("received_at") == light.now
    assert detail == {
        "action": "queued",
        "delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "repository": "octo-org/example",
        "job": {
            "id": 2832853555,
            "run_id": 940463255,
            "run_attempt": 1,
            "name": "test (3.12)",
            "workflow_name": "Build",
            "labels": ["self-hosted", "linux"],
            "status": "queued",
            "conclusion": None,
            "runner_name": None,
            "runner_id": None,
            "created_at": 1781551340,
            "started_at": 1781551340,
            "completed_at": None,
            "html_url": "https://github.com/octo-org/example/actions/runs/940463255/job/2832853555",
            "head_sha": "e3103f8eb03e1ad7f2331c5446b23c070fc54055",
        },
    }


@pytest.mark.parametrize("sha", [None, 7, "", "../../orgs/x", "E" * 40, "e" * 41, "e" * 40 + "\n"])
def test_a_commit_that_is_none_is_left_out(light: LightAws, sha: object) -> None:
    # it becomes part of a path at GitHub
    assert post(delivery(job("queued", head_sha=sha)))[0] == 202
    assert json.loads(light.events[0]["Detail"])["job"]["head_sha"] == ""


@pytest.mark.parametrize(
    "name", ["in_progress", "in_progress_old_server", "completed", "completed_cancelled"]
)
def test_jobs_that_start_or_end_are_passed_on(light: LightAws, name: str) -> None:
    assert post(delivery(sample(name))) == (202, "accepted")
    detail = json.loads(light.events[0]["Detail"])
    assert detail["job"]["run_attempt"] == 1
    assert detail["job"]["runner_name"] == sample(name)["workflow_job"]["runner_name"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"payload=%7B%22action%22%3A1%7D",
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"action":"queued","workflow_job":7}',
        b'{"action":"queued","workflow_job":{}, "n": ' + b"9" * 5000 + b"}",
    ],
)
def test_400_for_a_body_that_cannot_be_read(light: LightAws, body: bytes) -> None:
    status, message = post(delivery(body))
    assert status == 400
    assert message
    assert light.events == []


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": "2832853555"},
        {"id": True},
        {"id": -1},
        {"id": 10**30},
        {"run_id": None},
        {"run_attempt": 0},
        {"labels": None},
        {"labels": "self-hosted"},
    ],
)
def test_400_for_a_job_without_what_each_has(light: LightAws, changes: dict[str, Any]) -> None:
    assert post(delivery(job("queued", **changes)))[0] == 400
    assert light.events == []


def _other_repository() -> dict[str, Any]:
    return delivery({**sample("queued"), "repository": {"full_name": "octo-org/other"}})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (lambda: delivery(sample("ping"), event="ping"), "pong"),
        (lambda: delivery(sample("ping"), event="push"), "event 'push' is not used"),
        (lambda: delivery(sample("waiting")), "action 'waiting' is not used"),
        (lambda: delivery(sample("queued_waiting")), "the job waits for an approval"),
        (
            lambda: delivery(job("queued", labels=["linux"])),
            "the job has no self-hosted label",
        ),
        (
            lambda: delivery(job("completed", labels=["ubuntu-latest"], runner_name="GitHub 2")),
            "the job has no self-hosted label",
        ),
        (
            lambda: delivery(job("queued", labels=[])),
            "the job names a runner group and no label, give runs-on labels: [self-hosted]",
        ),
        (
            _other_repository,
            "repository 'octo-org/other' is not in the repository octo-org/example",
        ),
        (
            lambda: delivery({**sample("queued"), "repository": None}),
            "repository None is not owner/name",
        ),
    ],
)
def test_200_with_a_reason_for_what_is_no_business_of_the_fleet(
    light: LightAws, event: Callable[[], dict[str, Any]], reason: str
) -> None:
    assert post(event()) == (200, reason)
    assert light.events == []


@pytest.mark.parametrize(
    ("scope", "payload", "answer"),
    [
        ("orgs/octo-org", {"repository": {"full_name": "Octo-Org/Other"}}, (202, "accepted")),
        (
            "orgs/octo-org",
            {"repository": {"full_name": "octo-org2/other"}},
            (200, "repository 'octo-org2/other' is not in the organization octo-org"),
        ),
        ("enterprises/acme", {"enterprise": {"slug": "ACME"}}, (202, "accepted")),
        (
            "enterprises/acme",
            {"enterprise": {"slug": "acme2"}},
            (200, "repository 'octo-org/example' is not in the enterprise acme"),
        ),
        (
            "enterprises/acme",
            {},
            (200, "repository 'octo-org/example' is not in the enterprise acme"),
        ),
        (
            "orgs/octo-org",
            {"repository": {"full_name": "octo-org/../../x"}},
            (200, "repository 'octo-org/../../x' is not owner/name"),
        ),
        (
            "orgs/octo-org",
            {"repository": {"full_name": "octo-org/.."}},
            (200, "repository 'octo-org/..' is not owner/name"),
        ),
    ],
)
def test_any_repository_of_an_organization_or_enterprise_is_served(
    *,
    light: LightAws,
    environment: pytest.MonkeyPatch,
    scope: str,
    payload: dict[str, Any],
    answer: tuple[int, str],
) -> None:
    environment.setenv("GITHUB_SCOPE", scope)
    forget()
    assert post(delivery({**sample("queued"), **payload})) == answer
    if answer[0] == 202:
        (event,) = light.events
        told = json.loads(event["Detail"])["repository"]
        assert told == payload.get("repository", {}).get("full_name", "octo-org/example")


@pytest.mark.parametrize(
    "repository",
    ["mona_acme/example", "Mona_acme/a.b", "octo-org/example", "octo-org/git", "octo-org/x.github"],
)
def test_managed_users_and_all_others_have_one_form_of_name(repository: str) -> None:
    assert all(pattern.fullmatch(repository) for pattern in REPOSITORIES)


@pytest.mark.parametrize(
    "repository",
    ["octo-org/x.git", "octo-org/.", "octo-org/..", "_a/b", "a/b/c", "a", "/a", f"{'a' * 40}/b"],
)
def test_what_is_no_repository_is_none_anywhere(repository: str) -> None:
    assert not any(pattern.fullmatch(repository) for pattern in REPOSITORIES)


def test_a_managed_users_repository_is_served(
    light: LightAws, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("GITHUB_SCOPE", "repos/mona_acme/example")
    forget()
    payload = {**sample("queued"), "repository": {"full_name": "mona_acme/example"}}
    assert post(delivery(payload)) == (202, "accepted")


@pytest.mark.parametrize(
    ("required", "job_labels", "answer"),
    [
        (["fleet-prod"], ["self-hosted", "Fleet-Prod"], (202, "accepted")),
        (
            ["fleet-prod"],
            ["self-hosted", "gpu"],
            (200, "the job has no label 'fleet-prod', which this fleet's jobs have"),
        ),
        ([], ["self-hosted", "Ubuntu-22.04"], (202, "accepted")),
        ([], ["self-hosted, linux"], (202, "accepted")),
        (["fleet-prod"], ["dependabot"], (202, "accepted")),
    ],
)
def test_whose_job_it_is_is_said_at_the_door(
    *,
    light: LightAws,
    environment: pytest.MonkeyPatch,
    required: list[str],
    job_labels: list[str],
    answer: tuple[int, str],
) -> None:
    environment.setenv("REQUIRED_LABELS", json.dumps(required))
    environment.setenv("SINGLE_LABELS", '{"dependabot": "medium"}')
    forget()
    assert post(delivery(job("queued", labels=job_labels))) == answer
    assert len(light.events) == (answer[0] == 202)


@pytest.mark.parametrize("name", ["in_progress", "completed"])
def test_what_a_job_does_on_a_runner_of_the_fleets_is_told_whatever_its_labels(
    light: LightAws, name: str
) -> None:
    """GitHub gives a job to any runner that has its labels, one that names fewer too."""
    for job_labels in (["linux"], []):
        assert post(delivery(job(name, labels=job_labels, runner_name="fleet-7-1")))[0] == 202
        assert post(delivery(job(name, labels=job_labels, runner_name="fleeting-7")))[0] == 200
        # of another fleet, whose prefix begins like this one's
        assert post(delivery(job(name, labels=job_labels, runner_name="fleet-b-7-1")))[0] == 200
    # GitHub's queued event of a run that is run again has the runner of the attempt before
    assert post(delivery(job("queued", labels=["linux"], runner_name="fleet-7-1")))[0] == 200


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


@pytest.mark.parametrize(
    ("created", "started", "is_taken"),
    [
        (24 * 3600, None, True),
        (26 * 3600, None, False),
        (7 * 86400, 7 * 86400, False),
        # it waited for another run of its concurrency group
        (26 * 3600, 60, True),
        (None, None, True),
        (-60, -60, True),
    ],
)
def test_a_delivery_of_a_job_that_was_queued_over_a_day_ago_starts_no_runner(
    light: LightAws, created: float | None, started: float | None, *, is_taken: bool
) -> None:
    times = {
        "created_at": None if created is None else _iso(light.now - created),
        "started_at": None if started is None else _iso(light.now - started),
    }
    status, reason = post(delivery(job("queued", **times)))
    assert (status, len(light.events)) == ((202, 1) if is_taken else (200, 0))
    assert is_taken or "more than a day ago" in reason
    # what a job did is told however late: its runner's row may still wait for it
    assert post(delivery(job("completed", **times)))[0] == 202


def test_a_job_that_waited_for_an_approval_may_be_older(light: LightAws) -> None:
    for days, status in ((30, 202), (32, 200)):
        old = _iso(light.now - days * 86400)
        payload = {**job("queued", created_at=old, started_at=old), "deployment": {"id": 1}}
        assert post(delivery(payload))[0] == status


def test_400_without_the_event_header(light: LightAws) -> None:
    assert post(delivery(sample("queued"), event=None))[0] == 400


def test_an_unprotected_environment_also_carries_a_deployment(light: LightAws) -> None:
    assert post(delivery({**sample("queued"), "deployment": {"id": 1}}))[0] == 202


def test_the_repository_counts_in_any_case(light: LightAws) -> None:
    payload = {**sample("queued"), "repository": {"full_name": "Octo-Org/Example"}}
    assert post(delivery(payload))[0] == 202


@pytest.mark.parametrize(
    "job_labels",
    [
        ["self-hosted", "class:gigantic"],
        ["self-hosted", "class:a", "class:b"],
        ["self-hosted", "image:"],
        ["self-hosted", "image:ghcr.io/evil/x"],
        ["self-hosted", "image:Not A Reference"],
        ["self-hosted", "{% $states.input %}"],
        ["self-hosted", "\ud800"],
        ["self-hosted", 7],
        ["self-hosted", "x" * 257],
        ["self-hosted", *map(str, range(99))],
        ["self-hosted", *[f"{n:0>200}" for n in range(11)]],
    ],
)
def test_whether_a_job_can_be_served_is_answered_behind_the_bus(
    light: LightAws, job_labels: list[object]
) -> None:
    assert post(delivery(job("queued", labels=job_labels))) == (202, "accepted")
    (event,) = light.events
    assert json.loads(event["Detail"])["job"]["labels"][0] == "self-hosted"


def test_the_largest_event_stays_under_eight_kilobytes(light: LightAws) -> None:
    wide = "😀" * 2_000
    payload = job(
        "queued",
        name=wide,
        workflow_name=wide,
        html_url=wide,
        labels=["self-hosted", *[wide[:300]] * 100],
        conclusion=wide[:5],
    )
    assert post(delivery(payload))[0] == 202
    assert len(light.events[0]["Detail"].encode()) < 8192
