"""How the functions ask GitHub: where it is, what is served there and with which credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet._nag import acknowledge
from cdk_runner_fleet.values.github import (
    GitHubApp,
    RegisterFor,
    check_api_url,
    check_credentials,
    check_registration,
)

_RUNNERS = {"repos": "administration", "orgs": "organization_self_hosted_runners"}
"""What a GitHub App needs to manage runners ("Permissions required for GitHub Apps"); none can
manage an enterprise's."""


class GitHubConnection(Construct):
    """What the functions that ask GitHub have in common.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        serving: What is served: ``repos/owner/name``, ``orgs/login`` or ``enterprises/slug``.
        api_url: The REST API.
        token: Secret with a personal access token. Default: one with a meaningless value is made,
            to be replaced once, unless there are ``apps``.
        apps: GitHub Apps to ask as, instead of with a token.
        runner_group: The group that runners join. Default: GitHub's default group.
        register_for: ``repository`` to register each runner for the repository of the job that it
            is started for. Default: for what is served.
        image_runner_group: The group of runners whose job chose their image. Default: such a job
            is refused, unless runners are registered for one repository.
        ca: The certificate authorities of a private server. Default: the public ones.

    Raises:
        ValueError: if the credentials or the group do not go with what is served, or the URL is
            none of a REST API.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        serving: str,
        api_url: str,
        token: secretsmanager.ISecret | None = None,
        apps: Sequence[GitHubApp] = (),
        runner_group: str | None = None,
        register_for: RegisterFor | None = None,
        image_runner_group: str | None = None,
        ca: ssm.IStringParameter | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        check_credentials(apps, has_token=token is not None, scope=serving)
        check_registration(
            register_for=register_for,
            runner_group=runner_group,
            image_runner_group=image_runner_group,
            scope=serving,
        )
        check_api_url(api_url)
        if token is None and not apps:
            token = secretsmanager.Secret(
                self, "Token", description="cdk-runner-fleet: put a GitHub token here"
            )
        self.serving = serving
        self.token = token
        self._api_url = api_url
        self._apps = apps
        self._runner_group = runner_group
        self._register_for = register_for
        self._image_runner_group = image_runner_group
        self._ca = ca
        if token:
            acknowledge(
                token,
                "SMG4",
                "GitHub issues the token, so Secrets Manager cannot rotate it alone; the functions "
                "read it again once GitHub refuses the one they have. "
                "Evidence: tests/functions/github/test_caller.py.",
            )

    @property
    def callers(self) -> Sequence[str]:
        """Who asks GitHub, as the metric of the quota that is left calls them."""
        return [f"app-{app.to_settings()['app_id']}" for app in self._apps] or ["token"]

    @property
    def runner_scopes(self) -> dict[str, str]:
        """Settings of a function that has to know where runners are registered."""
        return {
            "GITHUB_SCOPE": self.serving,
            "REGISTER_FOR": self._register_for or "",
            "IMAGE_RUNNER_GROUP": self._image_runner_group or "",
        }

    def environment(
        self,
        *,
        runners: str | None = None,
        of_served: bool = False,
        also: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Return a function's settings.

        Args:
            runners: What it may do with the runners, ``read`` or ``write``. Default: nothing.
            of_served: Whether it may read those that are registered for what is served, too, and
                GitHub's releases of the runner, which are asked for there.
            also: What else it may do, as GitHub names it, for example ``{"actions": "read"}``.
        """
        permissions = dict(also or {})
        served = self.serving.partition("/")[0]
        registered = "repos" if self._register_for else served
        if of_served and served in _RUNNERS:
            permissions[_RUNNERS[served]] = "read"
        if runners and registered in _RUNNERS:
            permissions[_RUNNERS[registered]] = runners
        return {
            "GITHUB_API_URL": self._api_url.rstrip("/"),
            "GITHUB_SCOPE": self.serving,
            "GITHUB_TOKEN_SECRET_ARN": self.token.secret_arn if self.token else "",
            "GITHUB_APPS": Stack.of(self).to_json_string([app.to_settings() for app in self._apps]),
            "GITHUB_PERMISSIONS": json.dumps(permissions),
            "GITHUB_CA_PARAM": self._ca.parameter_name if self._ca else "",
            "RUNNER_GROUP": self._runner_group or "",
            "IMAGE_RUNNER_GROUP": self._image_runner_group or "",
        }

    def grant_ask(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` use the credentials."""
        if self.token:
            self.token.grant_read(grantee)
        for app in self._apps:
            if app.private_key:
                app.private_key.grant_read(grantee)
            if app.kms_key:
                app.kms_key.grant(grantee, "kms:Sign")
        if self._ca:
            self._ca.grant_read(grantee)
