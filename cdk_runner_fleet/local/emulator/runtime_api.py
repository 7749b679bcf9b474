"""The Lambda Runtime API for all workers, in one thread.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html: a worker asks ``/next``, gets one
event, posts its response or error, and asks again. Each worker has a port of its own, which is how
the server knows who asks. There is nothing that a runtime could prove itself with, so on Linux the
socket's owner has to be the emulator's own user.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cdk_runner_fleet.local import guard

_T = TypeVar("_T")
_PREFIX = "/2018-06-01/runtime/"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One event on its way through a worker."""

    request_id: str
    event: bytes
    deadline_ms: int
    function_arn: str
    result: Future[Result] = field(default_factory=Future, compare=False)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a worker answered: the payload, and whether it is an error's."""

    payload: bytes
    failed: bool


class Desk:
    """Where one worker gets its events and hands in its results."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: asyncio.Queue[Call] = asyncio.Queue()
        self._in_work: Call | None = None
        self._server: asyncio.Server | None = None
        self._port = 0
        self._serving: set[asyncio.Task[Any]] = set()
        self.init_error: Future[bytes] = Future()
        self.ready: Future[None] = Future()

    async def open(self) -> int:
        """Listen on a free loopback port and return it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self._port

    async def close(self) -> None:
        """Stop listening and drop the worker's connections, one that waits for an event too."""
        if self._server is not None:
            self._server.close()
        for serving in list(self._serving):
            serving.cancel()

    async def put(self, call: Call) -> None:
        """Queue an event; its ``result`` is set when the worker has answered."""
        await self._events.put(call)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving  # noqa: S101 - narrows the type
        self._serving.add(serving)
        try:
            is_own = guard.is_of_this_user(writer.get_extra_info("peername"), self._port)
            while is_own and (request := await _read_request(reader)):
                writer.write(await self._answer(*request))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the worker ended; its process is watched elsewhere
        except asyncio.CancelledError:
            pass  # the desk is closed; streams log a cancelled handler as an error
        finally:
            self._serving.discard(serving)
            writer.close()

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if guard.from_elsewhere(headers.items(), port=self._port):
            return _response(403)
        tail = path.removeprefix(_PREFIX)
        if method == "GET" and tail == "invocation/next":
            if not self.ready.done():
                self.ready.set_result(None)
            call = self._in_work = await self._events.get()
            return _response(
                200,
                call.event,
                {
                    "Lambda-Runtime-Aws-Request-Id": call.request_id,
                    "Lambda-Runtime-Deadline-Ms": str(call.deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": call.function_arn,
                },
            )
        if method == "POST" and tail == "init/error":
            self.init_error.set_result(body)
            return _response(202)
        parts = tail.split("/")
        if method == "POST" and len(parts) == 3 and parts[2] in ("response", "error"):
            done = self._in_work
            if done is None or done.request_id != parts[1]:
                return _response(400, b'{"errorType":"InvalidRequestID"}')
            self._in_work = None
            # What the handler printed lies in the pipe already: let the loop read it first.
            await asyncio.sleep(0)
            if not done.result.done():
                done.result.set_result(Result(payload=body, failed=parts[2] == "error"))
            return _response(202, b'{"status":"OK"}')
        return _response(404)


async def _read_request(
    reader: asyncio.StreamReader,
) -> tuple[str, str, dict[str, str], bytes] | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return method, path, headers, body


def _response(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    fields = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class RuntimeApi:
    """The thread with the event loop that serves every desk."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True, name="lambda-runtime").start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def open_desk(self) -> tuple[Desk, int]:
        """A desk for a new worker and its port."""
        desk = Desk(self.loop)
        return desk, self.run(desk.open())


def error_payload(error_type: str, message: str) -> bytes:
    """The body of a failed invocation that never reached the handler."""
    return json.dumps({"errorMessage": message, "errorType": error_type}).encode()
