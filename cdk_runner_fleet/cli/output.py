"""Printing for people and for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = [
    "age_text",
    "new_console",
    "print_json",
    "print_table",
    "shown",
    "status_text",
    "time_text",
]

_STYLES = {
    "STARTING": "yellow",
    "IMAGE_CREATING": "magenta",
    "WAITING_FOR_JOB": "cyan",
    "RUNNING": "bold green",
    "OFFLINE": "dim",
    "FAILED": "bold red",
    "success": "green",
    "failure": "bold red",
    "cancelled": "yellow",
    "skipped": "dim",
}
# where there is no terminal nothing may be cut: the reader is grep
_PIPE_WIDTH = 500


def new_console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr: as wide as the terminal, or wide enough for any line."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=True
    )


def print_json(value: object) -> None:
    """Print `value` as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows under their columns' names."""
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    new_console().print(table)


def status_text(status: str, *, shown: str | None = None) -> Text:
    """A status or a conclusion in its colour; `shown` is another word in the same colour."""
    return Text(shown or status, style=_STYLES.get(status, ""))


def time_text(epoch_seconds: int | float | None) -> str:
    """A point in time in the local zone; nothing for none."""
    if not epoch_seconds:
        return ""
    return datetime.fromtimestamp(epoch_seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age_text(epoch_seconds: int | float) -> str:
    """How long ago a point in time was, in its largest unit."""
    seconds = max(0, int(time.time() - epoch_seconds))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def shown(text: object) -> str:
    """Text of others in one line that a terminal can be given."""
    return "".join(char if char.isprintable() else " " for char in str(text))
