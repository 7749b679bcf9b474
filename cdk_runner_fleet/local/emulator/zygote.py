"""Warm processes from which the functions' workers are forked.

Most of a cold start is the import of awslambdaric, boto3 and Powertools. A zygote has imported them
once; each worker is a fork of it that takes its own environment, folder and output and then runs
``awslambdaric`` as a process of its own would. A worker for which that would make a difference is
not for the zygote: see `Zygote.suits`.

Linux only: elsewhere the system's libraries may not survive a fork
(https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods).

Both ends are in this file. The zygote's runs by its path and imports nothing of this package, so
that its forks hold nothing that a worker would not find.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_MODULES = (
    "aws_lambda_powertools",
    # not its bootstrap, its client and runtime_client: they read the worker's environment at import
    "awslambdaric.lambda_config",
    "awslambdaric.lambda_context",
    "awslambdaric.lambda_literals",
    "awslambdaric.lambda_runtime_log_utils",
    "awslambdaric.lambda_runtime_marshaller",
    "boto3",
)
# Services whose models are parsed before the fork; a function may use any other one.
_SERVICES = (
    "codebuild",
    "dynamodb",
    "ecr",
    "ecs",
    "events",
    "secretsmanager",
    "ssm",
    "stepfunctions",
)
_SERVICE_FILES = ("service-2", "endpoint-rule-set-1")
_SHARED_FILES = ("endpoints", "partitions", "sdk-default-configuration", "_retry")
# What the interpreter and the C library read when a process starts.
_READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_")
# Ctrl-C is for who started the emulator; once it may have children, the end of its socket ends it.
_NOT_FOR_IT = (signal.SIGINT, signal.SIGTERM)
_MESSAGE_BYTES = 2**18
_STATUS_BYTES = 4


class ZygoteEndedError(RuntimeError):
    """There is no zygote any more to fork from."""


class Fork:
    """A forked worker; as much of `subprocess.Popen` as its owner needs.

    Attributes:
        stdout: what it prints, errors included.
        returncode: how it ended, negative for a signal; None while it runs.
    """

    def __init__(self, line: socket.socket, stdout: IO[bytes]) -> None:
        self._line = line
        self._lock = threading.Lock()
        self.stdout = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self._read(socket.MSG_DONTWAIT)

    def wait(self) -> int | None:
        """How it ended, once it has."""
        return self._read(0)

    def kill(self) -> None:
        """End it by SIGKILL; nothing happens if it has ended."""
        with suppress(OSError):  # the zygote has closed its end: there is nobody to kill
            self._line.send(b"k")

    def _read(self, flags: int) -> int | None:
        with self._lock:
            if self.returncode is None:
                try:
                    status = self._line.recv(_STATUS_BYTES, flags)
                except BlockingIOError:
                    return None
                except ConnectionResetError:
                    status = b""
                # a zygote that was killed says nothing, and has left nobody behind to ask
                self.returncode = int.from_bytes(status, signed=True) if status else -signal.SIGKILL
                self._line.close()
            return self.returncode


class Zygote:
    """The emulator's end of a zygote.

    Args:
        environment: what the environments of its workers have in common.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = dict(environment)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__],
                env=self._given,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = {}

    def suits(self, environment: Mapping[str, str], folder: Path) -> bool:
        """Whether a worker would have imported the same, with the same result.

        Not if it brings a module along that the zygote has imported from elsewhere, looks for
        modules elsewhere, or if its environment differs in what was read at the zygote's start or
        during its imports.

        Args:
            environment: the worker's.
            folder: the worker's code.

        Raises:
            ZygoteEndedError: it has been stopped, or ended by itself.
        """
        facts = self._learn()
        brought = {path.name.partition(".")[0] for path in folder.iterdir()}
        given = {**self._given, "PYTHONPATH": str(folder)}
        return brought.isdisjoint(facts["modules"]) and all(
            environment.get(name) == given.get(name)
            for name in {*environment, *given}
            if name in facts["read"] or name.startswith(_READ_AT_START)
        )

    def fork(self, handler: str, *, environment: Mapping[str, str], folder: Path) -> Fork:
        """Start a worker.

        Args:
            handler: the function's, as ``module.function``.
            environment: all of its environment.
            folder: its code and working directory.

        Raises:
            ZygoteEndedError: it has been stopped, or ended by itself.
        """
        worker = {
            "handler": handler,
            "environment": {**self._learn()["added"], **environment},
            "folder": str(folder),
        }
        reading, writing = os.pipe()
        line, theirs = socket.socketpair()
        fork = Fork(line, os.fdopen(reading, "rb", buffering=0))
        try:
            message = json.dumps(worker).encode()
            socket.send_fds(self._control, [message], [writing, theirs.fileno()])
        except OSError as error:
            raise ZygoteEndedError("the zygote has been stopped") from error
        finally:
            os.close(writing)
            theirs.close()
        return fork

    def stop(self) -> None:
        """End it and the workers that are left."""
        self._control.close()
        self._process.terminate()  # heard while it still imports
        self._process.wait()

    def _learn(self) -> dict[str, Any]:
        """What it tells about itself when it is ready: names read, modules, variables it set."""
        with self._lock:
            if not self._facts:
                try:
                    said = self._control.recv(_MESSAGE_BYTES)
                except OSError as error:
                    raise ZygoteEndedError("the zygote has been stopped") from error
                if not said:
                    raise ZygoteEndedError(f"the zygote ended with {self._process.wait()}")
                facts = json.loads(said)
                facts["added"] = {
                    name: value
                    for name, value in facts.pop("environment").items()
                    if name not in self._given
                }
                self._facts = facts
            return self._facts


