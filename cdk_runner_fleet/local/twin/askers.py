"""Who asks the twin: its token, GitHub Apps, and the installations of those.

An App proves itself with a web token that its private key has signed, and gets access tokens for
its installation, which may do what was asked for and end after an hour.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["Asker", "AskerError", "Askers", "TwinApp"]

FIRST_INSTALLATION_ID = 61_000_001
LONGEST_WEB_TOKEN = 600  # docs.github.com, "Generating a JSON Web Token (JWT) for a GitHub App"
HOUR = 3600.0
LEVELS = {"read": 1, "write": 2, "admin": 3}
# docs.github.com, "Permissions required for GitHub Apps": what is asked for, and whose it is
NEEDED = (
    (r"/repos/.*/actions/runners.*", "administration"),
    (r"/orgs/.*/actions/runner.*", "organization_self_hosted_runners"),
    (r"/repos/.*/actions/.*", "actions"),
    (r"/repos/.*/check-runs.*", "checks"),
    (r"/repos/.*/statuses/.*", "statuses"),
    (r"/repos/.*/hooks.*", "repository_hooks"),
    (r"/orgs/.*/hooks.*", "organization_hooks"),
)


class AskerError(Exception):
    """What was asked for cannot be had (422)."""


@dataclass(frozen=True, kw_only=True)
class TwinApp:
    """A GitHub App that is installed in the twin's repository and its organization.

    Args:
        app_id: its id.
        public_key: PEM of the key that its web tokens are checked with; None checks none.
        permissions: what its installation may do; None for everything.
    """

    app_id: str
    public_key: bytes | None = None
    permissions: Mapping[str, str] | None = None


@dataclass(kw_only=True)
class Hour:
    """The requests of an hour, which begins with the first one."""

    used: int = 0
    resets_at: float = 0.0

    def count(self) -> None:
        """One more."""
        self.renew()
        self.used += 1

    def renew(self) -> None:
        """Begin another hour if this one is over."""
        now = time.time()
        if now >= self.resets_at:
            self.used, self.resets_at = 0, now + HOUR


@dataclass(kw_only=True)
class Asker:
    """Somebody that the twin knows. `app` is there unless it is the token.

    `is_app` says that it is the App itself and no installation; `requests` are those of this hour.
    """

    name: str
    app: TwinApp | None = None
    is_app: bool = False
    permissions: Mapping[str, str] | None = None
    expires_at: float = float("inf")
    hour: Hour = field(default_factory=Hour)

    def may(self, method: str, path: str) -> bool:
        """Whether it is allowed to ask this."""
        if path == "/meta":
            return True  # whoever asks
        if path.startswith("/app") or path.endswith("/installation"):
            return self.is_app
        if self.is_app:
            return False
        if self.permissions is None:
            return True
        wanted = 1 if method == "GET" else 2
        for pattern, permission in NEEDED:
            if re.fullmatch(pattern, path):
                return LEVELS.get(self.permissions.get(permission, ""), 0) >= wanted
        return False


class Askers:
    """Everybody that the twin knows.

    Args:
        token: a personal access token that may do everything.
        apps: GitHub Apps.
        repository: `owner/name` where they are installed.
        token_seconds: how long an installation's access token lives.

    Attributes:
        names: the repositories of its owner, without that.
    """

    def __init__(
        self, *, token: str, apps: Sequence[TwinApp], repository: str, token_seconds: float
    ) -> None:
        self.names = {repository.partition("/")[2]}
        self._token_seconds = token_seconds
        self.token = token
        self._owner = Asker(name="token")
        self._by_token: dict[str, Asker] = {}
        self._apps = {app.app_id: app for app in apps}
        self._as_app = {
            app.app_id: Asker(name=f"app-{app.app_id}-itself", app=app, is_app=True) for app in apps
        }
        self._hours = {app.app_id: Hour() for app in apps}
        numbers = itertools.count(FIRST_INSTALLATION_ID)
        self.installations = {next(numbers): app for app in apps}

    def find(self, authorization: str) -> Asker | None:
        """Who sends this `Authorization` header; None for a stranger."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() not in ("bearer", "token"):
            return None
        if secrets.compare_digest(token.encode(), self.token.encode()):
            return self._owner
        asker = self._by_token.get(token)
        if asker:
            return asker if time.time() < asker.expires_at else None
        return self._app_of(token)

    def revoke_tokens(self) -> None:
        """Ends every access token of an installation."""
        self._by_token.clear()

    def new_token(self, app: TwinApp, body: Mapping[str, Any]) -> dict[str, Any]:
        """An access token of an App's installation; raises AskerError."""
        granted = dict(app.permissions) if app.permissions is not None else None
        wanted = body.get("permissions", granted)
        for permission, level in (wanted or {}).items():
            if granted is not None and LEVELS[level] > LEVELS.get(granted.get(permission, ""), 0):
                raise AskerError("The permissions requested are not granted to this installation.")
        repositories = body.get("repositories")
        if repositories is not None and not self.names.issuperset(repositories):
            raise AskerError(
                "There is at least one repository that does not exist or is not accessible to the "
                "parent installation."
            )
        token = f"ghs_{secrets.token_hex(18)}"
        expires_at = time.time() + self._token_seconds
        self._by_token[token] = Asker(
            name=f"app-{app.app_id}",
            app=app,
            permissions=wanted,
            expires_at=expires_at,
            # an installation's tokens share one limit
            hour=self._hours[app.app_id],
        )
        expires = datetime.fromtimestamp(expires_at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "token": token,
            "expires_at": expires,
            "permissions": wanted or {},
            "repository_selection": "all" if repositories is None else "selected",
        }

    def _app_of(self, token: str) -> Asker | None:
        """The App whose web token this is."""
        try:
            head, body, signature = token.split(".")
            algorithm = json.loads(_decoded(head)).get("alg")
            claims = json.loads(_decoded(body))
            app = self._apps[str(claims["iss"])]
            now = time.time()
            is_good = (
                algorithm == "RS256"
                and claims["iat"] <= now < claims["exp"] <= now + LONGEST_WEB_TOKEN
                and _is_signed(f"{head}.{body}".encode(), _decoded(signature), app.public_key)
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return self._as_app[app.app_id] if is_good else None


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _is_signed(message: bytes, signature: bytes, public_key: bytes | None) -> bool:
    if public_key is None:
        return True
    # only here: a fleet with a token needs none of it
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    key = serialization.load_pem_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)  # noqa: S101 - GitHub's keys are RSA
    try:
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True
