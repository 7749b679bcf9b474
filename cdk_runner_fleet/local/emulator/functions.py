"""Lambda: the template's Python functions in real ``awslambdaric`` processes.

Each function has a bounded pool of warm workers; a call that finds none free waits, where AWS
would start another one. Workers hold the session of the function's own role. They are forked from a
zygote where that makes no difference to them.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
import zipfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from . import access, upstream
from .faults import Faults
from .options import REGION, Options
from .runtime_api import Result, RuntimeApi, error_payload
from .workers import Pool, Process, Worker
from .zygote import Zygote, ZygoteEndedError

_LOG = logging.getLogger(__name__)
_FORKS = sys.platform == "linux"


class Functions:
    """All functions' pools, and what they are at.

    Attributes:
        running: invocations under way, those that wait for a worker included.
        invocations: how often each function was called.
        api_calls: how often each function called AWS.
    """

    def __init__(self, options: Options, faults: Faults) -> None:
        self._options = options
        self._faults = faults
        self._api = RuntimeApi()
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}
        self._code: dict[str, Path] = {}
        self._zygotes: dict[str, Zygote] = {}
        self._workers: WeakValueDictionary[str, Worker] = WeakValueDictionary()
        self.running = 0
        self.invocations: Counter[str] = Counter()
        self.api_calls: Counter[str] = Counter()

    def execute(self, func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        """Run an invocation (replaces ministack's ``_execute_function_warm``)."""
        config = func.get("config") or func
        with self._lock:
            self.invocations[config["FunctionName"]] += 1
            self.running += 1
        try:
            result, log = self._pool(func, config).invoke(event, request_id)
        except ZygoteEndedError as error:
            result, log = (
                Result(payload=error_payload("Sandbox.Ended", str(error)), failed=True),
                "",
            )
        finally:
            with self._lock:
                self.running -= 1
        answer: dict[str, Any] = {"body": json.loads(result.payload or b"null"), "log": log}
        if result.failed:
            answer["error"] = True
            _LOG.warning("%s failed: %s", config["FunctionName"], result.payload.decode()[:2000])
        return answer

    async def serve(self, access_key_id: str, answer: Callable[[], Awaitable[Any]]) -> Any:
        """Answer an AWS API call, whoever makes it: each worker has keys of its own.

        Args:
            access_key_id: what the call is signed with.
            answer: makes the answer.
        """
        worker = self._workers.get(access_key_id)
        if worker is None:
            return await answer()
        self.api_calls[worker.function_name] += 1
        return await worker.serve(answer)

    def expect(self, config: dict[str, Any]) -> None:
        """Get ready for the first worker of a function, or of others of its runtime."""
        if _FORKS:
            self._zygote(config)

    def stop(self) -> None:
        """Stop every worker; zygotes that have been stopped stay, and start no other."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
            zygotes = list(self._zygotes.values())
        for pool in pools:
            pool.stop()
        for zygote in zygotes:
            zygote.stop()

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
        worker = Worker(
            api=self._api,
            start=functools.partial(self._start_process, config, code),
            config=config,
            environment=worker_environment(config, code, self._options.endpoint),
            log_file=logs / f"{config['FunctionName']}.log",
            faults=self._faults,
        )
        self._workers[worker.access_key_id] = worker
        return worker

    def _start_process(
        self, config: dict[str, Any], code: Path, environment: dict[str, str]
    ) -> Process:
        handler = config.get("Handler", "")
        if _FORKS:
            zygote = self._zygote(config)
            if zygote.suits(environment, code):
                return zygote.fork(handler, environment=environment, folder=code)
        return subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=code,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _zygote(self, config: dict[str, Any]) -> Zygote:
        environment = runtime_environment(config, self._options.endpoint)
        runtime = environment["AWS_EXECUTION_ENV"]
        with self._lock:
            if runtime not in self._zygotes:
                self._zygotes[runtime] = Zygote(environment)
            return self._zygotes[runtime]

    def _unpacked(self, archive: bytes) -> Path:
        digest = hashlib.sha256(archive).hexdigest()[:16]
        with self._lock:
            if digest not in self._code:
                folder = self._options.tasks_dir / "code" / digest
                with zipfile.ZipFile(io.BytesIO(archive)) as unzipped:
                    unzipped.extractall(folder)
                self._code[digest] = folder
            return self._code[digest]


def runtime_environment(config: dict[str, Any], endpoint: str) -> dict[str, str]:
    """What the environments of all functions of a runtime have in common.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    return {
        "PATH": os.environ.get("PATH", ""),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONUNBUFFERED": "1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config.get('Runtime', 'python')}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        # There is no X-Ray daemon here.
        "POWERTOOLS_TRACE_DISABLED": "true",
        "AWS_XRAY_SDK_ENABLED": "false",
        "AWS_ENDPOINT_URL": endpoint,
    }


def worker_environment(config: dict[str, Any], code: Path, endpoint: str) -> dict[str, str]:
    """The environment of a function, as Lambda sets it, with the emulator's endpoint."""
    name = config["FunctionName"]
    keys = access.role_session(config["Role"], session_name=name[:64], holder=uuid.uuid4().hex)
    return {
        **runtime_environment(config, endpoint),
        "PYTHONPATH": str(code),
        "LAMBDA_TASK_ROOT": str(code),
        "_HANDLER": config.get("Handler", ""),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
        "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": keys.session_token or "",
        **(config.get("Environment") or {}).get("Variables", {}),
        "AWS_ENDPOINT_URL": endpoint,
    }


def _http_api_answer(upstream_answer: Any, exec_result: dict[str, Any]) -> Any:
    """An HTTP API hides a function's error; ministack shows it."""
    if exec_result.get("error"):
        body = json.dumps({"message": "Internal Server Error"})
        return {"statusCode": 500, "body": body}, None
    return upstream_answer(exec_result)


def install(options: Options, faults: Faults) -> Functions:
    """Run Python functions in these pools; returns them."""
    functions = Functions(options, faults)

    def create(
        logical_id: str, props: dict[str, Any], stack_name: str
    ) -> tuple[str, dict[str, Any]]:
        functions.expect(props)  # it is ready by the time that the rest of the stack is
        made: tuple[str, dict[str, Any]] = upstream_create(logical_id, props, stack_name)
        return made

    upstream_create = upstream.replace_in_handlers(
        provisioners._RESOURCE_HANDLERS, "AWS::Lambda::Function", "create", create
    )
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
