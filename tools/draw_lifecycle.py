"""Draw the shipped state machine into docs/lifecycle.md: a Mermaid picture and a table of states.

Where a state goes by itself is a full line, its choices and catches are dotted ones.
tests/test_docs.py fails when the page and the file differ; ``python tools/draw_lifecycle.py``
draws it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "lifecycle.md"
BEGIN, END = "<!-- lifecycle: begin -->", "<!-- lifecycle: end -->"


def draw(machine: dict[str, Any]) -> str:
    """The machine's states and the ways between them, as a Mermaid flowchart."""
    lines = ["```mermaid", "flowchart TD"]
    for name, state in machine["States"].items():
        opening, closing = {
            "Choice": ("{", "}"),
            "Succeed": ("([", "])"),
            "Fail": ("([", "])"),
        }.get(state["Type"], ("[", "]"))
        lines.append(f"  {name}{opening}{name}{closing}")
    for name, state in machine["States"].items():
        solid = [state[key] for key in ("Next", "Default") if key in state]
        dotted = [target for target in _ways_off(state) if target not in solid]
        lines += [f"  {name} --> {target}" for target in solid]
        lines += [f"  {name} -.-> {target}" for target in dict.fromkeys(dotted)]
    return "\n".join([*lines, "```"])


def _ways_off(state: dict[str, Any]) -> Iterator[str]:
    for key in ("Choices", "Catch"):
        for rule in state.get(key, []):
            yield rule["Next"]


def describe(machine: dict[str, Any]) -> str:
    """The machine's states with their comments, as a Markdown table."""
    lines = ["| state | what it does |", "|---|---|"]
    lines += [f"| `{name}` | {state['Comment']} |" for name, state in machine["States"].items()]
    return "\n".join(lines)


def drawn_page() -> str:
    """The page with the machine drawn anew."""
    machine = json.loads(
        (ROOT / "statemachines" / "runner_lifecycle.asl.json").read_text(encoding="utf-8")
    )
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{draw(machine)}\n\n{describe(machine)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(drawn_page(), encoding="utf-8")
