"""The runners' own API: a task claims its registration, then reports that it lives and its job."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.observability import observed
from fleet_runtime.runner.api import RunnerApi, Settings


@cache
def _api() -> RunnerApi:
    return RunnerApi.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Lambda's entry point for ``POST /runners/{id}/claim`` and ``/runners/{id}/events``."""
    return _api().answer(event)
