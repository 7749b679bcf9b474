"""What importing a function takes at a cold start, and what it took in another version.

    python -m benchmarks.function_imports
    python -m benchmarks.function_imports --against ../other-checkout/functions

Fresh processes that import a function's module behind the Lambda runtime's own, as the emulator's
workers do; what the runtime's take alone is not counted. The two versions alternate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.processes import run
from cdk_runner_fleet._assets import FUNCTIONS

HANDLERS = ("receive_webhook", "dispatch_event", "runner_api", "explain_job")
RUNTIME = "awslambdaric.bootstrap"
ROUNDS = 20


def _cpu(*modules: str, folder: Path, cache: str) -> float:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(folder),
        "PYTHONPYCACHEPREFIX": cache,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        # there is no X-Ray daemon in the emulator
        "POWERTOOLS_TRACE_DISABLED": "true",
        "AWS_XRAY_SDK_ENABLED": "false",
    }
    code = f"import {', '.join((RUNTIME, *modules))}"
    return run([sys.executable, "-c", code], environment=environment).cpu


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.function_imports")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--against", type=Path, help="a folder of functions")
    given = parser.parse_args(arguments or [])
    folders = [FUNCTIONS, *([given.against.resolve()] if given.against else [])]
    table = Table(title=f"imports of a cold start, median CPU ms of {given.rounds} processes")
    for column in ("function", "these", *(["those", "ratio"] if given.against else [])):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as cache:
        for handler in HANDLERS:
            for folder in folders:  # Lambda's modules are compiled
                _cpu(handler, folder=folder, cache=cache)
            taken = [
                [_cpu(folder=FUNCTIONS, cache=cache)]
                + [_cpu(handler, folder=folder, cache=cache) for folder in folders]
                for _ in range(given.rounds)
            ]
            runtime, *own = (
                1000 * statistics.median(column) for column in zip(*taken, strict=True)
            )
            own = [milliseconds - runtime for milliseconds in own]
            figures = [f"{milliseconds:.0f}" for milliseconds in own]
            ratio = [f"{own[0] / own[1]:.2f}"] if given.against else []
            table.add_row(handler, *figures, *ratio)
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
