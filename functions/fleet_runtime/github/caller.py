"""Asks GitHub with one credential and keeps to the limits that GitHub sets for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet_runtime.github.credentials import Credential
from fleet_runtime.github.message import Request, Response
from fleet_runtime.github.rate_limits import Allowance, read_quota
from fleet_runtime.github.transport import Transport
from fleet_runtime.observability import gauge

_REPORT_SECONDS = 60
"""How often a metric says what is left: CloudWatch's own resolution."""


class Caller:
    """Sends requests with a credential.

    Args:
        credential: Who asks.
        transport: The line to GitHub.
        clock: Epoch seconds. Default: the system's.
    """

    def __init__(
        self,
        *,
        credential: Credential,
        transport: Transport,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.who = credential.who
        self._credential = credential
        self._transport = transport
        self._clock = clock
        self._allowance = Allowance()
        self._reported: dict[str, float] = {}

    def left(self, request: Request) -> int:
        """How many requests of this kind are left."""
        return self._allowance.left(request, now=self._clock())

    def ask(self, request: Request) -> Response:
        """Send a request.

        Raises:
            LimitReachedError: GitHub does not want to be asked now; if it had said so before, it
                was not.
            GitHubUnavailable: there is no answer.
            GitHubRefused: there is no credential.
        """
        self._allowance.check(request, now=self._clock())
        response = self._transport.send(request, token=self._credential.token())
        if response.status == 401:
            # it may have been replaced, or revoked, since this process got it
            self._credential.forget()
            response = self._transport.send(request, token=self._credential.token())
        if response.status == 401:
            # what it says of a quota is the address's, not the credential's
            return response
        self._report(response)
        self._allowance.note(request, response, now=self._clock())
        return response

    def _report(self, response: Response) -> None:
        quota = read_quota(response)
        if quota is None:
            return
        who = self.who if quota.resource == "core" else f"{self.who}/{quota.resource}"
        now = self._clock()
        if now - self._reported.get(who, float("-inf")) >= _REPORT_SECONDS:
            self._reported[who] = now
            gauge("GitHubQuotaLeft", quota.left, who=who)
