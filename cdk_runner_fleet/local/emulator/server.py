"""The process: environment first, then ministack, then the hooks, until somebody ends it."""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from hypercorn.asyncio import serve
from hypercorn.config import Config

from cdk_runner_fleet._terminal import shown_lines

from . import upstream
from .options import ACCOUNT, REGION, Options

_LOG = logging.getLogger(__name__)
_BACKLOG = 1024
_PARENT_POLL_SECONDS = 0.5
_M_ARENA_MAX = -8
_SWITCH_SECONDS = 0.0005
_THREAD_STACK_BYTES = 512 * 1024


def prepare_environment(options: Options) -> None:
    """Set what ministack reads when it is imported."""
    os.environ.update(
        AUTH="true",
        AWS_DEFAULT_REGION=REGION,
        AWS_ENDPOINT_URL=options.endpoint,
        BIND_HOST="127.0.0.1",
        GATEWAY_PORT=str(options.port),
        IOT_MTLS_ENABLED="0",
        LOG_LEVEL="ERROR",
        MINISTACK_ACCOUNT_ID=ACCOUNT,
        MINISTACK_HOST="127.0.0.1",
        MINISTACK_REGION=REGION,
        # Calls that wait for a Lambda worker hold one each; idle ones are not created.
        MINISTACK_WORKER_THREADS="256",
        PERSIST_STATE="0",
        SFTP_ENABLED="0",
    )
    # Nothing here may ever reach a Docker daemon or leave the machine.
    os.environ["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    # nor is anybody's real account for what runs here
    for name in (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    ):
        os.environ.pop(name, None)


def save_memory() -> None:
    """Keep many threads cheap: small stacks, and two malloc arenas instead of eight a core."""
    threading.stack_size(_THREAD_STACK_BYTES)
    # The event loop answers everybody; it must not wait 5 ms for each thread that computes.
    sys.setswitchinterval(_SWITCH_SECONDS)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def watch_parent(parent: int, stop: Callable[[], object]) -> None:
    """Stop when the starting process is gone.

    Polled, because Linux's own signal for it comes when the starting *thread* ends.
    """

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(_PARENT_POLL_SECONDS)
        stop()

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


class _Formatter(logging.Formatter):
    """A log that a terminal can be given: its messages quote what strangers wrote."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_lines(super().format(record))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.getLogger(__package__).setLevel(logging.WARNING)
    # An error that a state catches is no error of the emulator's; the history has it.
    logging.getLogger("moto").setLevel(logging.CRITICAL)


async def _serve(
    application: Any,
    ready: dict[str, str],
    listening: socket.socket,
    parent: int,
    end_all: Callable[[], object],
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    watch_parent(parent, lambda: loop.call_soon_threadsafe(stopping.set))
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.keep_alive_timeout = 75
    config.errorlog = logging.getLogger("hypercorn.error")  # which is told as all else is
    config.errorlog.setLevel(logging.WARNING)
    config.graceful_timeout = 0.2
    announced = loop.create_task(asyncio.to_thread(_announce, ready))

    async def told_to_end() -> None:
        await stopping.wait()
        # ministack answers each request before it ends, and a function has up to 15 minutes
        await asyncio.to_thread(end_all)

    await serve(application, config, shutdown_trigger=told_to_end)
    announced.cancel()


def _announce(ready: dict[str, str]) -> None:
    """Print the ready line when a first request is answered; until then it waits in the queue."""
    at = urlsplit(ready["aws_endpoint_url"])
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
    connection.request(
        "GET", "/_fleet/stats", headers={"Authorization": f"Bearer {ready['control_token']}"}
    )
    connection.getresponse().read()
    connection.close()
    print(json.dumps(ready), flush=True)  # noqa: T201 - the contract with the starting process


def listen(port: int) -> socket.socket:
    """Take a loopback port, any free one for 0, before anybody else can.

    Raises:
        OSError: the port is in use.
    """
    return socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)


def run(options: Options, listening: socket.socket, parent: int) -> None:
    """Serve until SIGTERM, SIGINT or the end of the parent process; stops all it started."""
    # Set before the heavy imports: a signal during them must end the process too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    prepare_environment(options)
    save_memory()
    _log_to_stderr()
    options.tasks_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    upstream.leave_out_batch()
    # Only now: ministack reads its settings when it is imported.
    from . import access, install  # noqa: PLC0415

    emulator = install.everything(options)
    ready = {
        "aws_endpoint_url": options.endpoint,
        "region": REGION,
        "account": ACCOUNT,
        "access_key_id": access.ROOT_KEYS.access_key_id,
        "secret_access_key": access.ROOT_KEYS.secret_access_key,
        "control_token": emulator.front.control_token,
    }

    def end_all() -> None:
        emulator.tasks.stop_all()
        emulator.functions.stop()

    try:
        asyncio.run(_serve(emulator.front.application, ready, listening, parent, end_all))
    finally:
        end_all()
