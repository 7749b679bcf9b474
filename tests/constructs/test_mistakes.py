"""The mistakes that mypy finds are refused where nobody runs it, too."""

from __future__ import annotations

import re
from pathlib import Path

import aws_cdk as cdk
import pytest

from . import mistakes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mistake", mistakes.MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_refused(mistake: mistakes.Mistake, stack: cdk.Stack) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError)):
        mistake(stack)


def test_what_is_right_is_taken(stack: cdk.Stack) -> None:
    assert mistakes.none(
        stack,
        architecture="ARM64",
        capacity=["FARGATE_SPOT", "FARGATE"],
        variant="python",
        register_for="repository",
    )


def test_mypy_is_shown_each_of_them() -> None:
    path = Path(mistakes.__file__).relative_to(ROOT)
    assert f"/mypy cdk_runner_fleet app.py {path}\n" in (ROOT / "Makefile").read_text()
    source = (ROOT / path).read_text()
    # an ignore that is not used is an error with mypy's strict
    assert len(re.findall(r"# type: ignore\[[a-z-]+\]$", source, re.M)) == len(mistakes.MISTAKES)
