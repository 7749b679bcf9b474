"""Lambda: the template's Python functions in real ``awslambdaric`` processes.

Each function has a bounded pool of warm workers; a call that finds none free waits, where AWS
would start another one. Workers hold the session of the function's own role.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any

from ministack.services import lambda_svc

from . import access, upstream
from .options import REGION, Options
from .runtime_api import Call, Desk, Result, RuntimeApi, error_payload

_LOG = logging.getLogger(__name__)
# AWS gives the Init phase 10 s; a laptop with a hundred processes at work may need more.
_INIT_SECONDS = 60.0
_POLL_SECONDS = 0.05


class Worker:
    """One execution environment: a process, its desk and what it printed."""

    def __init__(
        self,
        *,
        api: RuntimeApi,
        code: Path,
        config: dict[str, Any],
        environment: dict[str, str],
        log_file: Path,
    ) -> None:
        self._api = api
        self._config = config
        self._lines: list[str] = []
        self._log_file = log_file.open("a")
        self.desk: Desk
        self.desk, port = api.open_desk()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", config.get("Handler", "")],
            cwd=code,
            env={**environment, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
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
        timeout = float(self._config.get("Timeout") or 3)
        deadline = time.time() + timeout
        call = Call(
            request_id=request_id,
            event=json.dumps(event).encode(),
            deadline_ms=int(deadline * 1000),
            function_arn=self._config.get("FunctionArn", ""),
        )
        self._api.run(self.desk.put(call))
        return self._await(call.result, deadline, request_id) or call.result.result()

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
                    f"RequestId: {request_id} Error: Runtime exited with error: "
                    f"exit status {self._process.returncode}",
                )
            elif time.time() > deadline:
                seconds = float(self._config.get("Timeout") or 3)
                payload = error_payload(
                    "Sandbox.Timedout", f"{request_id} Task timed out after {seconds:.2f} seconds"
                )
            else:
                continue
            self.stop()
            return Result(payload=payload, failed=True)

    def stop(self) -> None:
        if self.alive:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
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


class Functions:
    """All functions' pools, and how often each function was called."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._api = RuntimeApi()
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}
        self._code: dict[str, Path] = {}
        self.invocations: Counter[str] = Counter()

    def execute(self, func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        """Run an invocation (replaces ministack's ``_execute_function_warm``)."""
        config = func.get("config") or func
        with self._lock:
            self.invocations[config["FunctionName"]] += 1
        result, log = self._pool(func, config).invoke(event, request_id)
        answer: dict[str, Any] = {"body": json.loads(result.payload or b"null"), "log": log}
        if result.failed:
            answer["error"] = True
            _LOG.warning("%s failed: %s", config["FunctionName"], result.payload.decode()[:2000])
        return answer

    def stop(self) -> None:
        """Stop every worker."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.stop()

    def _pool(self, func: dict[str, Any], config: dict[str, Any]) -> Pool:
        identity = {
            name: config.get(name)
            for name in (
                "FunctionArn",
                "Version",
                "Handler",
                "Role",
                "Timeout",
                "MemorySize",
                "Environment",
                "CodeSha256",
            )
        }
        key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        with self._lock:
            if key not in self._pools:
                start = functools.partial(self._start, func, config)
                self._pools[key] = Pool(start, self._options.workers_per_function)
            return self._pools[key]

    def _start(self, func: dict[str, Any], config: dict[str, Any]) -> Worker:
        code = self._unpacked(func["code_zip"])
        logs = self._options.tasks_dir / "functions"
        logs.mkdir(parents=True, exist_ok=True)
        return Worker(
            api=self._api,
            code=code,
            config=config,
            environment=worker_environment(config, code, self._options.endpoint),
            log_file=logs / f"{config['FunctionName']}.log",
        )

    def _unpacked(self, archive: bytes) -> Path:
        digest = hashlib.sha256(archive).hexdigest()[:16]
        with self._lock:
            if digest not in self._code:
                folder = self._options.tasks_dir / "code" / digest
                with zipfile.ZipFile(io.BytesIO(archive)) as unzipped:
                    unzipped.extractall(folder)
                self._code[digest] = folder
            return self._code[digest]


def worker_environment(config: dict[str, Any], code: Path, endpoint: str) -> dict[str, str]:
    """The environment of a function, as Lambda sets it, with the emulator's endpoint.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    keys = access.role_session(config["Role"], session_name=config["FunctionName"][:64])
    name = config["FunctionName"]
    return {
        "PATH": os.environ.get("PATH", ""),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": str(code),
        "PYTHONUNBUFFERED": "1",
        "LAMBDA_TASK_ROOT": str(code),
        "_HANDLER": config.get("Handler", ""),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config.get('Runtime', 'python')}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
        "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": keys.session_token or "",
        # There is no X-Ray daemon here.
        "POWERTOOLS_TRACE_DISABLED": "true",
        "AWS_XRAY_SDK_ENABLED": "false",
        **(config.get("Environment") or {}).get("Variables", {}),
        "AWS_ENDPOINT_URL": endpoint,
    }


def _http_api_answer(upstream_answer: Any, exec_result: dict[str, Any]) -> Any:
    """An HTTP API hides a function's error; ministack shows it."""
    if exec_result.get("error"):
        body = json.dumps({"message": "Internal Server Error"})
        return {"statusCode": 500, "body": body}, None
    return upstream_answer(exec_result)


def install(options: Options) -> Functions:
    """Run Python functions in these pools; returns them."""
    functions = Functions(options)
    upstream.replace(
        lambda_svc,
        "_execute_function_warm",
        functions.execute,
        takes=("func", "event", "request_id"),
    )
    answer = upstream.replace(
        lambda_svc,
        "lambda_execute_result_to_api_proxy_response",
        lambda exec_result: _http_api_answer(answer, exec_result),
        takes=("exec_result",),
    )
    return functions
