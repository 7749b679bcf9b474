"""Answers of GitHub's that cost nothing while nothing changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet_runtime.github.message import Request, Response


@dataclass(frozen=True, kw_only=True)
class Said:
    """What an answer was read as, and the ETag to ask with whether it still holds."""

    etag: str
    answer: Any


class Etags:
    """What GitHub said last, by path: what is asked there is always read alike.

    Kept in the process: its container lives on between two runs of a schedule, and a new one only
    asks once without them. A 304 does not count against the primary rate limit
    (https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
    """

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}

    def known(self, request: Request[Any]) -> Said | None:
        """What was answered to this request, if it only reads and was answered with an ETag."""
        return self._said.get(request.path) if request.method == "GET" else None

    def keep(self, request: Request[Any], response: Response, *, answer: object) -> None:
        """Keep what an answer was read as."""
        etag = response.headers.get("etag", "")
        if etag and request.method == "GET":
            self._said[request.path] = Said(etag=etag, answer=answer)

    def forget(self) -> None:
        """Ask for everything anew; what is no longer asked for is kept until then."""
        self._said = {}
