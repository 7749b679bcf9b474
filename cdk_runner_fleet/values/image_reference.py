"""References of images: the rules of `functions/fleet_runtime/job/image_reference.py`."""

from __future__ import annotations

from cdk_runner_fleet._runtime import runtime


def glob_fault(glob: str) -> str:
    """Say why a glob over references cannot stand in an allow-list; empty if it can."""
    return str(runtime("job/image_reference")["glob_fault"](glob))


def has_registry(reference: str) -> bool:
    """Whether a text is a reference that names its registry."""
    return bool(runtime("job/image_reference")["has_registry"](reference))
