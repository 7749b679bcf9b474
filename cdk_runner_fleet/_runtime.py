"""Files of the functions that the package goes by too, run where they lie.

The functions travel with this package, but not on its import path. What is run here needs the
standard library alone, and other such files of theirs, which a test holds.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from cdk_runner_fleet import _assets


@cache
def runtime(name: str) -> Mapping[str, Any]:
    """The names in a file of ``functions/fleet_runtime``, such as ``job/runner_name``."""
    # for what the file imports of the others; last, where it hides nothing
    sys.path.append(str(_assets.FUNCTIONS))
    try:
        return runpy.run_path(str(_assets.FUNCTIONS / "fleet_runtime" / f"{name}.py"))
    finally:
        sys.path.remove(str(_assets.FUNCTIONS))
