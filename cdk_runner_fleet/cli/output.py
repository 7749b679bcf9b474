"""Printing for people and for programs: the one place where the command line writes.

Whatever is printed for people goes through `_terminal.shown`, and what programs read is ASCII.
"""

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

from cdk_runner_fleet._terminal import coloured, shown

__all__ = [
    "age_text",
    "line",
    "log_line",
    "new_console",
    "print_json",
    "print_table",
    "say",
    "say_failure",
    "status_text",
    "table",
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
    """A console on stdout or stderr: as wide as the terminal, or wide enough for any line.

    It prints what `line`, `log_line` and `table` make, and takes brackets for brackets.
    """
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def line(*parts: str | Text, style: str = "") -> Text:
    """One line of text; parts that are `Text` have been made here."""
    return Text.assemble(
        *(part if isinstance(part, Text) else shown(part) for part in parts), style=style
    )


def log_line(text: str, *, style: str = "") -> Text:
    """A line of a job's log, with its own colours where there is a terminal."""
    return Text.from_ansi(coloured(text), style=style)


def say(*parts: str | Text, style: str = "", stderr: bool = False) -> None:
    """Print one line."""
    new_console(stderr=stderr).print(line(*parts, style=style))


def say_failure(message: str) -> None:
    """Print an error on stderr, with its further lines below it."""
    console = new_console(stderr=True)
    first, *rest = message.split("\n")
    console.print(line(Text("error: ", style="bold red"), first))
    for each in rest:
        console.print(line(each))


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print `value` as JSON, in one line if `indent` is None."""
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")
    sys.stdout.flush()


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, pad_edge: bool = False
) -> Table:
    """Rows under their columns' names."""
    made = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=pad_edge)
    for row in rows:
        made.add_row(*map(line, row))
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows under their columns' names."""
    new_console().print(table(columns, rows))


def status_text(status: str, *, word: str | None = None) -> Text:
    """A status or a conclusion in its colour, or another word in the same."""
    return line(word or status, style=_STYLES.get(status, ""))


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
