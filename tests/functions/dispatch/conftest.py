"""The function that starts runners."""

from __future__ import annotations

from .. import entry_points

dispatch = entry_points.dispatch
