"""What the tests of local sessions share."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-c", "from cdk_runner_fleet.cli import main; main()")

ONE_JOB = """
on: push
jobs:
  greet:
    runs-on: [self-hosted]
    steps:
      - run: echo hello
"""


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """`runner-fleet` as a process whose temporary files are all below `folder`."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Processes and files that belong to a session below `folder`."""
    found = [line for line in _command_lines() if str(folder) in line]
    return found + [str(path) for path in folder.glob("runner-fleet-*")]


def _command_lines() -> list[str]:
    proc = Path("/proc")
    if not proc.is_dir():
        listing = subprocess.run(
            ["ps", "-wweo", "args"], capture_output=True, text=True, check=True
        )
        return listing.stdout.splitlines()
    lines = []
    for entry in proc.glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended in the meantime
            lines.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return lines
