"""The fleet at GitHub: every request goes through here, with a credential and within the limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Any, TypeVar

from fleet_runtime.aws.client import client
from fleet_runtime.github.app import Installation
from fleet_runtime.github.app_keys import AppToken, KmsKey, PemKey
from fleet_runtime.github.caller import Caller
from fleet_runtime.github.connection import App, Connection
from fleet_runtime.github.credentials import CredentialsError, PersonalAccessToken, Secret
from fleet_runtime.github.etags import Etags
from fleet_runtime.github.message import (
    PAGE_SIZE,
    AnswerTooLargeError,
    GitHubRefused,
    GitHubUnavailable,
    Page,
    Request,
)
from fleet_runtime.github.rate_limits import LimitReachedError
from fleet_runtime.github.transport import Transport
from fleet_runtime.job.scope import Scope
from fleet_runtime.observability import logger

_MOST_PAGES = 100
"""10,000 entries: no list of GitHub's that is read here is longer."""

T = TypeVar("T")


class GitHub:
    """Asks GitHub on the fleet's behalf.

    Args:
        transport: The line to GitHub.
        scope: What the fleet serves.
        callers: Who asks. Of several, the one with most quota left does.
        app: The same, asked as a GitHub App itself. Default: none, the fleet has a token instead.
        clock: Epoch seconds. Default: the system's.

    Attributes:
        scope: What the fleet serves.
        as_app: The same, asked as the first of the fleet's Apps, whose webhook it is; None if the
            fleet has a token instead of Apps.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        scope: Scope,
        callers: Sequence[Caller],
        app: GitHub | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.scope = scope
        self.as_app = app
        self._transport = transport
        # fleets that share their Apps begin with different ones, each always with the same
        self._callers = sorted(callers, key=lambda caller: _rank(scope, caller))
        self._clock = clock

    @classmethod
    def of(cls, connection: Connection, *, etags: Etags | None = None) -> GitHub:
        """Reach GitHub as a function's settings say.

        Args:
            connection: The settings.
            etags: What GitHub said before. Default: nothing is kept.

        Raises:
            ValueError: if the API's URL is none, or the certificate authority is none.
        """
        parameter = connection.github_ca_param
        ca = client("ssm").get_parameter(Name=parameter) if parameter else None
        transport = Transport(
            api_url=connection.github_api_url, ca=ca["Parameter"]["Value"] if ca else None
        )
        scope = connection.github_scope
        if not connection.github_apps:
            kept = _secret(connection.github_token_secret_arn, field=connection.github_token_field)
            token = PersonalAccessToken(kept)
            caller = Caller(credential=token, transport=transport, etags=etags)
            return cls(transport=transport, scope=scope, callers=[caller])
        apps = [
            Caller(credential=_app_token(app), transport=transport, etags=etags)
            for app in connection.github_apps
        ]
        callers = [
            Caller(
                credential=Installation(
                    app_id=app.app_id,
                    caller=caller,
                    scope=scope,
                    permissions=connection.github_permissions or {},
                    installation_id=app.installation_id,
                ),
                transport=transport,
                etags=etags,
            )
            for app, caller in zip(connection.github_apps, apps, strict=True)
        ]
        return cls(
            transport=transport,
            scope=scope,
            callers=callers,
            app=cls(transport=transport, scope=scope, callers=apps[:1]),
        )

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Let all requests inside the block together take no longer than this."""
        return self._transport.within(seconds)

    def ask(self, request: Request[T]) -> T:
        """Ask, unless it is about a repository that the fleet does not serve.

        An answer that is too large is asked for in smaller pieces, if that can be.

        Returns:
            What the answer is read as.

        Raises:
            GitHubUnavailable: there is no answer, or GitHub does not want to be asked before
                ``retry_after``; what it wants is kept without asking again.
            GitHubRefused: GitHub refuses, the credentials are missing or wrong, or the repository
                is another's.
        """
        try:
            return self._ask(request)
        except AnswerTooLargeError:
            if request.smaller is None:
                raise
            logger.warning("answer too large", path=request.path)
            return self.ask(request.smaller())

    def _ask(self, request: Request[T]) -> T:
        if request.repository is not None and not self.scope.covers(request.repository):
            raise GitHubRefused(f"{request.repository} is not in the {self.scope}", status=0)
        limits: list[LimitReachedError] = []
        refusals: list[CredentialsError] = []
        for caller in self._by_quota_left(request):
            try:
                return caller.call(request)
            except LimitReachedError as error:
                limits.append(error)
            except CredentialsError as error:
                # another App may do as well; whoever reads the log sees to this one
                logger.error("no credential", who=caller.who, error=str(error))
                refusals.append(error)
        if limits:
            raise self._unavailable(min(limits, key=lambda limit: limit.until))
        raise refusals[0]

    def quota_left(self, request: Request[Any]) -> int:
        """How many requests of this kind are left, as far as this process has been told."""
        return max(caller.left(request) for caller in self._callers)

    def pages(self, request: Request[Page[T]], *, most: int = _MOST_PAGES) -> Iterator[Page[T]]:
        """Ask for one page of a list after another, as long as they are taken.

        Args:
            request: Asks for the first page.
            most: Full pages that are asked for, or as much in smaller ones. The last of them may
                have others behind it.

        Raises:
            GitHubError: as from ``ask``.
        """
        following: Request[Page[T]] | None = request
        left = most * PAGE_SIZE
        while following is not None and left > 0:
            page = self.ask(following)
            yield page
            following = page.following
            left -= page.size

    def items(self, request: Request[Page[T]], *, most: int = _MOST_PAGES) -> Iterator[T]:
        """Ask for what is on the pages of a list; see ``pages``."""
        for page in self.pages(request, most=most):
            yield from page.items

    def _by_quota_left(self, request: Request[Any]) -> list[Caller]:
        # By orders of magnitude, so that two Apps do not take turns with each request: each has
        # tokens to get. Sorting keeps those of one magnitude in their own order.
        return sorted(self._callers, key=lambda caller: -caller.left(request).bit_length())

    def _unavailable(self, limit: LimitReachedError) -> GitHubUnavailable:
        wait = max(1, math.ceil(limit.until - self._clock()))
        return GitHubUnavailable(str(limit), status=limit.status, retry_after=wait)


def _rank(scope: Scope, caller: Caller) -> bytes:
    return sha256(f"{scope.path} {caller.who}".encode()).digest()


def _secret(arn: str, *, field: str = "") -> Secret:
    return Secret(secrets_manager=client("secretsmanager"), secret_arn=arn, field=field)


def _app_token(app: App) -> AppToken:
    key = (
        KmsKey(kms=client("kms"), key_id=app.kms_key_id)
        if app.kms_key_id
        else PemKey(_secret(app.private_key_secret_arn))
    )
    return AppToken(app_id=app.app_id, key=key)
