"""Draw the rooms in docs/architecture.md: what each file answers for, and who imports whom.

tests/test_docs.py fails when the page and the code differ; ``python tools/draw_rooms.py`` draws it
again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
RUNTIME = ROOT / "functions" / "fleet_runtime"
CONSTRUCTS = ROOT / "cdk_runner_fleet"
BEGIN, END = "<!-- rooms: begin -->", "<!-- rooms: end -->"


def drawn_page() -> str:
    """The page with the rooms drawn anew."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{_drawing()}{END}{after}"


def _drawing() -> str:
    uses = {room: _uses(room) for room in _rooms()}
    arrows = [
        f"  {room} --> {used}"
        for room in reversed(_in_order(uses))
        for used in sorted(_nearest(room, uses))
    ]
    picture = "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])
    runtime = _table(
        (f"{room}/" if (RUNTIME / room).is_dir() else "", path)
        for room in reversed(_in_order(uses))
        for path in _modules(RUNTIME / room)
    )
    constructs = _table(
        (folder, path)
        for folder in ("", "rooms/", "values/")
        for path in sorted((CONSTRUCTS / folder).glob("*.py"))
    )
    return (
        "`functions/fleet_runtime`, an arrow for each room that a room imports and has not by\n"
        f"way of another:\n\n{picture}\n\n{runtime}\n`cdk_runner_fleet`:\n\n{constructs}\n"
    )


def _rooms() -> list[str]:
    return sorted(
        path.stem
        for path in RUNTIME.iterdir()
        if path.stem not in ("__init__", "__pycache__") and (path.is_dir() or path.suffix == ".py")
    )


def _modules(room: Path) -> list[Path]:
    return sorted(room.glob("*.py")) if room.is_dir() else [room.with_suffix(".py")]


def _uses(room: str) -> set[str]:
    found: set[str] = set()
    for path in _modules(RUNTIME / room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            package, _, module = node.module.partition(".")
            if package == "fleet_runtime":
                names = [module.partition(".")[0]] if module else [each.name for each in node.names]
                found.update(names)
    return found - {room}


def _reached(room: str, uses: Mapping[str, set[str]]) -> set[str]:
    return uses[room].union(*(_reached(used, uses) for used in uses[room]))


def _nearest(room: str, uses: Mapping[str, set[str]]) -> set[str]:
    """What a room imports but for what it reaches by way of another that it imports."""
    return uses[room] - set().union(*(_reached(used, uses) for used in uses[room]))


def _in_order(uses: Mapping[str, set[str]]) -> list[str]:
    """The rooms from the bottom up."""
    return sorted(uses, key=lambda room: (len(_reached(room, uses)), room))


def _table(modules: Iterator[tuple[str, Path]]) -> str:
    rows = [
        f"| `{folder}{path.name}` | {_first_sentence(path)}{_functions(path)} |"
        for folder, path in modules
        if path.stem != "__init__"
    ]
    return "\n".join(["| file | what it answers for |", "|---|---|", *rows, ""])


def _functions(path: Path) -> str:
    """The functions that a construct makes."""
    made = re.findall(r'handler="(\w+)"', path.read_text(encoding="utf-8"))
    return f" Makes {', '.join(f'`{name}`' for name in made)}." if made else ""


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return paragraph.replace("``", "`").replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(drawn_page(), encoding="utf-8")
