"""Removes a runner's registration at GitHub, unless a job has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment as settings
from fleet_runtime.aws.client import client
from fleet_runtime.github.client import GitHubAccess
from fleet_runtime.github.registrations import GitHubRunners
from fleet_runtime.observability import logger, observed
from fleet_runtime.runner.rows import RunnerRecords

_GITHUB_SECONDS = 20.0
"""For all that GitHub is asked: the rest of a Lambda's 30 s is for AWS."""


@cache
def _records() -> RunnerRecords:
    return RunnerRecords(dynamodb=client("dynamodb"), table=settings.runner_api().runner_table)


@cache
def _github() -> GitHubRunners:
    return GitHubRunners(GitHubAccess.of(settings.runner_api().github))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, bool]:  # noqa: ARG001
    """Lambda's entry point for the state machine.

    Args:
        event: ``{"runner_id": …}``.
        context: Lambda's context.

    Returns:
        ``{"busy": …}``: whether the runner has a job and so is still registered.

    Raises:
        GitHubUnavailable: GitHub cannot be asked now; the state machine retries.
        GitHubRefused: GitHub will not let the fleet do this.
    """
    runner_id: str = event["runner_id"]
    runner = _records().find(runner_id)
    github = _github()
    with github.access.within(_GITHUB_SECONDS):
        busy = github.remove(
            name=runner_id, github_runner_id=runner.github_runner_id if runner else None
        )
    logger.info("deregistered", runner_id=runner_id, busy=busy)
    return {"busy": busy}
