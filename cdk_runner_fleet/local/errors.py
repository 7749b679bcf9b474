"""Why the fleet on this machine could not do what was asked."""

from __future__ import annotations

__all__ = ["LocalFleetError", "SettingsError"]


class LocalFleetError(Exception):
    """A part did not start or the stack did not deploy; says which and shows its last words."""


class SettingsError(LocalFleetError):
    """What the caller gave cannot work: a setting, a port or a workflow file."""
