"""The documents say what the code does."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path
from types import ModuleType

from cdk_runner_fleet._assets import STATE_MACHINE
from cdk_runner_fleet.context import FleetSettings

ROOT = Path(__file__).parent.parent


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lifecycle_is_drawn_from_the_shipped_file() -> None:
    page = (ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    assert _tool("draw_lifecycle").drawn_page() == page


def test_the_rooms_are_drawn_from_the_code() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert _tool("draw_rooms").drawn_page() == page, "python tools/draw_rooms.py"


def test_the_readme_pictures_every_status_that_the_shipped_file_writes() -> None:
    picture = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("```mermaid")[1].split("```")[0]
    )
    written = re.findall(r'"(?::?status)": \{"S": "([A-Z_]+)"\}', STATE_MACHINE.read_text("utf-8"))
    assert len(set(written)) > 4
    assert set(re.findall(r"<b>(\w+)</b>", picture)) == set(written)


def test_every_setting_stands_in_the_readme_with_its_default() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    for field in dataclasses.fields(FleetSettings):
        assert field.name in rows, field.name
        if field.type == "int":
            assert str(field.default) in rows[field.name], field.name
