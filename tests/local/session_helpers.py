"""What the tests of local sessions share."""

from __future__ import annotations

import os
import subprocess
import sys
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
    processes = subprocess.run(
        ["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    environments = [line for line in processes if str(folder) in line]
    return environments + [str(path) for path in folder.glob("runner-fleet-*")]
