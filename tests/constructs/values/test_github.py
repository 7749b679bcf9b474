"""GitHub's side as it is given: what cannot be served, and which App cannot be one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_runner_fleet import GitHub, GitHubApp
from cdk_runner_fleet.values.github import PUBLIC_API
from cdk_runner_fleet.values.labels import LabelRules

from ..fleets import KEY_ARN, PEM_ARN


def secret(stack: cdk.Stack) -> secretsmanager.ISecret:
    return secretsmanager.Secret.from_secret_complete_arn(stack, "Pem", PEM_ARN)


def key(stack: cdk.Stack) -> kms.IKey:
    return kms.Key.from_key_arn(stack, "AppKey", KEY_ARN)


@pytest.mark.parametrize(
    ("github", "path", "alone"),
    [
        (GitHub.repository("o/r"), "repos/o/r", True),
        (GitHub.repository("mona_acme/example"), "repos/mona_acme/example", True),
        (GitHub.organization("o"), "orgs/o", False),
        (GitHub.enterprise("e"), "enterprises/e", False),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_a_scope_is_what_the_rest_api_has_in_its_paths(
    github: GitHub, path: str, alone: bool
) -> None:
    assert (github.scope, github.is_one_repository) == (path, alone)


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (GitHub.repository, "octo", "repository 'octo' is none, give it as owner/name"),
        (GitHub.repository, "octo/repo/more", "owner/name"),
        (GitHub.repository, "octo-org/x.git", "give it as owner/name without .git"),
        (GitHub.organization, "o/r", "organization 'o/r' is none, give its login"),
        (GitHub.organization, "", "organization '' is none"),
        (GitHub.enterprise, "an enterprise", "enterprise 'an enterprise' is none, give its slug"),
    ],
)
def test_a_scope_that_cannot_be_is_refused_with_the_remedy(
    make: Callable[[str], GitHub], name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(name)


@pytest.mark.parametrize(
    ("make", "cannot"),
    [
        (GitHub.repository, {"runner_group", "image_runner_group", "register_for"}),
        (GitHub.organization, set()),
        # GitHub docs, "REST API endpoints for self-hosted runners": no App manages an enterprise's
        (GitHub.enterprise, {"apps"}),
    ],
)
def test_what_does_not_go_with_a_scope_cannot_be_said(
    make: Callable[..., GitHub], cannot: set[str]
) -> None:
    every = {field.name for field in fields(GitHub)} - {"scope", "label_rules"}
    every |= {field.name for field in fields(LabelRules)}
    (_, *taken) = inspect.signature(make).parameters
    assert set(taken) == every - cannot
    for name in cannot:
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            make("o/r", **{name: None})


def test_a_token_and_apps_do_not_go_together(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match=r"^token and apps given, give one of them"):
        GitHub.organization(
            "o", token=secret(stack), apps=[GitHubApp(app_id=1, kms_key=key(stack))]
        )


def test_an_app_is_named_once(stack: cdk.Stack) -> None:
    one = GitHubApp(app_id=1, kms_key=key(stack))
    with pytest.raises(ValueError, match=r"^apps \['1', '1'\] names an App twice"):
        GitHub.repository("o/r", apps=[one, one])


@pytest.mark.parametrize("make", [GitHub.organization, GitHub.enterprise])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"register_for": "org"}, "register_for 'org' is unknown, use 'repository', or leave it"),
        (
            {"register_for": "repository", "runner_group": "g"},
            "runner_group 'g' and register_for 'repository' do not go together, .* no groups",
        ),
        (
            {"register_for": "repository", "image_runner_group": "g"},
            "image_runner_group 'g' and register_for 'repository' do not go together",
        ),
        (
            {"runner_group": "g", "image_runner_group": "g"},
            "image_runner_group 'g' is the group of all other runners too: name one of its own",
        ),
        ({"image_runner_group": "Default"}, "image_runner_group 'Default' is the group of all"),
    ],
)
def test_runners_that_cannot_be_registered_so_are_refused_with_the_remedy(
    make: Callable[..., GitHub], given: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make("o", **given)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("api.github.com", f"is not a URL, use {PUBLIC_API}"),
        ("https://github.com", "the REST API is at https://api.github.com$"),
        ("https://acme.ghe.com/", "https://api.acme.ghe.com$"),
        ("https://api.github.com/api/v3", "has a path, and there is no .* https://api.github.com$"),
        ("https://api.acme.ghe.com/v3/", "use https://api.acme.ghe.com$"),
        ("https://ghes.example.com", "has it at /api/v3: use https://ghes.example.com/api/v3$"),
        ("https://ghes.example.com:8443/api/", "use https://ghes.example.com:8443/api/v3$"),
        ("https://ghes.example.com/api/v4", "use https://ghes.example.com/api/v3$"),
    ],
)
def test_what_is_no_rest_api_is_refused_with_the_remedy(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^api_url {url!r} .*{message}"):
        GitHub.organization("o", api_url=url)


@pytest.mark.parametrize("make", [GitHub.organization, GitHub.enterprise])
def test_images_may_be_allowed_where_nobody_elses_jobs_run_in_them(
    make: Callable[..., GitHub],
) -> None:
    bases = ["ghcr.io/acme/*"]
    with pytest.raises(ValueError, match=r"^allowed_bases \['ghcr.io/acme/\*'\] cannot be had in"):
        make("o").check_choice(bases, is_explicit=True)
    make("o").check_choice(bases, is_explicit=False)
    make("o", register_for="repository").check_choice(bases, is_explicit=True)
    make("o", image_runner_group="images").check_choice(bases, is_explicit=True)
    GitHub.repository("o/r").check_choice(bases, is_explicit=True)


def test_a_group_for_images_that_nobody_may_choose_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^image_runner_group 'g' is given and jobs may choose no"
    ):
        GitHub.organization("o", image_runner_group="g").check_choice([], is_explicit=True)


@pytest.mark.parametrize(
    ("app", "message"),
    [
        (
            lambda stack: GitHub(
                scope="enterprises/e", apps=[GitHubApp(app_id=11, kms_key=key(stack))]
            ),
            "apps are given for enterprises/e, and GitHub lets no App manage an enterprise's",
        ),
        (lambda stack: GitHubApp(app_id=11), "needs one key: give private_key, a secret with its"),
        (
            lambda stack: GitHubApp(app_id=11, private_key=secret(stack), kms_key=key(stack)),
            "needs one key",
        ),
        (
            lambda stack: GitHubApp(app_id="my-app", kms_key=key(stack)),
            "'my-app' is not the id of a GitHub App, take the App ID",
        ),
        (
            lambda stack: GitHubApp(app_id=11, kms_key=key(stack), installation_id=0),
            "installation_id 0 of GitHub App 11 is none",
        ),
    ],
)
def test_an_app_that_cannot_be_is_refused(
    app: Callable[[cdk.Stack], GitHubApp], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=message):
        app(stack)
