"""The HTTP door: ministack's application behind the emulator's own few routes and refusals."""

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

from . import access, upstream
from .engine import Engine
from .faults import Faults, Rule
from .functions import Functions
from .options import ACCOUNT, REGION
from .tasks import Tasks
from .usage import Usage

Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
_FLEET = "/_fleet/"


def resident_mb() -> float:
    """This process's memory now, in MB (its peak where /proc is missing)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Front:
    """``/_fleet/…`` and what is looked at before a service answers."""

    def __init__(
        self, *, engine: Engine, functions: Functions, tasks: Tasks, faults: Faults, usage: Usage
    ) -> None:
        self._engine = engine
        self._functions = functions
        self._tasks = tasks
        self._faults = faults
        self._usage = usage
        self._upstream_dispatch: Any = None

    async def application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """ASGI entry point."""
        if scope["type"] != "http" or not scope["path"].startswith(_FLEET):
            # Every AWS endpoint is HTTPS: policies ask for it, and HTTP APIs tell functions so.
            headers = [*scope.get("headers", []), (b"x-forwarded-proto", b"https")]
            await ministack_app.app({**scope, "headers": headers}, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        status, answer = self._own(scope["method"], scope["path"].removeprefix(_FLEET), body)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

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
            for refused in (access.pass_role_refusal, access.tag_refusal):
                refusal = refused(action, headers, query_params, body)
                if refusal is not None:
                    return refusal
        return await self._upstream_dispatch(method, path, headers, body, query_params, request_id)


def install(
    *, engine: Engine, functions: Functions, tasks: Tasks, faults: Faults, usage: Usage
) -> Front:
    """Stand before ministack's services; returns the ASGI application's owner."""
    front = Front(engine=engine, functions=functions, tasks=tasks, faults=faults, usage=usage)
    front._upstream_dispatch = upstream.replace(
        ministack_app,
        "_dispatch_service_request",
        front.dispatch,
        takes=("method", "path", "headers", "body", "query_params", "request_id"),
    )
    return front
