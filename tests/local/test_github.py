"""A fleet of an organization that asks GitHub as an App; what settings mean for the twin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cdk_runner_fleet.local.errors import SettingsError
from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.github import LocalGitHub, settle
from cdk_runner_fleet.local.twin.handler import Handler
from cdk_runner_fleet.local.twin.request import Request
from cdk_runner_fleet.local.twin.workflows import read_workflow
from fleet_runtime.images import releases as release
from testbed.laws import ledger_table
from tests import settings
from tests.waiting import until

JOB = "on: push\njobs: {a: {runs-on: [self-hosted], steps: [{run: 'true'}]}}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Who asked the twin for what, in order."""
    seen: list[tuple[str, str]] = []
    answer = Handler._answer

    def spy(
        handler: Handler, request: Request, status: int, document: Any, headers: dict[str, str]
    ) -> None:
        if not request.path.startswith("/_twin/"):
            seen.append((request.asker.name, f"{request.method} {request.path}"))
        answer(handler, request, status, document, headers)

    monkeypatch.setattr(Handler, "_answer", spy)
    return seen


@pytest.fixture
def fleet() -> Iterator[LocalFleet]:
    # its own requests are none of a job's
    with LocalFleet(context=settings.APPS) as fleet:
        # nor are those of the watch on releases, which looks after each deployment
        ledger, entry = ledger_table(fleet), {"entry": {"S": release.ENTRY}}
        table = fleet.client("dynamodb")
        until(lambda: "Item" in table.get_item(TableName=ledger, Key=entry))
        yield fleet


def run(fleet: LocalFleet) -> str | None:
    assert fleet.twin is not None
    run_id = fleet.queue_run(read_workflow(JOB, file_name="ci.yml"), file_name="ci.yml")
    workflow_run = fleet.twin.board.runs[run_id]
    until(lambda: workflow_run.status == "completed")
    return workflow_run.conclusion


def test_an_organizations_jobs_run_as_an_app_for_two_requests_each(
    fleet: LocalFleet, asked: list[tuple[str, str]]
) -> None:
    assert run(fleet) == "success"
    first = list(asked)
    itself, app = "app-11-itself", "app-11"
    jobs, org = "/repos/acme/octo-repo/actions/jobs/", "/orgs/acme"
    assert first[:2] == [
        (itself, f"GET {org}/installation"),
        (itself, "POST /app/installations/61000001/access_tokens"),
    ]
    assert first[2][0] == app
    assert first[2][1].startswith(f"GET {jobs}")
    assert first[3:] == [
        (app, f"GET {org}/actions/runner-groups"),
        (app, f"POST {org}/actions/runners/generate-jitconfig"),
    ]
    asked.clear()
    assert run(fleet) == "success"
    assert [(who, what.partition(jobs)[0] or what) for who, what in asked] == [
        (app, "GET "),
        (app, f"POST {org}/actions/runners/generate-jitconfig"),
    ]
    assert "GithubTokenSecretArn" not in fleet.outputs


@pytest.mark.parametrize(
    ("found", "given", "scopes"),
    [
        ({}, {}, {"github_repo": "octo-org/octo-repo"}),
        ({"github_repo": "a/b"}, {}, {"github_repo": "a/b"}),
        ({"github_repo": "a/b"}, {"github_repo": "c/d"}, {"github_repo": "c/d"}),
        ({"github_repo": "a/b"}, {"github_org": "c"}, {"github_org": "c"}),
        ({"github_org": "a"}, {"github_enterprise": "c"}, {"github_enterprise": "c"}),
        ({"github_org": "a"}, {"idle": 1}, {"github_org": "a", "idle": 1}),
    ],
)
def test_what_is_given_to_be_served_takes_the_place_of_what_was_found(
    found: dict[str, object], given: dict[str, object], scopes: dict[str, object]
) -> None:
    own = {"github_ca": "", "webhook_allowed_cidrs": "", "webhook_only_from_github": "off"}
    assert settle(found, given) == {**scopes, **own}


def test_the_twin_is_what_the_settings_speak_of() -> None:
    plain = LocalGitHub.of({"github_repo": "a/b"})
    assert (plain.repository, plain.enterprise, plain.runner_groups) == ("a/b", None, ("Default",))
    owned = LocalGitHub.of({"github_enterprise": "e", "runner_group": "g", "github_apps": ""})
    assert (owned.repository, owned.enterprise) == ("octo-org/octo-repo", "e")
    assert owned.runner_groups == ("Default", "g")
    assert owned.image_group_id is None
    images = LocalGitHub.of({"github_org": "o", "image_runner_group": "images"})
    assert (images.runner_groups, images.image_group_id) == (("Default", "images"), 2)
    apps = '[{"app_id": 1, "private_key_secret": "k"}]'
    github = LocalGitHub.of({"github_org": "o", "github_apps": apps})
    assert github.repository == "o/octo-repo"
    assert github.private_keys["k"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert "PRIVATE KEY" not in repr(github)


@pytest.mark.parametrize(
    ("apps", "message"),
    [
        ("[", "setting github_apps is '\\['"),
        ({"app_id": 1}, "give a list such as"),
        ([{"app_id": 1, "kms_key_arn": "arn:x"}], "GitHub App 1 has no private_key_secret"),
        ([{"app_id": 1, "private_key_secret": "arn:x"}], "name a secret"),
    ],
)
def test_apps_that_cannot_be_made_here_are_refused(apps: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        LocalGitHub.of({"github_apps": apps})
