"""GitHub's side as it is given: what cannot be served, and which App cannot be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_runner_fleet.values.github import GitHubApp, served_scope

from ..fleets import KEY_ARN, PEM_ARN


def secret(stack: cdk.Stack) -> secretsmanager.ISecret:
    return secretsmanager.Secret.from_secret_complete_arn(stack, "Pem", PEM_ARN)


def key(stack: cdk.Stack) -> kms.IKey:
    return kms.Key.from_key_arn(stack, "AppKey", KEY_ARN)


def scope(**given: Any) -> str:
    nothing = dict.fromkeys(("github_repo", "github_org", "github_enterprise"))
    return served_scope(**{**nothing, **given})


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"github_repo": "o/r"}, "repos/o/r"),
        ({"github_org": "o"}, "orgs/o"),
        ({"github_enterprise": "e"}, "enterprises/e"),
        ({"github_repo": "mona_acme/example"}, "repos/mona_acme/example"),
    ],
)
def test_a_scope_is_what_the_rest_api_has_in_its_paths(given: dict[str, str], path: str) -> None:
    assert scope(**given) == path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "^no scope given, give exactly one of github_repo, github_org and github_enterprise"),
        ({"github_repo": "o/r", "github_org": "o"}, "^github_repo and github_org given, give exac"),
        ({"github_org": "o", "github_enterprise": "e"}, "^github_org and github_enterprise given"),
        ({"github_repo": "octo"}, "'octo' is not a repository, give it as owner/repo"),
        ({"github_repo": "octo/repo/more"}, "owner/repo"),
        ({"github_repo": "octo-org/x.git"}, "give it as owner/repo without .git"),
        ({"github_org": "o/r"}, "'o/r' is not an organization, give its login"),
        ({"github_org": ""}, "'' is not an organization"),
        ({"github_enterprise": "an enterprise"}, "is not an enterprise, give its slug"),
    ],
)
def test_a_scope_that_cannot_be_is_refused_with_the_remedy(
    given: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scope(**given)


@pytest.mark.parametrize(
    ("app", "message"),
    [
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
