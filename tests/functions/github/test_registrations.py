"""The fleet's runners at GitHub, in groups and scopes."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import deregister_runner
from cdk_runner_fleet.local.twin import GitHubTwin
from fleet_runtime.github.message import GitHubRefused
from fleet_runtime.github.registrations import Registrations

from ..conftest import RUNNER, Aws
from .conftest import (
    Line,
    claim,
    github_at,
    queued_job,
    twin_of,
)


@pytest.mark.parametrize("scope", ["orgs/octo-org", "enterprises/acme"])
def test_an_organizations_and_an_enterprises_runners_are_registered_there(
    *,
    aws: Aws,
    private_key: rsa.RSAPrivateKey,
    environment: pytest.MonkeyPatch,
    context: Any,
    scope: str,
) -> None:
    groups = ("Default", "builders")
    with twin_of(private_key, enterprise="acme", runner_groups=groups) as twin:
        environment.setenv("GITHUB_API_URL", twin.url)
        environment.setenv("GITHUB_SCOPE", scope)
        environment.setenv("RUNNER_GROUP", "builders")
        aws.park("runner", job_id=queued_job(twin))
        assert claim(context)[0] == 200
        (runner,) = twin.board.runners.values()
        assert (runner.scope, runner.group_id) == (f"/{scope}", 2)
        aws.park("job", github_runner_id=runner.id)
        assert deregister_runner.handler({"runner_id": RUNNER}, context) == {"busy": False}
        assert twin.board.runners == {}


def test_a_group_is_looked_up_once_and_on_any_page(
    private_key: rsa.RSAPrivateKey, line: Line
) -> None:
    names = ["Default", *(f"group {number}" for number in range(2, 151))]
    with twin_of(private_key, runner_groups=names) as twin:
        registrations = Registrations(github_at(twin.url), runner_group="group 150")
        assert [registrations.runner_group_id() for _ in range(2)] == [150, 150]
        assert line.paths == ["GET /orgs/octo-org/actions/runner-groups"] * 2
        with pytest.raises(GitHubRefused, match="has no runner group 'x': make it there"):
            Registrations(github_at(twin.url), runner_group="x").runner_group_id()


def test_without_a_group_nothing_is_looked_up(twin: GitHubTwin, line: Line) -> None:
    assert Registrations(github_at(twin.url)).runner_group_id() == 1
    assert line.paths == []


def test_all_runners_are_listed(twin: GitHubTwin) -> None:
    for number in range(101):
        runner = twin.board.register(name=f"r-{number}", labels=["x"])
        runner.scope = "/orgs/octo-org"
    listed = Registrations(github_at(twin.url)).all()
    assert [one.name for one in listed] == [f"r-{number}" for number in range(101)]
    assert (listed[0].github_runner_id, listed[0].status, listed[0].busy) == (1, "offline", False)
