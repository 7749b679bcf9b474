"""Asks GitHub with one credential and keeps to the limits that GitHub sets for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from fleet_runtime.github.credentials import Credential
from fleet_runtime.github.etags import Etags
from fleet_runtime.github.message import Request, Response
from fleet_runtime.github.rate_limits import Allowance, Quota, read_quota
from fleet_runtime.github.transport import Transport
from fleet_runtime.observability import measure

_REPORT_SECONDS = 60
"""How often a metric says what is left: CloudWatch's own resolution."""

T = TypeVar("T")


class Caller:
    """Asks with a credential.

    Args:
        credential: Who asks.
        transport: The line to GitHub.
        etags: What GitHub said before. Default: nothing is kept.
        clock: Epoch seconds. Default: the system's.
    """

    def __init__(
        self,
        *,
        credential: Credential,
        transport: Transport,
        etags: Etags | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.who = credential.who
        self._credential = credential
        self._transport = transport
        self._etags = etags
        self._clock = clock
        self._allowance = Allowance()
        self._reported: dict[str, float] = {}

    def left(self, request: Request[Any]) -> int:
        """How many requests of this kind are left."""
        return self._allowance.left(request, now=self._clock())

    def call(self, request: Request[T]) -> T:
        """Ask, within the limits, for what may have changed, and note what the answer says of both.

        Returns:
            What the answer is read as.

        Raises:
            LimitReachedError: GitHub does not want to be asked now; if it had said so before, it
                was not.
            CredentialsError: there is no credential.
            GitHubUnavailable: there is no answer, or it cannot be read.
            GitHubRefused: it is a refusal.
        """
        self._allowance.check(request, now=self._clock())
        said = self._etags.known(request) if self._etags else None
        etag = said.etag if said else ""
        response = self._transport.send(request, token=self._credential.token(), etag=etag)
        if response.status == 401:
            # it may have been replaced, or revoked, since this process got it
            self._credential.renew()
            response = self._transport.send(request, token=self._credential.token(), etag=etag)
        # what a 401 says of a quota is the address's, not the credential's
        if response.status != 401:
            self._note(request, response)
        if said and response.status == 304:
            answer: T = said.answer
            return answer
        answer = request.read(response)
        if self._etags:
            self._etags.keep(request, response, answer=answer)
        return answer

    def _note(self, request: Request[Any], response: Response) -> None:
        quota = read_quota(response)
        if quota:
            self._report(quota)
        self._allowance.note(request, response, quota=quota, now=self._clock())

    def _report(self, quota: Quota) -> None:
        who = self.who if quota.resource == "core" else f"{self.who}/{quota.resource}"
        now = self._clock()
        if now - self._reported.get(who, float("-inf")) >= _REPORT_SECONDS:
            self._reported[who] = now
            measure({"GitHubQuotaLeft": quota.left}, by={"who": who})
