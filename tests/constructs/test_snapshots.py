"""What each deployment consists of: the least and the most that can be set."""

from __future__ import annotations

from syrupy.assertion import SnapshotAssertion

from .templates import Template, normalise


def test_minimal(minimal: Template, template_snapshot: SnapshotAssertion) -> None:
    assert normalise(minimal) == template_snapshot


def test_everything(everything: Template, template_snapshot: SnapshotAssertion) -> None:
    assert normalise(everything) == template_snapshot
