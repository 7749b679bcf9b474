"""Tests that a page of the documentation names: `path::name`, or `path::Class::name`."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


def missing(cell: str) -> list[str]:
    """The tests that a table's cell names and that do not exist.

    Raises:
        ValueError: if the cell names none, or has other words in it.
    """
    named = re.findall(r"`([^`:]+)::(?:[^`:]+::)?([^`:]+)`", cell)
    if not named or re.sub(r"`[^`]+`", "", cell).strip():
        raise ValueError(f"{cell!r} is no list of tests")
    return [f"{path}::{name}" for path, name in named if name not in _functions(path)]


@cache
def _functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
