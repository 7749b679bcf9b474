"""What each deployment consists of: the least and the most that can be set."""

from __future__ import annotations

from typing import Any

from syrupy.assertion import SnapshotAssertion

from .conftest import normalise


def test_minimal(minimal: dict[str, Any], template_snapshot: SnapshotAssertion) -> None:
    assert normalise(minimal) == template_snapshot


def test_everything(everything: dict[str, Any], template_snapshot: SnapshotAssertion) -> None:
    assert normalise(everything) == template_snapshot
