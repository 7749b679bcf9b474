"""`docs/security.md`: every guard that it tells of has a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .named_tests import missing

PAGE = (Path(__file__).parent.parent / "docs/security.md").read_text(encoding="utf-8")
ROLES = (
    "Strangers",
    "Authors of workflows",
    "Jobs",
    "Authors of base images",
    "Readers",
    "Holders of an old secret",
    "The fleet on your machine",
)
SECTIONS = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
TABLES = {
    title: [
        line.split(" | ")
        for line in section.splitlines()
        if line.startswith("| ") and not line.startswith(("| can ", "| who "))
    ]
    for title, section in SECTIONS
    if title in ROLES
}


def test_each_role_has_its_table() -> None:
    assert tuple(TABLES) == ROLES
    assert all(TABLES.values())


@pytest.mark.parametrize(
    "row", [row for table in TABLES.values() for row in table], ids=lambda row: row[0][2:40]
)
def test_each_row_says_what_stops_it_what_is_left_and_which_test_shows_it(row: list[str]) -> None:
    assert len(row) == 4, row
    assert missing(row[3].removesuffix(" |")) == []
