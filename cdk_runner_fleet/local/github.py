"""What a fleet's settings mean for the GitHub that stands in for the real one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdk_runner_fleet.local.errors import SettingsError
from cdk_runner_fleet.local.twin import TwinApp

__all__ = ["LocalGitHub", "settle"]

_DEFAULT_REPOSITORY = "octo-org/octo-repo"
_SCOPES = ("github_repo", "github_org", "github_enterprise")


@dataclass(frozen=True, kw_only=True)
class LocalGitHub:
    """One repository, in an organization and perhaps an enterprise, with the fleet's Apps.

    Args:
        repository: `owner/name`.
        enterprise: slug of the enterprise; None for none.
        runner_groups: names of the runner groups, the default one first.
        image_group_id: the one of runners whose job chose their image; None for none.
        apps: the Apps, each with a key pair made for this fleet.
        private_keys: the Apps' keys in PEM, by the names of their secrets.
    """

    repository: str
    enterprise: str | None
    runner_groups: Sequence[str]
    image_group_id: int | None = None
    apps: Sequence[TwinApp] = ()
    private_keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, context: Mapping[str, object]) -> LocalGitHub:
        """What these settings need; raises SettingsError."""
        owner = context.get("github_org") or "octo-org"
        groups = [context.get(name) for name in ("runner_group", "image_runner_group")]
        names = ["Default", *(str(group) for group in groups if group)]
        pairs = [_app(app) for app in _apps(context.get("github_apps"))]
        return cls(
            repository=str(context.get("github_repo") or f"{owner}/octo-repo"),
            enterprise=str(context["github_enterprise"])
            if context.get("github_enterprise")
            else None,
            runner_groups=tuple(names),
            image_group_id=len(names) if groups[1] else None,
            apps=[app for app, _, _ in pairs],
            private_keys={name: private for _, name, private in pairs},
        )


def settle(found: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """The settings of a fleet: those that were given, then those that were found.

    What is given to be served takes the place of what was found, and if nothing is, there is a
    repository.
    """
    if any(given.get(scope) for scope in _SCOPES):
        found = {name: value for name, value in found.items() if name not in _SCOPES}
    context = {**found, **given}
    if not any(context.get(scope) for scope in _SCOPES):
        context["github_repo"] = _DEFAULT_REPOSITORY
    # this fleet's GitHub is on loopback, without TLS and none of GitHub's addresses
    its_own = {"github_ca": "", "webhook_allowed_cidrs": "", "webhook_only_from_github": "off"}
    return {**context, **its_own}


def _apps(setting: object) -> list[dict[str, Any]]:
    try:
        apps = json.loads(setting) if isinstance(setting, str) and setting else setting or []
    except ValueError:
        apps = None
    if not isinstance(apps, list) or not all(isinstance(app, dict) for app in apps):
        raise SettingsError(
            f'setting github_apps is {setting!r}, give a list such as [{{"app_id": 1, '
            '"private_key_secret": "name"}]'
        )
    return apps


def _app(setting: Mapping[str, Any]) -> tuple[TwinApp, str, str]:
    # only here: a fleet with a token makes no keys
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    name = setting.get("private_key_secret")
    if not isinstance(name, str) or name.startswith("arn:"):
        raise SettingsError(
            f"GitHub App {setting.get('app_id')!r} has no private_key_secret that could be made "
            "here, name a secret: its key is made with it"
        )
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return TwinApp(app_id=str(setting.get("app_id")), public_key=public), name, private.decode()
