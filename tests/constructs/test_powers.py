"""docs/security.md says what each function may, what it could do, and who reads secrets."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .templates import Template, of_type

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_powers", ROOT / "tools" / "draw_powers.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_drawn_from_the_template(tool: ModuleType, minimal: Template) -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert tool.drawn_page(minimal) == page, "python tools/draw_powers.py"


def _statements(template: Template, role: str) -> list[dict[str, Any]]:
    """What a role may, to be changed."""
    [document] = [
        policy["PolicyDocument"]
        for logical_id, each in template["Resources"].items()
        if each["Type"] == "AWS::IAM::Role" and role in logical_id
        for policy in each["Properties"]["Policies"]
    ]
    found: list[dict[str, Any]] = document["Statement"]
    return found


def test_another_grant_is_seen_in_the_table(tool: ModuleType, minimal: Template) -> None:
    changed = copy.deepcopy(minimal)
    _statements(changed, "ExplainJobRole").append(
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
    )
    assert "s3 PutObject: **everything**" in tool.drawn_page(changed)
    assert "s3 PutObject" not in tool.drawn_page(minimal)


def test_a_function_without_words_is_an_error(tool: ModuleType, minimal: Template) -> None:
    changed = copy.deepcopy(minimal)
    for properties in of_type(changed, "AWS::Lambda::Function"):
        if properties["Handler"] == "define_task.handler":
            properties["Handler"] = "define_more.handler"
    with pytest.raises(ValueError, match=r"functions and words differ: .*define_more"):
        tool.drawn_page(changed)


def test_another_reader_of_a_secret_is_seen_in_the_table(
    tool: ModuleType, minimal: Template
) -> None:
    changed = copy.deepcopy(minimal)
    reading, other = (
        _statements(changed, name) for name in ("CheckRunnerRole", "DispatchEventRole")
    )
    secret = next(each for each in reading if "secretsmanager" in str(each["Action"]))
    other.append(secret)
    credentials = next(
        line for line in tool.drawn_page(changed).splitlines() if "| GitHub's credentials |" in line
    )
    assert "`dispatch_event`" in credentials
    assert credentials not in tool.drawn_page(minimal)


def test_nothing_but_a_function_reads_a_secret(tool: ModuleType, minimal: Template) -> None:
    changed = copy.deepcopy(minimal)
    _statements(changed, "StateMachineRole").append(
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    )
    with pytest.raises(ValueError, match=r"StateMachine\w+ is no function's role"):
        tool.drawn_page(changed)
