"""GitHub's REST API without its socket: requests as values, answers as values or errors. Pure.

    GitHubError
     +-- GitHubUnavailable   not now: network, 5xx, rate limits; ask again
     +-- GitHubRefused       never like this: 401, 403, 404, 409, 422 and redirects

The class names are what the state machine retries and catches. Their text has the status and
GitHub's short message, and never anything that was sent.

What can be asked is in a module for each resource: ``jobs``, ``runners``, ``hooks``, ``checks`` and
``app``. A request there knows how its answer is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

PAGE_SIZE = 100
"""The most that GitHub puts into one page of a list."""
_SMALLER = {PAGE_SIZE: 50, 50: 25, 25: 5, 5: 1}
"""What a page that is too large is asked for in: sizes that divide each other, so that the smaller
pages begin where the large one does."""
_API_VERSION = "2022-11-28"
_RETRY_AFTER_SECONDS = 5

NO_JSON = "no JSON, as a proxy or a firewall on the way answers"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class GitHubError(Exception):
    """GitHub did not do what it was asked.

    Attributes:
        status: HTTP status, 0 where there was no answer.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class GitHubUnavailable(GitHubError):  # noqa: N818 - the name is in the state machine
    """GitHub cannot answer now; the same request may succeed later.

    Attributes:
        retry_after: Seconds to wait before asking again.
    """

    def __init__(
        self, message: str, *, status: int = 0, retry_after: int = _RETRY_AFTER_SECONDS
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class GitHubRefused(GitHubError):  # noqa: N818 - the name is in the state machine
    """GitHub will not do this, however often it is asked."""


class AnswerTooLargeError(GitHubUnavailable):
    """GitHub's answer is longer than what is read of one."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer of the REST API; header names are lower-cased.

    Attributes:
        is_cut: Whether there was more of the body than is read of one.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Request(Generic[T_co]):
    """A request to the REST API, and how its answer is read.

    Attributes:
        method: ``GET``, ``POST`` or ``DELETE``.
        path: Relative to the API's URL, with its query.
        read: Makes of the answer what was asked for; raises GitHubError if that is not in it.
        repository: ``owner/name`` of the repository that it is about; None if it is about none.
        body: JSON.
        api_version: The version of the API that the path is of.
        seconds: How long its answer may take. Default: as long as any other's.
        smaller: Asks for the first part of the same, if the answer is too large. Default: it has no
            parts.
    """

    method: str
    path: str
    read: Callable[[Response], T_co] = field(repr=False, compare=False)
    repository: str | None = None
    body: bytes | None = None
    api_version: str = _API_VERSION
    seconds: float | None = None
    smaller: Callable[[], Request[T_co]] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def get(
        cls,
        path: str,
        *,
        read: Callable[[Response], T],
        query: Mapping[str, object] | None = None,
        repository: str | None = None,
        api_version: str = _API_VERSION,
        smaller: Callable[[], Request[T]] | None = None,
    ) -> Request[T]:
        """Make a request that only reads."""
        return Request(
            method="GET",
            path=f"{path}?{urlencode(query)}" if query else path,
            read=read,
            repository=repository,
            api_version=api_version,
            smaller=smaller,
        )

    @classmethod
    def post(
        cls,
        path: str,
        *,
        read: Callable[[Response], T],
        body: Mapping[str, object] | None = None,
        repository: str | None = None,
        seconds: float | None = None,
    ) -> Request[T]:
        """Make a request that has something done."""
        return Request(
            method="POST",
            path=path,
            read=read,
            repository=repository,
            body=json.dumps(body).encode() if body is not None else None,
            seconds=seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T_co]):
    """A page of a list.

    Attributes:
        items: What is on it.
        following: Asks for the next page; None if this is the last one.
        size: How many it has room for.
    """

    items: tuple[T_co, ...]
    following: Request[Page[T_co]] | None
    size: int = PAGE_SIZE


def list_pages(
    path: str,
    *,
    read: Callable[[Response], Sequence[T]],
    query: Mapping[str, object] | None = None,
    repository: str | None = None,
    page: int = 1,
    size: int = PAGE_SIZE,
) -> Request[Page[T]]:
    """Ask for a list whose pages are numbered, beginning with the first one.

    Args:
        path: Of the list.
        read: Reads what is on a page.
        query: What the list is narrowed by.
        repository: See ``Request``.
        page: The number of the page.
        size: How many items a page has.
    """

    def another(*, page: int, size: int) -> Request[Page[T]]:
        return list_pages(path, read=read, query=query, repository=repository, page=page, size=size)

    def read_page(response: Response) -> Page[T]:
        items = tuple(read(response))
        # one that is not full is the last
        following = another(page=page + 1, size=size) if len(items) >= size else None
        return Page(items=items, following=following, size=size)

    def in_smaller_pages() -> Request[Page[T]]:
        smaller = _SMALLER[size]
        return another(page=(page - 1) * (size // smaller) + 1, size=smaller)

    return Request.get(
        path,
        read=read_page,
        query={**(query or {}), "per_page": size, "page": page},
        repository=repository,
        smaller=in_smaller_pages if size in _SMALLER else None,
    )


def headers(request: Request[Any], *, token: str, etag: str) -> dict[str, str]:
    """Return the headers that a request carries.

    Args:
        request: The request.
        token: Who asks.
        etag: The ``etag`` of an earlier answer, or nothing. If it still holds, GitHub answers 304,
            which does not count against the primary rate limit.
    """
    condition = {"if-none-match": etag} if etag else {}
    return {
        **condition,
        "accept": "application/vnd.github+json",
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "user-agent": "cdk-runner-fleet",
        "x-github-api-version": request.api_version,
    }


def expect(response: Response, *statuses: int) -> None:
    """Raise the error that an answer means unless it has one of these statuses."""
    if response.status not in statuses:
        raise failure(response)


def read_document(response: Response, *, expected: int) -> dict[str, Any]:
    """Read an answer that has to be a JSON object with this status; raises GitHubError."""
    document = read_json(response, expected=expected)
    if not isinstance(document, dict):
        raise GitHubUnavailable(
            f"GitHub answered {response.status} without a JSON object", status=response.status
        )
    return document


def read_list(response: Response, *, key: str = "") -> list[dict[str, Any]]:
    """Read an answer that has to be a list of objects with ids; raises GitHubError.

    Args:
        response: The answer.
        key: What the list is called in the document. Default: the document is the list.
    """
    listed = read_json(response, expected=200)
    if key:
        listed = listed.get(key) if isinstance(listed, dict) else None
    if not isinstance(listed, list) or not all(
        isinstance(each, dict) and isinstance(each.get("id"), int) for each in listed
    ):
        # taking half a list for a whole one would release runners that are needed
        raise GitHubUnavailable("GitHub answered 200 without the list that was asked for")
    return listed


def read_json(response: Response, *, expected: int) -> Any:
    """Read an answer that has to have this status; None if it is no JSON; raises GitHubError."""
    expect(response, expected)
    if response.is_cut:
        raise AnswerTooLargeError(
            f"GitHub's answer is over {len(response.body)} bytes long", status=response.status
        )
    return _document(response)


def failure(response: Response) -> GitHubError:
    """Make the error that an answer means. Rate limits are told from refusals before this."""
    message = f"GitHub answered {response.status}: {short_message(response)}"
    # a proxy's own page, with which it answers for GitHub
    is_page = response.status < 300 and _document(response) is None
    if response.status >= 500 or response.status in (408, 429) or is_page:
        after = response.headers.get("retry-after", "")
        seconds = int(after) if after.isdecimal() else _RETRY_AFTER_SECONDS
        return GitHubUnavailable(message, status=response.status, retry_after=seconds)
    return GitHubRefused(message, status=response.status)


def short_message(response: Response) -> str:
    """Return GitHub's own words, cut short."""
    document = _document(response)
    if document is None and response.body:
        return NO_JSON
    message = document.get("message") if isinstance(document, dict) else None
    return str(message or "no message")[:200]


def _document(response: Response) -> Any:
    try:
        return json.loads(response.body)
    except ValueError:
        return None
