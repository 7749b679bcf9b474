"""GitHub Apps, where they are installed: tokens that may do little, for an hour at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fleet_runtime.github import message as github
from fleet_runtime.github.caller import Caller
from fleet_runtime.github.credentials import CredentialsError
from fleet_runtime.github.message import GitHubUnavailable, Response
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

    def forget(self) -> None:
        """Get a new token next time."""
        self._refresh_at = 0.0

    def _new_token(self) -> str:
        if self._id is None:
            self._id = self._find()
        request = github.create_installation_token(
            installation_id=self._id,
            permissions=self._permissions,
            # an organization's runners belong to no repository
            repository=None if self._scope.has_groups else self._scope.name,
        )
        response = self._caller.ask(request)
        if response.status == 404:
            # installed anew it has another id
            self._id = self._given_id
        self._check(response, expected=201)
        return github.read_installation_token(response)

    def _find(self) -> int:
        response = self._caller.ask(github.find_installation(scope=self._scope.path))
        self._check(response, expected=200)
        return github.read_installation_id(response)

    def _check(self, response: Response, *, expected: int) -> None:
        if response.status == expected:
            return
        error = github.failure(response)
        if isinstance(error, GitHubUnavailable):
            raise error
        wanted = ", ".join(f"{name}: {level}" for name, level in self._permissions.items())
        remedy = {
            401: "app_id and private key have to belong together",
            403: "let its installation be active again",
            404: f"install it for the {self._scope}",
            422: f"let it have {wanted}, and accept that in its installation",
        }.get(response.status, "see GitHub's message")
        raise CredentialsError(f"the App {self._app_id} gets no token: {error} ({remedy})")
