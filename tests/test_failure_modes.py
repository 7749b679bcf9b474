"""`docs/failure-modes.md`: all modes, each with a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .named_tests import missing

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<mode>[^|]+) \| (?P<guard>[^|]+) \| (?P<tests>.+) \|$")
ROWS = [
    match
    for line in (ROOT / "docs/failure-modes.md").read_text(encoding="utf-8").splitlines()
    if (match := ROW.match(line))
]


def test_every_mode_has_its_row() -> None:
    # each added mode takes the next number, and none goes away
    assert len(ROWS) >= 43
    assert [int(row["number"]) for row in ROWS] == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["number"])
def test_every_test_that_is_named_exists(row: re.Match[str]) -> None:
    assert missing(row["tests"]) == []
