"""Lists at GitHub that cost nothing while nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from fleet_runtime.github.message import Request, Response

T = TypeVar("T")
Send = Callable[[Request], Response]


class Pages:
    """What GitHub's lists said last, with the ETags to ask whether they still say it.

    Kept in the process: its container lives on between two runs of a schedule, and a new one only
    asks once without them. A 304 does not count against the primary rate limit
    (https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Any]] = {}

    def get(self, request: Request, *, send: Send, read: Callable[[Response], T]) -> T:
        """Ask for a page and read it; raises what ``send`` and ``read`` do."""
        etag, value = self._kept.get(request.path, ("", None))
        response = send(replace(request, etag=etag))
        if response.status != 304:
            etag, value = response.headers.get("etag", ""), read(response)
        if etag:
            self._kept[request.path] = (etag, value)
        read_value: T = value
        return read_value

    def forget(self) -> None:
        """Ask for everything anew; what is no longer asked for is kept until then."""
        self._kept = {}
