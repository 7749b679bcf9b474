"""Logical ids stay: of one that is gone CloudFormation deletes what it stood for, with its data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from .templates import Template

LISTED = Path(__file__).parent / "logical_ids.json"


@pytest.mark.parametrize("name", ["minimal", "everything"])
def test_what_a_deployed_fleet_has_keeps_its_logical_id(
    name: str, request: pytest.FixtureRequest
) -> None:
    template: Template = request.getfixturevalue(name)
    there = {logical_id: one["Type"] for logical_id, one in template["Resources"].items()}
    listed: Mapping[str, list[str]] = json.loads(LISTED.read_text(encoding="utf-8"))[name]
    assert len(listed["AWS::DynamoDB::GlobalTable"]) == 3
    gone = [
        f"{kind} {logical_id}"
        for kind, ids in listed.items()
        for logical_id in ids
        if there.get(logical_id) != kind
    ]
    assert not gone, (
        "a deployment would delete these with all that they hold, and make others: give the "
        "construct its id, its scope and its type back. If it has to go, say in CHANGELOG.md what "
        "that takes from a deployed fleet, and list what is left: python tools/list_logical_ids.py"
    )
