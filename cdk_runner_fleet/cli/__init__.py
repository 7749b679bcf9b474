"""`runner-fleet`: see and steer a fleet, on AWS or on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]

_EXTRA = ("boto3", "rich", "typer")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Args:
        arguments: What stands after `runner-fleet`. Default: those of the process.
    """
    missing = [module for module in _EXTRA if find_spec(module) is None]
    if missing:
        sys.exit(
            f"{', '.join(missing)} not installed: "
            "the command line needs `pip install 'cdk-runner-fleet[cli]'`"
        )
    from cdk_runner_fleet.cli.app import run  # noqa: PLC0415 - made of what may be missing

    run(arguments)
