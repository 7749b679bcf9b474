"""One emulator process for all tests of a session."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.local.emulator.harness import Emulator, start_emulator
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture(scope="session")
def _process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    started = start_emulator(
        tmp_path_factory.mktemp("emulator"), "--workers-per-function", "2",
        "--build-seconds", "0.05",
    )  # fmt: skip
    yield started
    started.process.terminate()
    try:
        started.process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(started.process.pid, signal.SIGKILL)
        raise


@pytest.fixture
def emulator(_process: Emulator) -> Iterator[Emulator]:
    yield _process
    _process.fleet("DELETE", "faults")
