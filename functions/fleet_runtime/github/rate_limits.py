"""GitHub's rate limits: what answers say of them, and what is left to whom. Pure.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api: a primary limit
counts requests an hour, a secondary one guards GitHub against bursts. Both come as 403 or 429.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fleet_runtime.github.message import Request, Response, short_message

USUAL_QUOTA = 5000
"""Requests an hour that an installation or a token has at least."""
_KINDS = {True: "primary", False: "secondary"}
_ALL = ""
"""Stands for every resource."""
_PAUSE_SECONDS = 60
"""What GitHub's documentation asks for where its answer says nothing."""


class LimitReachedError(Exception):
    """GitHub does not want to be asked before ``until`` (epoch seconds).

    Attributes:
        status: HTTP status of the answer that said so.
        until: Epoch seconds.
        is_primary: Whether it counts requests of one resource; any other is for all requests.
    """

    def __init__(self, message: str, *, status: int, until: float, is_primary: bool) -> None:
        super().__init__(message)
        self.status = status
        self.until = until
        self.is_primary = is_primary


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What is left of a primary limit.

    Attributes:
        left: Requests.
        resource: Which of GitHub's budgets it is, most often ``core``.
        resets_at: Epoch seconds.
    """

    left: int
    resource: str
    resets_at: float


def read_quota(response: Response) -> Quota | None:
    """Read what an answer says of the primary limit, if anything."""
    left, reset = (response.headers.get(f"x-ratelimit-{key}", "") for key in ("remaining", "reset"))
    if not left.isdecimal() or not reset.isdecimal():
        return None
    resource = response.headers.get("x-ratelimit-resource", "core")
    return Quota(left=int(left), resource=resource, resets_at=float(reset))


def read_limit(response: Response, *, quota: Quota | None, now: float) -> LimitReachedError | None:
    """Read an answer that was refused because of a limit; None for any other answer.

    Args:
        response: The answer.
        quota: What it says of the primary limit.
        now: Epoch seconds.
    """
    message = short_message(response)
    after = response.headers.get("retry-after", "")
    is_spent = response.headers.get("x-ratelimit-remaining") == "0"
    # a 403 with none of these is a missing permission
    is_limit = after.isdecimal() or is_spent or "rate limit" in message.lower()
    if not (
        response.status == 429
        or (response.status == 403 and is_limit)
        or (response.status == 503 and after.isdecimal())
    ):
        return None
    if after.isdecimal():
        until = now + int(after)
    elif is_spent and quota:
        until = max(quota.resets_at, now + 1)
    else:
        until = now + _PAUSE_SECONDS
    is_primary = is_spent and response.status != 503 and "secondary" not in message.lower()
    kind = "outage" if response.status == 503 else f"{_KINDS[is_primary]} rate limit"
    text = f"{kind} until {_time(until)}: GitHub answered {response.status}: {message}"
    return LimitReachedError(text, status=response.status, until=until, is_primary=is_primary)


class Allowance:
    """What GitHub still lets one token or App do, as far as this process has been told."""

    def __init__(self) -> None:
        self._quotas: dict[str, Quota] = {}
        self._limits: dict[str, LimitReachedError] = {}
        # what a kind of request counts on, by whether it is a registration
        self._resources = {False: "core", True: "actions_runner_registration"}

    def left(self, request: Request[Any], *, now: float) -> int:
        """How many requests of this kind are left, and the usual number until that is known."""
        if self._limit(request, now=now):
            return 0
        quota = self._quotas.get(self._resource(request))
        return quota.left if quota and now < quota.resets_at else USUAL_QUOTA

    def check(self, request: Request[Any], *, now: float) -> None:
        """Raise LimitReachedError if GitHub does not want such a request now."""
        if limit := self._limit(request, now=now):
            raise LimitReachedError(
                f"not asked, {limit}", status=limit.status, until=limit.until, is_primary=False
            )

    def note(
        self, request: Request[Any], response: Response, *, quota: Quota | None, now: float
    ) -> None:
        """Remember what an answer says; raises LimitReachedError if it was refused for a limit."""
        limit = read_limit(response, quota=quota, now=now)
        if quota:
            self._resources[_is_registration(request)] = quota.resource
            self._quotas[quota.resource] = quota
        if limit:
            self._limits[self._resource(request) if limit.is_primary else _ALL] = limit
            raise limit
        if quota and quota.left == 0:
            self._limits[quota.resource] = LimitReachedError(
                f"primary rate limit until {_time(quota.resets_at)}: no request is left",
                status=response.status,
                until=quota.resets_at,
                is_primary=True,
            )

    def _limit(self, request: Request[Any], *, now: float) -> LimitReachedError | None:
        limits = [self._limits.get(key) for key in (_ALL, self._resource(request))]
        return next((limit for limit in limits if limit and now < limit.until), None)

    def _resource(self, request: Request[Any]) -> str:
        return self._resources[_is_registration(request)]


def _is_registration(request: Request[Any]) -> bool:
    # GET /rate_limit has a budget of its own for these; a server without says so when asked
    return request.path.endswith("/generate-jitconfig")


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
