"""How the functions ask GitHub: where it is, what is served there and with which credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm

from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.values import GitHubApp

_RUNNERS = {"repos": "administration", "orgs": "organization_self_hosted_runners"}
"""What a GitHub App needs to manage runners ("Permissions required for GitHub Apps"); none can
manage an enterprise's."""


@dataclass(frozen=True, kw_only=True)
class GitHubConnection:
    """What the functions that ask GitHub have in common.

    Args:
        scope: What is served: ``repos/owner/name``, ``orgs/login`` or ``enterprises/slug``.
        api_url: The REST API.
        token: Secret with a personal access token. Default: there are Apps.
        apps: GitHub Apps. Default: there is a token.
        runner_group: The group that runners join. Default: GitHub's default group.
        ca: The certificate authorities of a private server. Default: the public ones.
    """

    scope: str
    api_url: str
    token: secretsmanager.ISecret | None = None
    apps: Sequence[GitHubApp] = ()
    runner_group: str | None = None
    ca: ssm.IStringParameter | None = None

    def environment(
        self, *, runners: str | None = None, also: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Return a function's settings.

        Args:
            runners: What it may do with the runners, ``read`` or ``write``. Default: nothing.
            also: What else it may do, as GitHub names it, for example ``{"actions": "read"}``.
        """
        permissions = dict(also or {})
        kind = self.scope.partition("/")[0]
        if runners and kind in _RUNNERS:
            permissions[_RUNNERS[kind]] = runners
        return {
            "GITHUB_API_URL": self.api_url.rstrip("/"),
            "GITHUB_SCOPE": self.scope,
            "GITHUB_TOKEN_SECRET_ARN": self.token.secret_arn if self.token else "",
            "GITHUB_APPS": json.dumps([app.to_settings() for app in self.apps]),
            "GITHUB_PERMISSIONS": json.dumps(permissions),
            "GITHUB_CA_PARAM": self.ca.parameter_name if self.ca else "",
            "RUNNER_GROUP": self.runner_group or "",
        }

    def grant_ask(self, function: FleetFunction) -> None:
        """Let ``function`` use the credentials."""
        if self.token:
            self.token.grant_read(function)
        for app in self.apps:
            if app.private_key:
                app.private_key.grant_read(function)
            if app.kms_key:
                app.kms_key.grant(function, "kms:Sign")
        if self.ca:
            self.ca.grant_read(function)
