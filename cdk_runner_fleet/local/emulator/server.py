"""The process: environment first, then ministack, then the hooks, until somebody ends it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from . import upstream
from .options import ACCOUNT, REGION, Options

_LOG = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8
_SWITCH_SECONDS = 0.0005
_THREAD_STACK_BYTES = 512 * 1024


def prepare_environment(options: Options) -> None:
    """Set what ministack reads when it is imported."""
    os.environ.update(
        AUTH="true",
        AWS_ACCESS_KEY_ID=ACCOUNT,
        AWS_DEFAULT_REGION=REGION,
        AWS_ENDPOINT_URL=options.endpoint,
        AWS_SECRET_ACCESS_KEY="local",  # noqa: S106 - any value does on loopback
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
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "HTTP_PROXY", "http_proxy"):
        os.environ.pop(name, None)


def save_memory() -> None:
    """Keep many threads cheap: small stacks, and two malloc arenas instead of eight a core."""
    threading.stack_size(_THREAD_STACK_BYTES)
    # The event loop answers everybody; it must not wait 5 ms for each thread that computes.
    sys.setswitchinterval(_SWITCH_SECONDS)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def die_with_parent(stop: Any) -> None:
    """Stop when the starting process is gone: a signal from Linux, a watch elsewhere."""
    parent = os.getppid()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    def watch() -> None:
        gone = threading.Event()
        while not gone.wait(1.0):
            if os.getppid() != parent:
                stop()
                return

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


async def _serve(application: Any, options: Options, stopping: asyncio.Event) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{options.port}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    config.backlog = 1024
    config.graceful_timeout = 0.2
    announced = asyncio.get_running_loop().create_task(_announce(options))
    await serve(application, config, shutdown_trigger=stopping.wait)
    announced.cancel()


async def _announce(options: Options) -> None:
    """Print the ready line when the port answers."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", options.port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        break
    ready = {
        "aws_endpoint_url": options.endpoint,
        "region": REGION,
        "account": ACCOUNT,
        "access_key_id": ACCOUNT,
        "secret_access_key": "local",
    }
    print(json.dumps(ready), flush=True)  # noqa: T201 - the contract with the starting process


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(options: Options) -> None:
    """Serve until SIGTERM, SIGINT or the end of the parent process; stops all it started."""
    # Set before the heavy imports: a signal during them must end the process too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    prepare_environment(options)
    save_memory()
    logging.basicConfig(
        level=logging.ERROR,
        stream=sys.stderr,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    logging.getLogger(__package__).setLevel(logging.WARNING)
    # An error that a state catches is no error of the emulator's; the history has it.
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    options.tasks_dir.mkdir(parents=True, exist_ok=True)
    upstream.leave_out_batch()
    # Only now: ministack reads its settings when it is imported.
    from . import install  # noqa: PLC0415

    emulator = install.everything(options)
    try:
        asyncio.run(_until_told(emulator.front.application, options))
    finally:
        emulator.tasks.stop_all()
        emulator.functions.stop()


async def _until_told(application: Any, options: Options) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    die_with_parent(lambda: loop.call_soon_threadsafe(stopping.set))
    await _serve(application, options, stopping)
