"""How the functions ask GitHub: where it is, what is served there and with which credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._nag import acknowledge
from cdk_runner_fleet._place import check_place
from cdk_runner_fleet.values.github import GitHub

_RUNNERS = {"repos": "administration", "orgs": "organization_self_hosted_runners"}
"""What a GitHub App needs to manage runners ("Permissions required for GitHub Apps"); none can
manage an enterprise's."""


class GitHubConnection(Construct):
    """What the functions that ask GitHub have in common.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        github: What is served, and how GitHub is asked.
        at_rest: How a token is kept that is made.

    Raises:
        ValueError: if a credential is in another region.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, github: GitHub, at_rest: DataAtRest
    ) -> None:
        super().__init__(scope, construct_id)
        self.served = github
        self._at_rest = at_rest
        token = github.token
        if token is None and not github.apps:
            token = secretsmanager.Secret(
                self,
                "Token",
                description="cdk-runner-fleet: put a GitHub token here",
                encryption_key=at_rest.encryption_key,
            )
        self.token = token
        self._check_places()
        if token:
            acknowledge(
                token,
                "SMG4",
                "SecretsManagerRotationEnabled",
                reason="GitHub issues the token, so Secrets Manager cannot rotate it alone; the "
                "functions read it again once GitHub refuses the one they have. "
                "Evidence: tests/functions/github/test_caller.py.",
            )

    def _check_places(self) -> None:
        """Refuse what no function could read or sign with; another account's may let them."""
        token, why = self.served.token, "a secret is read in its own region alone"
        if token:
            check_place(self, "token", token, arn=token.secret_arn, account=False, why=why)
        for app in self.served.apps:
            of, secret, key = f"of GitHub App {app.app_id}", app.private_key, app.kms_key
            if secret:
                name = f"private_key {of}"
                check_place(self, name, secret, arn=secret.secret_arn, account=False, why=why)
            if key:
                check_place(
                    self,
                    f"kms_key {of}",
                    key,
                    arn=key.key_arn,
                    account=False,
                    why="a key signs in its own region alone",
                )

    @property
    def callers(self) -> Sequence[str]:
        """Who asks GitHub, as the metric of the quota that is left calls them."""
        return [f"app-{app.to_settings()['app_id']}" for app in self.served.apps] or ["token"]

    @property
    def runner_scopes(self) -> dict[str, str]:
        """Settings of a function that has to know where runners are registered."""
        return {
            "GITHUB_SCOPE": self.served.scope,
            "REGISTER_FOR": self.served.register_for or "",
            "IMAGE_RUNNER_GROUP": self.served.image_runner_group or "",
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
        served = self.served.scope.partition("/")[0]
        registered = "repos" if self.served.register_for else served
        if of_served and served in _RUNNERS:
            permissions[_RUNNERS[served]] = "read"
        if runners and registered in _RUNNERS:
            permissions[_RUNNERS[registered]] = runners
        return {
            "GITHUB_API_URL": self.served.api_url.rstrip("/"),
            "GITHUB_SCOPE": self.served.scope,
            "GITHUB_TOKEN_SECRET_ARN": self.token.secret_arn if self.token else "",
            "GITHUB_TOKEN_FIELD": self.served.token_field or "",
            "GITHUB_APPS": Stack.of(self).to_json_string(
                [app.to_settings() for app in self.served.apps]
            ),
            "GITHUB_PERMISSIONS": json.dumps(permissions),
            "GITHUB_CA_PARAM": self.served.ca.parameter_name if self.served.ca else "",
            "RUNNER_GROUP": self.served.runner_group or "",
            "IMAGE_RUNNER_GROUP": self.served.image_runner_group or "",
        }

    def grant_ask(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` use the credentials."""
        if self.token:
            self._at_rest.grant_read(self.token, grantee)
        for app in self.served.apps:
            if app.private_key:
                self._at_rest.grant_read(app.private_key, grantee)
            if app.kms_key:
                app.kms_key.grant(grantee, "kms:Sign")
        if self.served.ca:
            self.served.ca.grant_read(grantee)
