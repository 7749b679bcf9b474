"""Where runners are registered, and whom GitHub may give them to."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime import environment as fleet_environment
from fleet_runtime.job import labels
from fleet_runtime.job.runner_scope import RunnerScopes
from fleet_runtime.job.scope import Scope

from ..aws_stand_in import RUNNER, Aws
from ..entry_points import started_input
from ..events import job

IMAGE = ["self-hosted", "image:python:3.13"]


def scopes(scope: str, register_for: str = "", image_runner_group: str = "") -> RunnerScopes:
    return RunnerScopes(
        github_scope=Scope.parse(scope),
        register_for=register_for,
        image_runner_group=image_runner_group,
    )


@pytest.mark.parametrize(
    ("made", "where", "shares"),
    [
        (scopes("repos/o/r"), "repos/o/r", False),
        (scopes("repos/o/r", "repository"), "repos/o/r", False),
        (scopes("orgs/o"), "orgs/o", True),
        (scopes("orgs/o", "repository"), "repos/o/x", False),
        (scopes("orgs/o", image_runner_group="images"), "orgs/o", False),
        (scopes("enterprises/e"), "enterprises/e", True),
        (scopes("enterprises/e", "repository"), "repos/o/x", False),
    ],
)
def test_each_runner_is_registered_where_the_fleet_is_told_to(
    made: RunnerScopes, where: str, *, shares: bool
) -> None:
    assert made.of("o/x").text == where
    assert made.shares_images is shares


def test_another_way_to_register_is_an_error(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REGISTER_FOR", "repositories")
    with pytest.raises(fleet_environment.SettingError, match="register_for is 'repositories', use"):
        fleet_environment.read(RunnerScopes)


def test_runners_of_two_repositories_do_not_stand_in_for_each_other() -> None:
    made = scopes("orgs/o", "repository")
    keys = [made.waiting_key("self-hosted", scope=made.of(name)) for name in ("o/a", "o/b", "O/A")]
    assert keys[0] == keys[2] != keys[1]
    shared = scopes("orgs/o")
    assert shared.waiting_key("self-hosted", scope=shared.of("o/a")) == "self-hosted"


def test_the_longest_labels_and_names_fit_into_a_key_of_dynamodb() -> None:
    made = scopes("enterprises/e", "repository")
    longest = f"{'o' * 39}/{'r' * 100}"
    waiting_labels = "x" * labels.MAX_TOTAL_LENGTH
    assert len(made.waiting_key(waiting_labels, scope=made.of(longest)).encode()) <= 2048


@pytest.mark.parametrize("scope", ["orgs/octo-org", "enterprises/octo"])
def test_a_job_that_chooses_an_image_is_refused_where_others_jobs_may_get_its_runner(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch, scope: str
) -> None:
    environment.setenv("GITHUB_SCOPE", scope)
    dispatch(job("queued", labels=IMAGE))
    row = aws.row()
    assert row is not None
    assert row["error"] == "Job.CannotBeServed"
    assert row["cause"] == (
        f"image 'python:3.13' cannot be had in the {Scope.parse(scope)}: GitHub may give its "
        "runner the jobs of other repositories. Take the image: label out of runs-on, or deploy "
        "with register_for repository, or with an image_runner_group that only repositories may "
        "use which may choose images"
    )
    assert aws.sfn.named("StartExecution") == []


@pytest.mark.parametrize(
    ("setting", "value", "registered_for"),
    [
        ("REGISTER_FOR", "repository", "repos/octo-org/example"),
        ("IMAGE_RUNNER_GROUP", "images", "orgs/octo-org"),
    ],
)
def test_it_is_served_where_its_runner_is_its_own_or_its_groups(
    *,
    aws: Aws,
    dispatch: Any,
    environment: pytest.MonkeyPatch,
    setting: str,
    value: str,
    registered_for: str,
) -> None:
    environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    environment.setenv(setting, value)
    dispatch(job("queued", labels=IMAGE))
    document = started_input(aws)
    assert document["registered_for"] == registered_for
    by_repository = "repos/octo-org/example " if value == "repository" else ""
    assert document["waiting_labels"] == f"{by_repository}image:python:3.13,self-hosted"


def test_a_runner_of_another_repository_is_no_stand_in(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    environment.setenv("REGISTER_FOR", "repository")
    aws.park("completion", started_at=100)
    key = "linux,self-hosted"
    aws.park("job", runner_id="fleet-8-1", waiting_labels=f"repos/octo-org/other {key}")
    aws.park("job", runner_id="fleet-9-1", waiting_labels=f"repos/octo-org/example {key}")
    cancelled = job("completed_cancelled", labels=["self-hosted", "linux"])
    dispatch(cancelled)
    assert "released_at" in (aws.row("fleet-9-1") or {})
    assert "released_at" not in (aws.row("fleet-8-1") or {})
    assert (aws.row(RUNNER) or {})["stand_in_released_at"] > 0
