"""What a webhook delivery means to the fleet. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fleet_runtime.job.job import (
    LONGEST_QUEUED_SECONDS,
    Job,
    JobEvent,
    UnreadableJobError,
    cut,
)
from fleet_runtime.job.label_rules import LabelRules
from fleet_runtime.job.labels import shown
from fleet_runtime.job.runner_name import read_name
from fleet_runtime.job.scope import REPOSITORY, Scope

_LONGEST_APPROVAL_SECONDS = 30 * 86400
"""How long a job waits for an approval, before GitHub fails it ("Reviewing deployments")."""

_ACTIONS = ("queued", "in_progress", "completed")


class BadDeliveryError(Exception):
    """A signed delivery that cannot be read as a webhook event."""


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """The delivery is no business of the fleet, and why."""

    reason: str


def read(
    body: bytes,
    *,
    event: str,
    delivery: str,
    received_at: int,
    scope: Scope,
    label_rules: LabelRules,
    runner_name_prefix: str,
) -> JobEvent | Ignored:
    """Read a delivery whose signature is good.

    Args:
        body: Raw bytes.
        event: ``X-GitHub-Event``.
        delivery: ``X-GitHub-Delivery``.
        received_at: When it came, epoch seconds.
        scope: Whose jobs are served.
        label_rules: Which of these.
        runner_name_prefix: What the names of the fleet's runners begin with. What a job does on one
            of them is told whatever its labels: GitHub gives a job to any runner that has them all.

    Returns:
        What happened to a job, or why that is no business of the fleet. Whether the job can be
        served is not asked here: that takes the catalog, and is answered behind the bus.

    Raises:
        BadDeliveryError: if it is not a JSON object, or a ``workflow_job`` event that lacks
            what each has.
    """
    payload = _payload(body)
    if event != "workflow_job":
        if not event:
            raise BadDeliveryError("the X-GitHub-Event header is missing")
        return Ignored(reason="pong" if event == "ping" else f"event {shown(event)} is not used")
    job = payload.get("workflow_job")
    if not isinstance(job, dict):
        raise BadDeliveryError("the payload has no workflow_job object")
    action = payload.get("action")
    if action not in _ACTIONS:
        return Ignored(reason=f"action {shown(action)} is not used")
    if action == "queued" and job.get("status") == "waiting":
        return Ignored(reason="the job waits for an approval")
    origin = payload.get("repository")
    full_name = origin.get("full_name") if isinstance(origin, dict) else None
    # it becomes part of paths at GitHub
    if not isinstance(full_name, str) or not REPOSITORY.fullmatch(full_name):
        return Ignored(reason=f"repository {shown(full_name)} is not owner/name")
    if not scope.covers_event(payload):
        return Ignored(reason=f"repository {shown(full_name)} is not in the {scope}")
    job_labels = job.get("labels")
    if not isinstance(job_labels, list):
        raise BadDeliveryError(f"workflow_job.labels is {shown(job_labels)} and not a list")
    runner_name = job.get("runner_name") if action != "queued" else None
    name = read_name(str(runner_name or ""))
    is_on_own = name is not None and name.prefix == runner_name_prefix
    reason = None if is_on_own else label_rules.ignored(job_labels)
    if reason:
        return Ignored(reason=reason)
    try:
        told = Job.read(job, repository=full_name)
    except UnreadableJobError as error:
        raise BadDeliveryError(str(error)) from error
    # a job that waited for an approval may be as old as that was long when it is queued
    waited = _LONGEST_APPROVAL_SECONDS if isinstance(payload.get("deployment"), dict) else 0
    if action == "queued" and _is_long_ago(told, now=received_at - waited):
        return Ignored(
            reason="the job was queued more than a day ago, and GitHub cancels those; one that is "
            "queued still is found by looking at GitHub"
        )
    return JobEvent(action=action, job=told, delivery=cut(delivery), received_at=received_at)


def _is_long_ago(job: Job, *, now: int) -> bool:
    """Whether a job was queued so long ago that the delivery is a captured one, or of no use."""
    newest = max(job.created_at or 0, job.started_at or 0)
    return 0 < newest < now - LONGEST_QUEUED_SECONDS


def _payload(body: bytes) -> dict[str, Any]:
    if not body:
        raise BadDeliveryError("the body is missing")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise BadDeliveryError(
            "the body is not JSON, set the webhook's content type to application/json"
        ) from None
    if not isinstance(payload, dict):
        raise BadDeliveryError(f"the body is {shown(payload)} and not a JSON object")
    return payload
