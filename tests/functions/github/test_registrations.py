"""The fleet's runners at GitHub, in groups and scopes."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import deregister_runner
from cdk_runner_fleet.local.twin import ApiFault, Conditions, GitHubTwin
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable
from fleet_runtime.github.registrations import Registrations

from ..aws_stand_in import RUNNER, Aws
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
        assert deregister_runner.handler({"runner_id": RUNNER}, context) == {
            "busy": False,
            "registered": True,
        }
        assert twin.board.runners == {}


def test_a_runner_is_registered_and_removed_where_its_row_says(
    *,
    aws: Aws,
    private_key: rsa.RSAPrivateKey,
    environment: pytest.MonkeyPatch,
    context: Any,
) -> None:
    with twin_of(private_key) as twin:
        environment.setenv("GITHUB_API_URL", twin.url)
        environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
        row = {"registered_for": "repos/octo-org/example"}
        aws.park("runner", job_id=queued_job(twin), **row)
        assert claim(context)[0] == 200
        (runner,) = twin.board.runners.values()
        assert runner.scope == "/repos/octo-org/example"
        github = github_at(twin.url)
        found = Registrations(github).look_up(runner.id, **row)
        assert found
        assert found.name == RUNNER
        assert Registrations(github).look_up(runner.id, registered_for="") is None, (
            "the organization has no such one"
        )
        aws.park("job", github_runner_id=runner.id, **row)
        assert deregister_runner.handler({"runner_id": RUNNER}, context)["registered"] is True
        assert twin.board.runners == {}


def test_nothing_is_registered_for_a_repository_that_is_not_served(twin: GitHubTwin) -> None:
    with pytest.raises(GitHubRefused, match="acme/rockets is not in the organization octo-org"):
        Registrations(github_at(twin.url)).register(
            name="r", labels=["x"], registered_for="repos/acme/rockets"
        )


def test_a_runner_whose_job_chose_its_image_joins_a_group_of_its_own(
    private_key: rsa.RSAPrivateKey,
) -> None:
    with twin_of(private_key, runner_groups=["Default", "builders", "images"]) as twin:
        registrations = Registrations(
            github_at(twin.url), runner_group="builders", image_runner_group="images"
        )
        with pytest.raises(
            GitHubRefused, match="may use runner group 'images': let it be for sele"
        ):
            registrations.register(name="r-0", labels=["image:python:3"], registered_for="")
        twin.board.group_repositories[3] = frozenset({"octo-org/example"})
        for name, labels in (("r-1", ["x"]), ("r-2", ["x", "Image:python:3"])):
            registrations.register(name=name, labels=labels, registered_for="")
        of_repository = registrations.register(
            name="r-3", labels=["image:python:3"], registered_for="repos/octo-org/example"
        )
        groups = {runner.name: runner.group_id for runner in twin.board.runners.values()}
        assert groups == {"r-1": 2, "r-2": 3, "r-3": 1}
        # somebody opens it at GitHub while the process lives
        limited = twin.board.group_repositories.pop(3)
        with pytest.raises(GitHubRefused, match="may use runner group 'images'"):
            registrations.register(name="r-4", labels=["image:python:3"], registered_for="")
        twin.board.group_repositories[3] = limited
        assert of_repository
        missing = Registrations(github_at(twin.url), image_runner_group="y")
        with pytest.raises(GitHubRefused, match="'y': make it there, or name another as image_run"):
            missing.register(name="r-4", labels=["image:python:3"], registered_for="")
        assert len(twin.board.runners) == 3, "it joins no other group"


def test_a_class_of_a_group_joins_that_one_and_none_where_other_jobs_get_its_runners(
    private_key: rsa.RSAPrivateKey,
) -> None:
    with twin_of(private_key, runner_groups=["Default", "builders", "images", "huge"]) as twin:
        twin.board.group_repositories[3] = frozenset({"octo-org/example"})
        registrations = Registrations(
            github_at(twin.url),
            runner_group="builders",
            image_runner_group="images",
            class_runner_groups={"huge": "huge", "lost": "x"},
        )
        for name, class_name in (("r-1", "small"), ("r-2", "Huge")):
            registrations.register(
                name=name, labels=["x"], registered_for="", class_name=class_name
            )
        groups = {runner.name: runner.group_id for runner in twin.board.runners.values()}
        assert groups == {"r-1": 2, "r-2": 4}
        for labels, registered_for, why in (
            (["image:python:3"], "", "in an image that its job chose: take image: out"),
            (["x"], "repos/octo-org/example", "which has no groups: run the job again"),
        ):
            with pytest.raises(GitHubRefused, match=why):
                registrations.register(
                    name="r-3", labels=labels, registered_for=registered_for, class_name="huge"
                )
        with pytest.raises(GitHubRefused, match=r"'x': make it there, or .* runner_group of the"):
            registrations.register(name="r-4", labels=[], registered_for="", class_name="lost")
        assert len(twin.board.runners) == 2


def test_no_runner_in_a_chosen_image_is_registered_where_others_jobs_may_get_it(
    twin: GitHubTwin, line: Line
) -> None:
    """It stood in line, or follows another, from before the fleet was deployed otherwise."""
    registrations = Registrations(github_at(twin.url), runner_group="builders")
    with pytest.raises(
        GitHubRefused, match="would get other repositories' jobs: deploy with regis"
    ):
        registrations.register(name="r", labels=["Image:python:3"], registered_for="orgs/octo-org")
    assert line.paths == []


GROUPS = "GET /orgs/octo-org/actions/runner-groups"
REGISTRATION = "POST /orgs/octo-org/actions/runners/generate-jitconfig"


def test_a_group_is_looked_up_once_and_on_any_page(
    private_key: rsa.RSAPrivateKey, line: Line
) -> None:
    names = ["Default", *(f"group {number}" for number in range(2, 151))]
    with twin_of(private_key, runner_groups=names) as twin:
        registrations = Registrations(github_at(twin.url), runner_group="group 150")
        for name in ("r-1", "r-2"):
            registrations.register(name=name, labels=["x"], registered_for="")
        assert [runner.group_id for runner in twin.board.runners.values()] == [150, 150]
        assert line.paths == [*[GROUPS] * 2, REGISTRATION, REGISTRATION]
        with pytest.raises(GitHubRefused, match="has no runner group 'x': make it there"):
            Registrations(github_at(twin.url), runner_group="x").register(
                name="r", labels=["x"], registered_for=""
            )
        assert line.paths[-1] == GROUPS, "nothing is registered in another group"


def test_without_a_group_nothing_is_looked_up(twin: GitHubTwin, line: Line) -> None:
    Registrations(github_at(twin.url)).register(name="r", labels=["x"], registered_for="")
    assert [runner.group_id for runner in twin.board.runners.values()] == [1]
    assert line.paths == [REGISTRATION]


def test_all_runners_are_listed(twin: GitHubTwin) -> None:
    for number in range(101):
        runner = twin.board.register(name=f"r-{number}", labels=["x"])
        runner.scope = "/orgs/octo-org"
    listed = Registrations(github_at(twin.url)).all(registered_for="")
    assert [one.name for one in listed] == [f"r-{number}" for number in range(101)]
    assert (listed[0].github_runner_id, listed[0].status, listed[0].busy) == (1, "offline", False)


def test_an_idle_runner_of_the_same_name_makes_room(twin: GitHubTwin, line: Line) -> None:
    registrations = Registrations(github_at(twin.url))
    first = registrations.register(name="r", labels=["x"], registered_for="")
    second = registrations.register(name="r", labels=["x"], registered_for="")
    assert list(twin.board.runners) == [second.github_runner_id] != [first.github_runner_id]
    assert line.paths.count(REGISTRATION) == 3, "one was refused"


def test_a_registration_whose_answer_was_lost_is_made_anew_once_its_name_is_free(
    twin: GitHubTwin, line: Line
) -> None:
    twin.board.conditions = Conditions(name_held_seconds=60, list_lag_seconds=60)
    twin.api_faults.add(ApiFault(status=502, applied=True, path="*/generate-jitconfig"))
    registrations = Registrations(github_at(twin.url))
    with pytest.raises(GitHubUnavailable, match="502"):
        registrations.register(name="r", labels=["x"], registered_for="")
    with pytest.raises(GitHubUnavailable, match="409"):  # it is on no list yet
        registrations.register(name="r", labels=["x"], registered_for="")
    twin.board.registered[0].registered_at -= 60
    with pytest.raises(GitHubUnavailable, match="409"):  # its name is held
        registrations.register(name="r", labels=["x"], registered_for="")
    assert twin.board.runners == {}
    twin.board.registered[0].removed_at = 0.0
    registered = registrations.register(name="r", labels=["x"], registered_for="")
    assert list(twin.board.runners) == [registered.github_runner_id]


def test_a_busy_runner_of_the_same_name_does_not(twin: GitHubTwin, line: Line) -> None:
    registrations = Registrations(github_at(twin.url))
    first = registrations.register(name="r", labels=["x"], registered_for="")
    twin.api_faults.add(ApiFault(status=422, method="DELETE"))
    with pytest.raises(GitHubRefused, match="a runner named r is busy with a job"):
        registrations.register(name="r", labels=["x"], registered_for="")
    assert list(twin.board.runners) == [first.github_runner_id]
