"""A function's workers: processes that each run one invocation at a time, until they end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ministack.core.responses import error_response_json

from . import builds
from .faults import Faults
from .runtime_api import Call, Desk, Result, RuntimeApi, error_payload
from .zygote import Fork

# AWS gives the Init phase 10 s; a laptop with a hundred processes at work may need more.
_INIT_SECONDS = 60.0
_POLL_SECONDS = 0.05

Process = subprocess.Popen[bytes] | Fork


@dataclass(kw_only=True)
class Invocation:
    """What a worker is at.

    Attributes:
        event: its event as compact JSON, the quotes of a body in it not escaped; after that of a
            build's end the build's variables, for CodeBuild's event does not say what was built.
        calls: AWS API calls made so far.
    """

    event: str
    calls: int = 0


class Worker:
    """One execution environment: a process, its desk and what it printed."""

    def __init__(
        self,
        *,
        api: RuntimeApi,
        start: Callable[[dict[str, str]], Process],
        config: dict[str, Any],
        environment: dict[str, str],
        log_file: Path,
        faults: Faults,
    ) -> None:
        self._api = api
        self._config = config
        self._faults = faults
        self._invocation: Invocation | None = None
        self.access_key_id = environment["AWS_ACCESS_KEY_ID"]
        self.function_name: str = config["FunctionName"]
        self._lines: list[str] = []
        self._log_file = log_file.open("a")
        self.desk: Desk
        self.desk, port = api.open_desk()
        self._process = start({**environment, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}"})
        api.run(self._collect_output())

    async def _collect_output(self) -> None:
        reader = asyncio.StreamReader(limit=2**20)
        await self._api.loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )

        async def read() -> None:
            while line := await reader.readline():
                text = line.decode(errors="replace").rstrip("\n")
                self._lines.append(text)
                self._log_file.write(text + "\n")
                self._log_file.flush()

        self._reading = self._api.loop.create_task(read())

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def take_log(self) -> str:
        lines, self._lines = self._lines, []
        return "\n".join(lines)

    def boot(self, request_id: str) -> Result | None:
        """Wait for the Init phase; the error to answer with if it fails."""
        return self._await(self.desk.ready, time.time() + _INIT_SECONDS, request_id)

    def invoke(self, event: Any, request_id: str) -> Result:
        """Run one event; a worker that dies or hangs is stopped and answers with an error."""
        deadline = time.time() + self._timeout
        text = json.dumps(event, separators=(",", ":"))
        call = Call(
            request_id=request_id,
            event=text.encode(),
            deadline_ms=int(deadline * 1000),
            function_arn=self._config.get("FunctionArn", ""),
        )
        told = json.dumps(builds.told_of(event), separators=(",", ":"))
        self._invocation = Invocation(event=text.replace('\\"', '"') + told)
        try:
            self._api.run(self.desk.put(call))
            result = self._await(call.result, deadline, request_id) or call.result.result()
            if not result.failed and self._is_struck("times_out"):
                self.stop()
                return Result(payload=self._timed_out(request_id), failed=True)
            return result
        finally:
            self._invocation = None

    async def serve(self, answer: Callable[[], Awaitable[Any]]) -> Any:
        """Answer an AWS API call of this worker, unless a fault ends the worker there."""
        if self._invocation is None:  # of the Init phase
            return await answer()
        self._invocation.calls += 1
        number = self._invocation.calls
        if self._is_struck("crash_before", calls=number) or (
            number == 1 and self._is_struck("crash_after")
        ):
            await asyncio.to_thread(self._kill)
            return error_response_json("Unavailable", "the caller has ended", 503)
        reply = await answer()
        if self._is_struck("crash_after", calls=number):
            # dead before the answer leaves, so that it can make nothing of it
            await asyncio.to_thread(self._kill)
        return reply

    def _is_struck(self, outcome: str, *, calls: int = 0) -> bool:
        if self._invocation is None:
            return False
        name = f"{self.function_name} {self._config.get('Handler', '')}"
        rule = self._faults.take(
            "function",
            name,
            outcomes=(outcome,),
            event=self._invocation.event,
            calls=calls,
            calls_made=self._invocation.calls,
        )
        return rule is not None

    @property
    def _timeout(self) -> float:
        return float(self._config.get("Timeout") or 3)

    def _timed_out(self, request_id: str) -> bytes:
        return error_payload(
            "Sandbox.Timedout", f"{request_id} Task timed out after {self._timeout:.2f} seconds"
        )

    def _await(self, future: Future[Any], deadline: float, request_id: str) -> Result | None:
        """Wait for the future; the error to answer with if the worker cannot complete it."""
        while True:
            try:
                future.result(timeout=_POLL_SECONDS)
            except FutureTimeoutError:
                pass
            else:
                return None
            if self.desk.init_error.done():
                payload = self.desk.init_error.result()
            elif not self.alive:
                payload = error_payload(
                    "Runtime.ExitError",
                    f"RequestId: {request_id} Error: Runtime exited with error: {self._exit()}",
                )
            elif time.time() > deadline:
                payload = self._timed_out(request_id)
            else:
                continue
            self.stop()
            return Result(payload=payload, failed=True)

    def _exit(self) -> str:
        """How the process ended, in Lambda's words."""
        status = self._process.returncode
        return "signal: killed" if status == -signal.SIGKILL else f"exit status {status}"

    def _kill(self) -> None:
        if self.alive:
            self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._kill()
        self._api.run(self.desk.close())
        self._log_file.close()


class Pool:
    """At most ``limit`` workers of one version of one function.

    One worker boots at a time: a burst on a cold function would otherwise import everything
    ``limit`` times at once, and on a small machine be served later than by one that is warm.
    """

    def __init__(self, start: Callable[[], Worker], limit: int) -> None:
        self._start = start
        self._limit = limit
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._booting = False

    def invoke(self, event: Any, request_id: str) -> tuple[Result, str]:
        """Run one event on a worker of its own; the result and what was printed."""
        worker, failure = self._take(request_id)
        try:
            result = failure or worker.invoke(event, request_id)
            return result, worker.take_log()
        finally:
            self._give_back(worker)

    def _take(self, request_id: str) -> tuple[Worker, Result | None]:
        with self._changed:
            while not self._idle and (self._booting or len(self._all) >= self._limit):
                self._changed.wait()
            if self._idle:
                return self._idle.pop(), None
            self._booting = True
        try:
            worker = self._start()
            with self._changed:
                self._all.add(worker)
            return worker, worker.boot(request_id)
        finally:
            with self._changed:
                self._booting = False
                self._changed.notify_all()

    def _give_back(self, worker: Worker) -> None:
        with self._changed:
            if worker.alive:
                self._idle.append(worker)
            else:
                self._all.discard(worker)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            workers, self._all = list(self._all), set()
        for worker in workers:
            worker.stop()
