"""Removes a runner's registration at GitHub, unless a job has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.github.runners import Removal
from fleet_runtime.observability import observed
from fleet_runtime.runner.registered import RegisteredRunners, Settings


@cache
def _runners() -> RegisteredRunners:
    return RegisteredRunners.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, bool]:  # noqa: ARG001
    """Lambda's entry point for the state machine.

    Args:
        event: ``{"runner_id": …}``.
        context: Lambda's context.

    Returns:
        ``{"busy": …, "registered": …}``: whether the runner has a job and so is still registered,
        and whether GitHub had it at all.

    Raises:
        GitHubUnavailable: GitHub cannot be asked now; the state machine retries.
        GitHubRefused: GitHub will not let the fleet do this.
    """
    removal = _runners().deregister(event["runner_id"])
    return {"busy": removal is Removal.BUSY, "registered": removal is not Removal.ABSENT}