class _Forker:
    """The zygote's end: forks, kills and reaps; one thread."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lines: dict[int, socket.socket] = {}
        self._woken, self._wakes = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that it wakes
        for number in _NOT_FOR_IT:
            signal.signal(number, signal.SIG_IGN)

    def serve(self) -> tuple[dict[str, Any], int] | None:
        """Until the emulator is gone: None. In a fork: what to be, and where to print to."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    message, descriptors, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 2)
                    if not message:
                        self._end_all()
                        return None
                    output, line = descriptors
                    pid = os.fork()
                    if not pid:
                        os.close(line)
                        self._let_go()
                        worker: dict[str, Any] = json.loads(message)
                        return worker, output
                    os.close(output)
                    self._lines[pid] = socket.socket(fileno=line)
                    self._selector.register(self._lines[pid], selectors.EVENT_READ, pid)
                elif key.fileobj is self._woken:
                    self._woken.recv(_MESSAGE_BYTES)
                    self._reap()
                elif self._lines.get(key.data) is key.fileobj:
                    # whether that was asked for or its owner is gone
                    os.kill(key.data, signal.SIGKILL)
                    self._selector.unregister(key.fileobj)

    def _reap(self) -> None:
        while self._lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            line = self._lines.pop(pid)
            with suppress(KeyError):
                self._selector.unregister(line)
            with line, suppress(OSError):  # its owner is gone
                line.send(os.waitstatus_to_exitcode(status).to_bytes(_STATUS_BYTES, signed=True))

    def _end_all(self) -> None:
        for pid in self._lines:
            os.kill(pid, signal.SIGKILL)
        for pid in self._lines:
            os.waitpid(pid, 0)

    def _let_go(self) -> None:
        """In a fork: close all that is the zygote's, and take signals as a new process does."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for each in (self._control, self._woken, self._wakes, *self._lines.values()):
            each.close()


def _import_all() -> set[str]:
    """Import what every worker imports; returns the variables that were read meanwhile."""
    read: set[str] = set()
    plain = type(os.environ)

    class Noted(plain):  # type: ignore[misc, valid-type]
        def __getitem__(self, name: str) -> str:
            read.add(name)
            value: str = super().__getitem__(name)
            return value

    os.environ.__class__ = Noted
    try:
        for module in _MODULES:
            importlib.import_module(module)
    finally:
        os.environ.__class__ = plain
    return read


def _share_models() -> None:
    """Let every session of a worker find the models parsed, whose path is not its own."""
    from botocore import loaders, session  # noqa: PLC0415 - not for the emulator's end

    create = loaders.create_loader
    warm = create()
    for service in _SERVICES:
        for file in _SERVICE_FILES:
            warm.load_service_model(service, file)
    for file in _SHARED_FILES:
        warm.load_data(file)
    session.create_loader = lambda search_path=None: create(search_path) if search_path else warm


def _become(worker: dict[str, Any], output: int) -> None:
    """What ``python -m awslambdaric`` is in an environment and a folder of its own."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(worker["environment"])
    time.tzset()
    os.chdir(worker["folder"])
    sys.path[:0] = [worker["folder"]] * 2  # as the working directory, and by PYTHONPATH
    sys.argv = ["awslambdaric", worker["handler"]]
    runpy.run_module("awslambdaric", run_name="__main__", alter_sys=True)


def main() -> None:
    """Be a zygote until the other end of stdin is closed."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    read = _import_all()
    _share_models()
    gc.collect()
    gc.freeze()  # else each fork's first collection copies every page
    control.send(
        json.dumps(
            {
                "read": sorted(read),
                "modules": sorted({name.partition(".")[0] for name in sys.modules}),
                "environment": dict(os.environ),
            }
        ).encode()
    )
    if fork := _Forker(control).serve():
        _become(*fork)


if __name__ == "__main__":
    main()
