"""The twin's HTTP side: who may ask, who answers, and the runners' sessions.

GitHub's routes answer with the status codes its documentation gives. Those below `/_twin/` are the
twin's own, see `api.control`, and ask for the control token: who queues a workflow there has a
shell of its owner. `GET /_twin/runners/{id}/session` turns into a runner's session and asks for
that runner's own token.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cdk_runner_fleet._terminal import shown_lines
from cdk_runner_fleet.local import guard
from cdk_runner_fleet.local.twin.api import ROUTES
from cdk_runner_fleet.local.twin.faults import ApiFault
from cdk_runner_fleet.local.twin.github import GitHub
from cdk_runner_fleet.local.twin.request import Answer, RefusalError, Request
from cdk_runner_fleet.local.twin.session import Sessions

__all__ = ["Handler", "TwinServer"]

IDLE_SECONDS = 30.0  # a kept-alive connection without a request
_SESSION = re.compile(r"/_twin/runners/(?P<runner_id>\d+)/session")


class TwinServer(ThreadingHTTPServer):
    """The listening socket, and the sessions to end with it.

    Attributes:
        github: who answers; to be set before it serves.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256  # a hundred runners knock at once
    github: GitHub

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sessions = Sessions()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Tell of an answer that failed, as far as a terminal may hear of it."""
        sys.stderr.write(shown_lines(traceback.format_exc()))


class Handler(BaseHTTPRequestHandler):
    server: TwinServer
    protocol_version = "HTTP/1.1"
    server_version = "github-twin"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        request = Request.read(self.command, self.path, self.headers, self.rfile.read(length))
        session = _SESSION.fullmatch(request.path)
        refusal = guard.from_elsewhere(self.headers.items(), port=self.server.server_port)
        if refusal:
            self._refuse(request, RefusalError(403, refusal))
        elif session and request.method == "GET":
            self._hold_session(request, int(session["runner_id"]))
        else:
            self._serve(request)

    do_POST = do_DELETE = do_GET  # noqa: N815  (the base class's names)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the fleet's own output is what a user wants to see."""

    def _hold_session(self, request: Request, runner_id: int) -> None:
        self.close_connection = True
        self.server.sessions.hold(
            self.server.github.board,
            runner_id=runner_id,
            token=(request.headers.get("Authorization") or "").removeprefix("Bearer "),
            connection=self.connection,
            lines=self.rfile,
        )

    def _serve(self, request: Request) -> None:
        github = self.server.github
        try:
            lost = _admit(github, request)
            with github.board.lock:
                status, answer = _find_answer(github, request)
            headers: Mapping[str, str] = request.answer_headers
            if lost:
                raise _scripted(lost)
        except RefusalError as refusal:
            self._refuse(request, refusal)
            return
        self._answer(request, status, answer, headers)

    def _refuse(self, request: Request, refusal: RefusalError) -> None:
        if not refusal.status:
            self.close_connection = True
            return
        answer = {
            "message": str(refusal),
            "documentation_url": "https://docs.github.com/rest",
            "status": str(refusal.status),
        }
        self._answer(request, refusal.status, answer, refusal.headers)

    def _answer(
        self, request: Request, status: int, answer: Any, headers: Mapping[str, str]
    ) -> None:
        body = b"" if status == HTTPStatus.NO_CONTENT else json.dumps(answer).encode()
        tag = {}
        if request.method == "GET" and status == HTTPStatus.OK:
            tag = {"ETag": f'W/"{hashlib.sha256(body).hexdigest()}"'}
            if request.headers.get("If-None-Match") == tag["ETag"]:
                status, body = HTTPStatus.NOT_MODIFIED, b""
                request.asker.hour.used -= 1  # it does not count against the primary rate limit
        headers = {
            **self.server.github.quota_headers(request.asker),
            **tag,
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(body)),
            **headers,
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _admit(github: GitHub, request: Request) -> ApiFault | None:
    """Find out who asks, and whether they may; returns a fault that loses the answer.

    Raises:
        RefusalError: they may not, or a fault comes first.
    """
    authorization = request.headers.get("Authorization") or ""
    if request.path.startswith("/_twin/"):
        if not guard.is_bearer(authorization, github.control_token):
            raise RefusalError(401, "Give the control token as bearer: the ready line has it")
        return None
    fault = github.api_faults.take(request.method, request.path)
    if fault and not fault.applied:
        raise _scripted(fault)
    asker = github.askers.find(authorization)
    if asker is None:
        raise RefusalError(401, "Bad credentials")
    request.asker = asker
    github.requests_served += 1
    asker.hour.count()
    if asker.hour.used > github.requests_an_hour:
        raise RefusalError(403, f"API rate limit exceeded for {asker.name}.")
    if not asker.may(request.method, request.path):
        status, message = (403, "Resource not accessible by integration")
        if request.path.startswith("/app") or request.path.endswith("/installation"):
            status, message = 401, "A JSON web token could not be decoded"
        raise RefusalError(status, message)
    return fault


def _find_answer(github: GitHub, request: Request) -> Answer:
    for route in ROUTES:
        named = route.match(request)
        if named is not None:
            if "scope" in named:
                request.scope = named.pop("scope").casefold()
                if request.scope not in github.scopes:
                    raise RefusalError(404, "Not Found")
            return route.answer(github, request, **named)
    raise RefusalError(404, "Not Found")


def _scripted(fault: ApiFault) -> RefusalError:
    return RefusalError(fault.status, fault.message, fault.headers)
