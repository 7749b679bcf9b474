"""Draw the shipped state machine into the README, as a Mermaid picture.

Where a state goes by itself is a full line, its choices and catches are dotted ones.
tests/test_docs.py fails when the picture and the file differ; ``python tools/draw_lifecycle.py``
draws it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
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


def drawn_readme() -> str:
    """The README with the picture drawn anew."""
    machine = json.loads(
        (ROOT / "statemachines" / "runner_lifecycle.asl.json").read_text(encoding="utf-8")
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{draw(machine)}\n{END}{after}"


if __name__ == "__main__":
    (ROOT / "README.md").write_text(drawn_readme(), encoding="utf-8")
