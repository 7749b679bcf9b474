"""The only socket to GitHub."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from fleet_runtime.github import GitHubUnavailable, Request, Response, headers

TIMEOUT_SECONDS = 8.0
"""For one request: a claim makes two or three of them within a Lambda's 30 s."""
_LARGEST_ANSWER = 4 * 1024 * 1024


class Transport:
    """Sends requests to GitHub, or to a server that speaks its API.

    Args:
        api_url: ``https://api.github.com``, a GHES server's ``https://host/api/v3``, or plain http.
        timeout: Seconds that connecting, and each read, may take.
    """

    def __init__(self, *, api_url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(api_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"github_api_url is {api_url!r}, use an http or https URL")
        self._connect = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout

    def send(self, request: Request, *, token: str) -> Response:
        """Send one request.

        Raises:
            GitHubUnavailable: if there is no answer.
        """
        connection = self._connect(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(
                request.method,
                self._prefix + request.path,
                body=request.body,
                headers=headers(token=token),
            )
            answer = connection.getresponse()
            return Response(
                status=answer.status,
                headers={name.lower(): value for name, value in answer.getheaders()},
                body=answer.read(_LARGEST_ANSWER),
            )
        except (OSError, http.client.HTTPException) as error:
            raise GitHubUnavailable(
                f"GitHub cannot be reached: {type(error).__name__}: {error}"
            ) from error
        finally:
            connection.close()
