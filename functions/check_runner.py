"""Asks GitHub whether a runner is still there that has sent no heartbeat for minutes.

The fleet's own ears may be deaf: its API, the way to it, or the job holds the heartbeat up. So only
what GitHub has lost as well is lost. Whoever cannot be asked stops nothing: the lifecycle goes on
waiting, as long as a job may last.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment as settings
from fleet_runtime.aws.client import client
from fleet_runtime.github.client import GitHubAccess
from fleet_runtime.github.message import GitHubError, Job
from fleet_runtime.github.registrations import GitHubRunners
from fleet_runtime.observability import count, logger, observed
from fleet_runtime.runner.rows import Runner, RunnerRecords

_GITHUB_SECONDS = 20.0
"""For all that GitHub is asked: the rest of a Lambda's 30 s is for AWS."""
_RECENT_SECONDS = 60
"""A heartbeat as young as this came while the lifecycle was on its way to here."""


class RunnerOffline(Exception):  # noqa: N818 - the name is in the state machine
    """GitHub has lost the runner too, and the job on it has not ended."""


@cache
def _records() -> RunnerRecords:
    return RunnerRecords(dynamodb=client("dynamodb"), table=settings.runner_api().runner_table)


@cache
def _github() -> GitHubRunners:
    return GitHubRunners(GitHubAccess.of(settings.runner_api().github))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, bool | None]:  # noqa: ARG001
    """Lambda's entry point for the state machine.

    Args:
        event: ``{"runner_id": …}``.
        context: Lambda's context.

    Returns:
        ``{"online": …}``: true if the runner is heard of again, by the fleet or by GitHub; false
        if it is not, and its job has ended, so that the job's ``completed`` event, or
        reconciliation in its place, ends the runner; None if GitHub does not say.

    Raises:
        RunnerOffline: GitHub does not hear the runner either, and its job has not ended.
    """
    runner_id: str = event["runner_id"]
    runner = _records().find(runner_id)
    online = _is_online(runner) if runner else None
    logger.warning("no heartbeat", runner_id=runner_id, online=online)
    return {"online": online}


def _is_online(runner: Runner) -> bool | None:
    silence = _records().now - (runner.last_heartbeat or runner.claimed_at or 0)
    if silence < _RECENT_SECONDS:
        return True
    if runner.github_runner_id is None:
        return None
    github = _github()
    with github.access.within(_GITHUB_SECONDS):
        try:
            found = github.find(runner.github_runner_id)
        except GitHubError as error:
            logger.warning("github does not say", runner_id=runner.runner_id, error=str(error))
            return None
        if found and found.status == "online":
            return True
        job = _job(github, runner)
    if job and job.status == "completed" and job.runner_name == runner.runner_id:
        return False
    if found is None and job is None:
        # 404 is also what a credential is answered that may not see the runner
        return None
    count("HeartbeatLost")
    says = "it is offline" if found else "there is no such runner"
    raise RunnerOffline(f"no heartbeat came for {silence} s, and GitHub says that {says}")


def _job(github: GitHubRunners, runner: Runner) -> Job | None:
    """Look up the job that the row says the runner has; None if GitHub does not say."""
    if runner.job_id is None:
        return None
    try:
        return github.job(runner.job_id, repository=runner.repository)
    except GitHubError as error:
        logger.warning("job not found", runner_id=runner.runner_id, error=str(error))
        return None
