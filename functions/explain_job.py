"""Tells a job's author why it gets no runner, and the command line why it waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.admission import waits
from fleet_runtime.explanation import explainer
from fleet_runtime.observability import observed


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What jobs are explained by, and what those in line wait for."""

    explanation: explainer.Settings
    waits: waits.Settings


@cache
def _explainer() -> explainer.Explainer:
    return explainer.Explainer.of(environment.read(Settings).explanation)


@cache
def _waits() -> waits.Waits:
    return waits.Waits.of(environment.read(Settings).waits)


@observed
def handler(event: Mapping[str, Any], context: object) -> Mapping[str, Any] | None:  # noqa: ARG001
    """Lambda's entry point for the fleet's bus and for the command line.

    Args:
        event: A ``job_unserved`` or ``job_served`` event of the fleet's bus, ``{"job_id",
            "repository"}``, or ``{"waiting": [runner, …]}``.
        context: Lambda's context.

    Returns:
        For the command line, what GitHub says of the job: ``status``, ``conclusion``, ``labels``,
        ``runner_name``, times and ``html_url``, with ``left_alone``, why the job is none of the
        fleet's, if it is none; or ``error``, why it does not say. Of runners that wait, why they do
        now, by runner.

    Raises:
        GitHubUnavailable: GitHub cannot be told now; the event is tried again.
        KeyError: if an event lacks what its kind has; it ends in the dead-letter queue.
    """
    if "detail-type" in event:
        _explainer().hear(event["detail-type"], event["detail"])
        return None
    if "waiting" in event:
        return _waits().reasons(event["waiting"])
    return _explainer().view(int(event["job_id"]), repository=event["repository"])
