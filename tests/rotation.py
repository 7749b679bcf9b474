"""What is too much for every run: `make test` plays a share of it, at each commit another.

`make test-deep` plays all of it. Which share it is follows from the commit; the run prints it, and
``TEST_TURN`` sets it, so that a red run can be had again.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def _of_the_commit() -> int:
    """A number that each commit has; 0 where there is no git."""
    try:
        said = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(said.stdout[:8], 16)


DEEP = os.environ.get("TEST_DEEP", "") == "on"
TURN = int(os.environ.get("TEST_TURN") or _of_the_commit())


def is_due(number: int, *, one_in: int) -> bool:
    """Whether this run plays the part of this number, one in so many."""
    return DEEP or (number + TURN) % one_in == 0
