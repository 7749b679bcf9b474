"""Write the shipped state machine's file in its house format.

What fits on a line of 120 characters stands on one. Anything longer has a line for each of its
parts, unless all it holds is one text. ``python tools/format_lifecycle.py`` writes the file anew;
with ``--check`` it changes nothing, and ends with 1 if it would have.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATE_MACHINE = Path(__file__).resolve().parent.parent / "statemachines/runner_lifecycle.asl.json"
WIDTH = 120
INDENT = "  "


def formatted(machine: dict[str, Any]) -> str:
    """The text of the file that holds ``machine``."""
    return "".join(f"{line}\n" for line in _lines(machine))


def _lines(value: Any, *, before: str = "", after: str = "", margin: str = "") -> Iterator[str]:
    line = f"{margin}{before}{_text(value)}{after}"
    if len(line) <= WIDTH or not _has_parts(value):
        yield line
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    parts = (
        [(f"{_text(key)}: ", part) for key, part in value.items()]
        if isinstance(value, dict)
        else [("", part) for part in value]
    )
    yield f"{margin}{before}{opening}"
    for at, (name, part) in enumerate(parts, start=1):
        comma = "," if at < len(parts) else ""
        yield from _lines(part, before=name, after=comma, margin=margin + INDENT)
    yield f"{margin}{closing}{after}"


def _has_parts(value: Any) -> bool:
    """Whether lines of their own would make the parts shorter: one text stays as long as it is."""
    if not isinstance(value, dict | list):
        return False
    parts = list(value.values()) if isinstance(value, dict) else value
    return len(parts) > 1 or any(_has_parts(part) for part in parts)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def main(arguments: list[str]) -> int:
    """Write the file, or check it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, end with 1 instead")
    only_check = parser.parse_args(arguments).check
    found = STATE_MACHINE.read_text(encoding="utf-8")
    wanted = formatted(json.loads(found))
    if found == wanted:
        return 0
    if only_check:
        print(f"{STATE_MACHINE.name} is not in its house format", file=sys.stderr)  # noqa: T201
        return 1
    STATE_MACHINE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
