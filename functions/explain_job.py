"""Tells a job's author that no runner will come, and why; and tells what GitHub says of a job."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.explanation.explainer import Explainer, Settings
from fleet_runtime.explanation.unserved import DETAIL_TYPE
from fleet_runtime.observability import observed


@cache
def _explainer() -> Explainer:
    return Explainer.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, Any] | None:  # noqa: ARG001
    """Lambda's entry point for the fleet's bus and for the command line.

    Args:
        event: A ``job_unserved`` event of the fleet's bus, or ``{"job_id", "repository"}``.
        context: Lambda's context.

    Returns:
        For the command line, what GitHub says of the job: ``status``, ``conclusion``, ``labels``,
        ``runner_name``, times and ``html_url``; or ``error``, why it does not say.

    Raises:
        GitHubUnavailable: GitHub cannot be told now; the event is tried again.
        KeyError: if an event lacks what its kind has; it ends in the dead-letter queue.
    """
    if event.get("detail-type") == DETAIL_TYPE:
        _explainer().explain(event["detail"])
        return None
    return _explainer().view(int(event["job_id"]), repository=event["repository"])
