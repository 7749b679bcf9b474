"""GitHub Apps, where they are installed: tokens that may do little, for an hour at most.

What proves that somebody is an App is in ``app_keys``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fleet_runtime.github.caller import Caller
from fleet_runtime.github.credentials import CredentialsError
from fleet_runtime.github.message import (
    GitHubRefused,
    GitHubUnavailable,
    Request,
    Response,
    read_document,
)
from fleet_runtime.job.scope import Scope

_REFRESH_SECONDS = 3000
"""A token lives for an hour; no request may be under way when it ends."""


class Installation:
    """The credential of an App in the scope where it is installed.

    Args:
        app_id: The App.
        caller: Asks as the App itself.
        scope: Where it is installed; the tokens are good for nothing else.
        permissions: All that the tokens may do, as GitHub names it.
        installation_id: The installation. Default: it is looked up.
        clock: Epoch seconds. Default: the system's.
    """

    def __init__(
        self,
        *,
        app_id: str,
        caller: Caller,
        scope: Scope,
        permissions: Mapping[str, str],
        installation_id: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.who = f"app-{app_id}"
        self._app_id = app_id
        self._caller = caller
        self._scope = scope
        self._permissions = permissions
        self._given_id = self._id = installation_id
        self._clock = clock
        self._token = ""
        self._refresh_at = 0.0

    def token(self) -> str:
        """Return an installation token.

        Raises:
            LimitReachedError: the App may not ask for one now.
            GitHubUnavailable: GitHub cannot be asked for one now.
            CredentialsError: the App gets none; the message has the remedy.
        """
        now = self._clock()
        if now >= self._refresh_at:
            self._token = self._new_token()
            self._refresh_at = now + _REFRESH_SECONDS
        return self._token

    def renew(self) -> None:
        """Get a new token next time."""
        self._refresh_at = 0.0

    def _new_token(self) -> str:
        try:
            if self._id is None:
                self._id = self._caller.call(find_installation(scope=self._scope.path))
            return self._caller.call(
                create_installation_token(
                    installation_id=self._id,
                    permissions=self._permissions,
                    # an organization's runners belong to no repository
                    repository=None if self._scope.has_groups else self._scope.name,
                )
            )
        except CredentialsError:
            raise
        except GitHubRefused as error:
            if error.status == 404:
                # installed anew it has another id
                self._id = self._given_id
            raise CredentialsError(
                f"the App {self._app_id} gets no token: {error} ({self._remedy(error.status)})"
            ) from error

    def _remedy(self, status: int) -> str:
        wanted = ", ".join(f"{name}: {level}" for name, level in self._permissions.items())
        return {
            401: "app_id and private key have to belong together",
            403: "let its installation be active again",
            404: f"install it for the {self._scope}",
            422: f"let it have {wanted}, and accept that in its installation",
        }.get(status, "see GitHub's message")


def find_installation(*, scope: str) -> Request[int]:
    """Ask, as an App, for the id of its installation in a repository or an organization."""
    return Request.get(f"{scope}/installation", read=_read_installation_id)


def create_installation_token(
    *, installation_id: int, permissions: Mapping[str, str], repository: str | None
) -> Request[str]:
    """Ask, as an App, for a token that may do this and no more, in one repository or in all."""
    body: dict[str, object] = {"permissions": dict(permissions)}
    if repository is not None:
        # GitHub wants the name without its owner
        body["repositories"] = [repository.partition("/")[2]]
    return Request.post(
        f"/app/installations/{installation_id}/access_tokens", read=_read_token, body=body
    )


def _read_installation_id(response: Response) -> int:
    found = read_document(response, expected=200).get("id")
    if not isinstance(found, int):
        raise GitHubUnavailable("GitHub answered 200 without an installation", status=200)
    return found


def _read_token(response: Response) -> str:
    token = read_document(response, expected=201).get("token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise GitHubUnavailable("GitHub answered 201 without a token", status=201)
    return token
