"""Fresh processes, and what each of them took."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Spent(NamedTuple):
    """What a process took, from its start to its end.

    Attributes:
        began: When it was started, by ``time.perf_counter``.
        cpu: Seconds of a processor, in user and system mode; other programs disturb them less.
        peak: MiB of memory at the most, of the largest of it and of what it started.
    """

    began: float
    cpu: float
    peak: float


def run(command: Sequence[str], *, environment: Mapping[str, str]) -> Spent:
    """Run a process to its end; raises CalledProcessError, with what it wrote, if it fails."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output=said)
    return Spent(began=began, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss / 1024)


def middle(values: Sequence[float]) -> str:
    """The median of seconds, as tables show it."""
    return f"{statistics.median(values):.3f}"
