"""Child processes that never outlive the session they belong to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["child", "undisturbed"]

_STOP_SECONDS = 15.0


@contextmanager
def child(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path,
    errors: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module as a process, with pipes for stdin and stdout; stopped at the end.

    It finds the packages that this process finds, and not what lies in the working directory.

    Its process group is its own, because Ctrl-C goes to the whole foreground group and would end it
    while it is still needed to stop what it started itself.

    Args:
        module: The module's full name.
        arguments: Its command line.
        environment: All of its environment.
        folder: Where its temporary files go.
        errors: Where its stderr goes. Default: to this process's.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with undisturbed():
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                env={
                    **environment,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "TMPDIR": str(folder),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        yield process
    finally:
        if process is not None:
            with undisturbed():
                _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with suppress(ProcessLookupError):  # most often it has taken its group along
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until this block is over.

    Else one that comes between a process's start and its bookkeeping, or in the middle of stopping
    it, would leave it behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never come here
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    # not SIG_IGN, which a process started in here would inherit
    before = [signal.signal(number, lambda came_in, _: came.append(came_in)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)
