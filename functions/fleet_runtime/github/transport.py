"""The only socket to GitHub."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from fleet_runtime.github.message import GitHubUnavailable, Request, Response, headers

TIMEOUT_SECONDS = 8.0
"""For one request that does not say how long it may take."""
_SHORTEST_SECONDS = 0.5
"""Less than a request to a server nearby takes: it is not begun."""
_LARGEST_ANSWER = 4 * 1024 * 1024
_CHUNK = 64 * 1024


class Transport:
    """Sends requests to GitHub, or to a server that speaks its API.

    Args:
        api_url: ``https://api.github.com``, ``https://api.<name>.ghe.com``, a GHES server's
            ``https://host/api/v3``, or plain http.
        timeout: Seconds that one request may take which does not say so itself.
        ca: PEM text of the only certificate authorities to trust. Default: the system's.

    Raises:
        ValueError: if the URL is none, or ``ca`` holds no certificate.
    """

    def __init__(
        self, *, api_url: str, timeout: float = TIMEOUT_SECONDS, ca: str | None = None
    ) -> None:
        parts = urlsplit(api_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"github_api_url is {api_url!r}, use an http or https URL")
        self._is_secure = parts.scheme == "https"
        self._tls = _tls(ca) if self._is_secure else None
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout
        self._deadline = float("inf")

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Let all requests inside the block together take no longer than this."""
        before = self._deadline
        self._deadline = min(before, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._deadline = before

    def send(self, request: Request[Any], *, token: str, etag: str = "") -> Response:
        """Send one request.

        Args:
            request: The request.
            token: Who asks.
            etag: Of an earlier answer; a 304 comes if it still holds. Default: none.

        Raises:
            GitHubUnavailable: if there is no answer, or no time left to ask.
        """
        now = time.monotonic()
        if self._deadline - now < _SHORTEST_SECONDS:
            raise GitHubUnavailable("no time is left to ask GitHub")
        end = min(self._deadline, now + (request.seconds or self._timeout))
        connection = self._connection(end - now)
        try:
            connection.connect()
            connection.sock.settimeout(_left(end))
            connection.request(
                request.method,
                self._prefix + request.path,
                body=request.body,
                headers=headers(request, token=token, etag=etag),
            )
            answer = connection.getresponse()
            body = _read(answer, connection, end=end)
            return Response(
                status=answer.status,
                headers={name.lower(): value for name, value in answer.getheaders()},
                body=body,
                is_cut=len(body) >= _LARGEST_ANSWER,
            )
        except (OSError, http.client.HTTPException) as error:
            raise GitHubUnavailable(_reason(error)) from error
        finally:
            connection.close()

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=self._tls
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)


def _tls(ca: str | None) -> ssl.SSLContext:
    try:
        if ca is not None and not ca.strip():
            raise ValueError("it is empty")
        # with cadata Python loads no other authorities
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"github_ca holds no PEM certificate: {error}") from error


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _read(
    answer: http.client.HTTPResponse, connection: http.client.HTTPConnection, *, end: float
) -> bytes:
    """Read the body; a socket's own timeout begins anew with each byte."""
    chunks, size = [], 0
    while size < _LARGEST_ANSWER:
        if connection.sock:  # gone where the answer ends with the connection
            connection.sock.settimeout(_left(end))
        chunk = answer.read1(_CHUNK)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def _reason(error: Exception) -> str:
    text = f"GitHub cannot be reached: {type(error).__name__}: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        text += " (a server with a private certificate authority needs it as github_ca)"
    return text
