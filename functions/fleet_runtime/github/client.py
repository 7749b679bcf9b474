"""The fleet at GitHub: every request goes through here, with a credential and within the limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256

from fleet_runtime.aws.client import client
from fleet_runtime.github import message as github
from fleet_runtime.github.app_keys import AppToken, KmsKey, PemKey
from fleet_runtime.github.apps import Installation
from fleet_runtime.github.caller import Caller
from fleet_runtime.github.connection import App, Connection
from fleet_runtime.github.credentials import PersonalAccessToken, Secret
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Request, Response
from fleet_runtime.github.rate_limits import LimitReachedError
from fleet_runtime.github.transport import Transport
from fleet_runtime.job.scope import Scope
from fleet_runtime.observability import logger

_MOST_PAGES = 100
"""10,000 entries: no list of GitHub's that is read here is longer."""


class GitHubAccess:
    """Asks GitHub on the fleet's behalf.

    Args:
        transport: The line to GitHub.
        scope: What the fleet serves.
        callers: Who asks. Of several, the one with most quota left does.
        app: Who asks as a GitHub App itself. Default: nobody, the fleet has a token instead.
        runner_group: Name of the group that runners join. Default: GitHub's default group.
        clock: Epoch seconds. Default: the system's.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        scope: Scope,
        callers: Sequence[Caller],
        app: Caller | None = None,
        runner_group: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._scope = scope
        self._app = app
        # fleets that share their Apps begin with different ones, each always with the same
        self._callers = sorted(callers, key=lambda caller: _rank(scope, caller))
        self._runner_group = runner_group
        self._runner_group_id: int | None = None
        self._clock = clock

    @classmethod
    def of(cls, connection: Connection) -> GitHubAccess:
        """Reach GitHub as a function's settings say.

        Raises:
            ValueError: if the API's URL is none, or the certificate authority is none.
        """
        parameter = connection.github_ca_param
        ca = client("ssm").get_parameter(Name=parameter) if parameter else None
        transport = Transport(
            api_url=connection.github_api_url, ca=ca["Parameter"]["Value"] if ca else None
        )
        if not connection.github_apps:
            token = PersonalAccessToken(_secret(connection.github_token_secret_arn))
            callers = [Caller(credential=token, transport=transport)]
            apps = []
        else:
            apps = [
                Caller(credential=_app_token(app), transport=transport)
                for app in connection.github_apps
            ]
            callers = [
                Caller(
                    credential=Installation(
                        app_id=app.app_id,
                        caller=caller,
                        scope=connection.github_scope,
                        permissions=connection.github_permissions or {},
                        installation_id=app.installation_id,
                    ),
                    transport=transport,
                )
                for app, caller in zip(connection.github_apps, apps, strict=True)
            ]
        return cls(
            transport=transport,
            scope=connection.github_scope,
            callers=callers,
            app=apps[0] if apps else None,
            runner_group=connection.runner_group,
        )

    @property
    def runners_path(self) -> str:
        """Where runners are registered: ``/repos/o/r``, ``/orgs/o`` or ``/enterprises/e``."""
        return self._scope.path

    def covers(self, repository: str) -> bool:
        """Whether the fleet serves a repository, ``owner/name``, as far as its name tells."""
        return self._scope.covers(repository)

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Let all requests inside the block together take no longer than this."""
        return self._transport.within(seconds)

    def runner_group_id(self) -> int:
        """Return the id of the group that runners join; looked up once.

        Raises:
            GitHubError: if GitHub does not say, or there is no such group.
        """
        if not self._runner_group:
            return github.DEFAULT_RUNNER_GROUP
        if self._runner_group_id is None:
            self._runner_group_id = self._find_runner_group()
        return self._runner_group_id

    def send(self, request: Request, *, repository: str | None) -> Response:
        """Send a request.

        Args:
            request: The request.
            repository: The repository that it is about, None for the runners themselves. One that
                the fleet does not serve is not asked for.

        Returns:
            The answer, unless it is a rate limit.

        Raises:
            GitHubUnavailable: there is no answer, or GitHub does not want to be asked before
                ``retry_after``; what it wants is kept without asking again.
            GitHubRefused: the credentials are missing or wrong, or the repository is another's.
        """
        if repository is not None and not self.covers(repository):
            raise GitHubRefused(f"{repository} is not in the {self._scope}", status=0)
        limits: list[LimitReachedError] = []
        refusals: list[GitHubRefused] = []
        for caller in self._by_quota_left(request):
            try:
                return caller.ask(request)
            except LimitReachedError as error:
                limits.append(error)
            except GitHubRefused as error:
                # another App may do as well; whoever reads the log sees to this one
                logger.error("no credential", who=caller.who, error=str(error))
                refusals.append(error)
        if limits:
            raise self._unavailable(min(limits, key=lambda limit: limit.until))
        raise refusals[0]

    def send_as_app(self, request: Request) -> Response | None:
        """Send a request as the first of the fleet's Apps, whose webhook it is.

        Returns:
            The answer, unless it is a rate limit; None if the fleet has a token instead of Apps.

        Raises:
            GitHubUnavailable: as from ``send``.
            GitHubRefused: as from ``send``.
        """
        if self._app is None:
            return None
        try:
            return self._app.ask(request)
        except LimitReachedError as error:
            raise self._unavailable(error) from error

    def _by_quota_left(self, request: Request) -> list[Caller]:
        # By orders of magnitude, so that two Apps do not take turns with each request: each has
        # tokens to get. Sorting keeps those of one magnitude in their own order.
        return sorted(self._callers, key=lambda caller: -caller.left(request).bit_length())

    def _unavailable(self, limit: LimitReachedError) -> GitHubUnavailable:
        wait = max(1, math.ceil(limit.until - self._clock()))
        return GitHubUnavailable(str(limit), status=limit.status, retry_after=wait)

    def _find_runner_group(self) -> int:
        for page in range(1, _MOST_PAGES + 1):
            request = github.list_runner_groups(scope=self._scope.path, page=page)
            groups = github.read_runner_groups(self.send(request, repository=None))
            if self._runner_group in groups:
                return groups[self._runner_group]
            if len(groups) < github.PAGE_SIZE:
                break
        raise GitHubRefused(
            f"the {self._scope} has no runner group {self._runner_group!r}: make it there, or name "
            "another as runner_group",
            status=0,
        )


def _rank(scope: Scope, caller: Caller) -> bytes:
    return sha256(f"{scope.path} {caller.who}".encode()).digest()


def _authority(parameter: str) -> str | None:
    if not parameter:
        return None
    return str(client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])


def _secret(arn: str) -> Secret:
    return Secret(secrets_manager=client("secretsmanager"), secret_arn=arn)


def _app_token(app: App) -> AppToken:
    key = (
        KmsKey(kms=client("kms"), key_id=app.kms_key_id)
        if app.kms_key_id
        else PemKey(_secret(app.private_key_secret_arn))
    )
    return AppToken(app_id=app.app_id, key=key)
