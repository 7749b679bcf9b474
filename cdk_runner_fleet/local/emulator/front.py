"""The HTTP door: ministack's application behind the emulator's own few routes and refusals.

Behind it are two things: the HTTP APIs of the stack, which are open as on AWS, and AWS's own API,
of which each call is signed. Whatever else ministack serves is not there: it asks nobody who he is.
"""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ministack import app as ministack_app
from ministack.core import iam_actions
from ministack.core.responses import error_response_json, request_scope
from ministack.core.router import detect_service, extract_access_key_id

from cdk_runner_fleet.local import guard

from . import access, upstream
from .credentials import TaskCredentials
from .engine import Engine
from .faults import Faults, Rule
from .functions import Functions
from .options import ACCOUNT, REGION, Options
from .tasks import Tasks
from .usage import Usage

Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
_FLEET = "/_fleet/"
_NO_SUCH_PATHS = ("/_ministack/", "/_localstack/")
_CORS = b"access-control-"


def resident_mb() -> float:
    """This process's memory now, in MB (its peak where /proc is missing)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Front:
    """``/_fleet/…`` and what is looked at before a service answers.

    Attributes:
        control_token: what a request to ``/_fleet/…`` has to bear.
    """

    def __init__(
        self,
        options: Options,
        *,
        engine: Engine,
        functions: Functions,
        tasks: Tasks,
        faults: Faults,
        usage: Usage,
    ) -> None:
        self.control_token = guard.new_token()
        self._port = options.port
        self._engine = engine
        self._functions = functions
        self._tasks = tasks
        self._faults = faults
        self._usage = usage
        self._upstream_dispatch: Any = None

    async def application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """ASGI entry point."""
        if scope["type"] == "lifespan":
            await ministack_app.app(scope, receive, send)
        elif scope["type"] == "websocket":  # the fleet has none, and of browsers they ask nothing
            await send({"type": "websocket.close", "code": 1008})
        elif refusal := self._refusal(scope):
            await _say(send, *refusal)
        elif scope["path"].startswith(TaskCredentials.PATH):
            given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            await _say(send, *self._tasks.credentials.answer(scope["path"], given))
        elif scope["path"].startswith(_FLEET):
            await self._serve_own(scope, receive, send)
        else:
            # Every AWS endpoint is HTTPS: policies ask for it, and HTTP APIs tell functions so.
            headers = [*scope["headers"], (b"x-forwarded-proto", b"https")]
            await ministack_app.app({**scope, "headers": headers}, receive, _without_cors(send))

    def _refusal(self, scope: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The answer to a request that nobody here is to see, or None."""
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        if reason := guard.from_elsewhere(headers, port=self._port):
            return 403, {"message": reason}
        if scope["path"].startswith(_NO_SUCH_PATHS):
            return 404, {"message": f"no {scope['path']}"}
        bears = dict(headers).get("authorization", "")
        if scope["path"].startswith(_FLEET) and not guard.is_bearer(bears, self.control_token):
            return 401, {"message": "give the control token as bearer: the ready line has it"}
        return None

    async def _serve_own(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await _say(send, *self._own(scope["method"], scope["path"].removeprefix(_FLEET), body))

    def _own(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        match method, path:
            case "GET", "stats":
                return 200, {
                    "invocations": dict(self._functions.invocations),
                    "invocations_running": self._functions.running,
                    "function_api_calls": dict(self._functions.api_calls),
                    "requests": dict(self._usage.requests),
                    "write_units": dict(self._usage.write_units),
                    "read_units": dict(self._usage.read_units),
                    "transitions": self._engine.transitions,
                    "executions_running": self._engine.running,
                    "threads": threading.active_count(),
                    "rss_mb": round(resident_mb(), 1),
                }
            case "GET", "faults":
                return 200, {"faults": self._faults.listing()}
            case "DELETE", "faults":
                self._faults.clear(json.loads(body)["match"] if body else None)
                return 200, {"faults": self._faults.listing()}
            case "POST", "faults":
                return self._add_fault(body)
            case _:
                return 404, {"message": f"no {method} /_fleet/{path}"}

    def _add_fault(self, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            rule = Rule(**json.loads(body))
        except (TypeError, ValueError) as error:
            return 400, {"message": str(error)}
        if rule.on == "running_task":
            reason = rule.reason or "Your Spot Task was interrupted."
            with request_scope(ACCOUNT, REGION):
                hit = self._tasks.interrupt(rule.texts, code=rule.outcome, reason=reason)
            return 200, {"task_arns": hit}
        return 201, {"place": self._faults.add(rule)}

    async def dispatch(  # noqa: PLR0917 - upstream's signature
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query_params: dict[str, Any],
        request_id: str,
    ) -> Any:
        """An AWS API call, by a function or by anybody else."""
        return await self._functions.serve(
            extract_access_key_id(headers, query_params),
            lambda: self._answer(method, path, headers, body, query_params, request_id),
        )

    async def _answer(  # noqa: PLR0917 - upstream's order
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query_params: dict[str, Any],
        request_id: str,
    ) -> Any:
        """Faults that were asked for and iam:PassRole, then ministack."""
        routing = ministack_app._routing_params(method, path, headers, body, query_params)
        service = detect_service(method, path, headers, routing)
        action = iam_actions.extract_iam_action(service, method, path, headers, body, routing)
        if action is not None:
            self._usage.requests[action] += 1
            text = body.decode(errors="replace")
            fault = self._faults.take(action, text, outcomes=("error", "held"))
            if fault is not None and fault.outcome == "held":
                await self._faults.release(fault)
            elif fault is not None:
                return error_response_json(fault.code, fault.message, fault.status)
            for refused in (
                access.pass_role_refusal,
                access.tag_refusal,
                access.parameter_refusal,
            ):
                refusal = refused(action, headers, query_params, body)
                if refusal is not None:
                    return refusal
        return await self._upstream_dispatch(method, path, headers, body, query_params, request_id)


async def _say(send: Any, status: int, answer: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def _without_cors(send: Any) -> Any:
    """Leave out what would let a page in a browser read the answer."""

    async def told(message: dict[str, Any]) -> None:
        headers = [
            (name, value)
            for name, value in message.get("headers", [])
            if not name.lower().startswith(_CORS)
        ]
        await send({**message, "headers": headers} if "headers" in message else message)

    return told


async def _nothing(*_: Any) -> None:
    """No answer: the next who may have one is asked."""


async def _invoke_api(  # noqa: PLR0917 - upstream's signature
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query_params: dict[str, Any],
    _request_id: str,
    raw_path: str | None = None,
    raw_query_string: str = "",
    **_: Any,
) -> Any:
    """An HTTP API's answer, if the request is to one."""
    return await ministack_app._handle_execute_api_request(
        headers["host"], path, method, headers, body, query_params,
        raw_path=raw_path, raw_query_string=raw_query_string,
    )  # fmt: skip


def _leave_out_side_doors() -> None:
    """Take away what ministack answers before it looks at a signature.

    Its health, resets and downloads, the pages of services that the fleet has nothing of, and the
    addresses of their data.
    """
    request = ("method", "path", "headers", "body", "query_params", "request_id")
    upstream.replace(
        ministack_app,
        "_handle_pre_body_request",
        _nothing,
        takes=tuple(name for name in request if name != "body"),
    )
    upstream.replace(ministack_app, "_handle_post_body_shortcuts", _nothing, takes=request)
    upstream.replace(
        ministack_app,
        "_handle_special_data_plane_request",
        _invoke_api,
        takes=(*request, "raw_path", "raw_query_string", "client_ip"),
    )
    # a path without a route is not found, whoever asks; ministack asks for a signature first
    known = upstream.replace(
        ministack_app,
        "_execute_api_authorization_type",
        lambda *route: known(*route) or "NONE",
        takes=("api_id", "stage", "method", "execute_path"),
    )


def install(
    options: Options,
    *,
    engine: Engine,
    functions: Functions,
    tasks: Tasks,
    faults: Faults,
    usage: Usage,
) -> Front:
    """Stand before ministack's services; returns the ASGI application's owner."""
    front = Front(
        options, engine=engine, functions=functions, tasks=tasks, faults=faults, usage=usage
    )
    _leave_out_side_doors()
    front._upstream_dispatch = upstream.replace(
        ministack_app,
        "_dispatch_service_request",
        front.dispatch,
        takes=("method", "path", "headers", "body", "query_params", "request_id"),
    )
    return front
