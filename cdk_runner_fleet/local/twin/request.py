"""One request to the twin, and which function answers it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from cdk_runner_fleet.local.twin.askers import Asker

__all__ = ["Answer", "RefusalError", "Request", "Route", "found", "routes"]

Answer = tuple[int, Any]
_T = TypeVar("_T")
_SCOPE = r"(?P<scope>/repos/[^/]+/[^/]+|/orgs/[^/]+|/enterprises/[^/]+)"
_REPOSITORY = r"(?P<scope>/repos/[^/]+/[^/]+)"


class RefusalError(Exception):
    """An answer other than success; with status 0 none at all."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


@dataclass(kw_only=True)
class Request:
    """A request as it came.

    Attributes:
        method: its HTTP method.
        path: its path, without a slash at the end.
        query: its query parameters.
        headers: its headers.
        body: its body.
        asker: who asks; nobody in particular until that was looked at.
        scope: the repository, organization or enterprise that it is about, in lower case.
        answer_headers: what its answer has besides the usual headers.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Message
    body: bytes
    asker: Asker = field(default_factory=lambda: Asker(name="stranger"))
    scope: str = ""
    answer_headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, method: str, target: str, headers: Message, body: bytes) -> Request:
        """The request of a request line's target."""
        url = urlsplit(target)
        return cls(
            method=method,
            path=url.path.rstrip("/"),
            query=parse_qs(url.query),
            headers=headers,
            body=body,
        )

    def json(self) -> dict[str, Any]:
        """The body; raises RefusalError if it is no JSON object."""
        try:
            body = json.loads(self.body)
        except ValueError as error:
            raise RefusalError(400, "Problems parsing JSON") from error
        if not isinstance(body, dict):
            raise RefusalError(400, "Body should be a JSON object")
        return body

    def page(self, key: str, items: list[dict[str, Any]]) -> Answer:
        """The page of a list that is asked for; raises RefusalError if that is none."""
        try:
            size = min(max(int(self.query.get("per_page", ["30"])[0]), 1), 100)
            page = max(int(self.query.get("page", ["1"])[0]), 1)
        except ValueError as error:
            raise RefusalError(422, "per_page and page must be numbers") from error
        first = (page - 1) * size
        return 200, {"total_count": len(items), key: items[first : first + size]}


def found(things: Mapping[int, _T], number: int) -> _T:
    """The one of that number; raises RefusalError if there is none."""
    if number not in things:
        raise RefusalError(404, "Not Found")
    return things[number]


@dataclass(frozen=True)
class Route:
    """A method and a path, and the function that answers: of GitHub, the request and the path."""

    method: str
    path: re.Pattern[str]
    answer: Callable[..., Answer]

    def match(self, request: Request) -> dict[str, Any] | None:
        """What the path names, ids as numbers; None if this is not the request's route."""
        match = self.path.fullmatch(request.path)
        if match is None or self.method != request.method:
            return None
        return {
            key: int(value) if key.endswith("_id") else value
            for key, value in match.groupdict().items()
        }


def routes(*table: tuple[str, str, Callable[..., Answer]]) -> tuple[Route, ...]:
    """Routes of methods, paths and functions; ``{scope}`` and ``{repository}`` stand for any."""
    return tuple(
        Route(
            method,
            re.compile(path.replace("{scope}", _SCOPE).replace("{repository}", _REPOSITORY)),
            answer,
        )
        for method, path, answer in table
    )
