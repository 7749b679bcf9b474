"""Asks GitHub whether a runner is still there that has sent no heartbeat for minutes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.observability import observed
from fleet_runtime.runner.registered import RegisteredRunners, Settings


@cache
def _runners() -> RegisteredRunners:
    return RegisteredRunners.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, bool | None]:  # noqa: ARG001
    """Lambda's entry point for the state machine.

    Args:
        event: ``{"runner_id": …}``.
        context: Lambda's context.

    Returns:
        ``{"online": …}``, see ``RegisteredRunners.is_online``.

    Raises:
        RunnerOffline: GitHub does not hear the runner either, and its job has not ended.
    """
    return {"online": _runners().is_online(event["runner_id"])}
