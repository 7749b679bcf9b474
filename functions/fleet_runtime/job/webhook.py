"""What a webhook delivery means to the fleet. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.job import image_reference as images
from fleet_runtime.job import labels
from fleet_runtime.job.job import Job, JobEvent, UnreadableJobError, cut
from fleet_runtime.job.labels import Refusal, shown
from fleet_runtime.job.scope import Scope

_ACTIONS = ("queued", "in_progress", "completed")
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,100}/(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}")


class BadDeliveryError(Exception):
    """A signed delivery that cannot be read as a webhook event."""


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """The delivery is no business of the fleet, and why."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The delivery goes onto the bus.

    Attributes:
        detail: The bus event's detail.
        message: What GitHub's delivery log shows.
    """

    detail: Mapping[str, Any]
    message: str


def read(
    body: bytes,
    *,
    event: str,
    delivery: str,
    received_at: int,
    scope: Scope,
    policy: images.ImagePolicy,
) -> Accepted | Ignored:
    """Read a delivery whose signature is good.

    Args:
        body: Raw bytes.
        event: ``X-GitHub-Event``.
        delivery: ``X-GitHub-Delivery``.
        received_at: When it came, epoch seconds.
        scope: Whose jobs are served.
        policy: Which images may be asked for.

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
    if not isinstance(full_name, str) or not _REPOSITORY.fullmatch(full_name):
        return Ignored(reason=f"repository {shown(full_name)} is not owner/name")
    if not scope.covers_event(payload):
        return Ignored(reason=f"repository {shown(full_name)} is not in the {scope}")
    job_labels = job.get("labels")
    if not isinstance(job_labels, list):
        raise BadDeliveryError(f"workflow_job.labels is {shown(job_labels)} and not a list")
    if reason := labels.ignored(job_labels):
        return Ignored(reason=reason)
    try:
        happened = JobEvent(
            action=action,
            job=Job.read(job, repository=full_name),
            delivery=cut(delivery),
            received_at=received_at,
        )
    except UnreadableJobError as error:
        raise BadDeliveryError(str(error)) from error
    refusal = _refusal(job_labels, policy) if action == "queued" else None
    message = f"cannot be served: {refusal.reason}" if refusal else "accepted"
    return Accepted(detail=happened.to_detail(), message=message)


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


def _refusal(job_labels: list[object], policy: images.ImagePolicy) -> Refusal | None:
    request = labels.read(job_labels)
    if isinstance(request, Refusal):
        return request
    if request.image is None:
        return None
    image = images.allowed(request.image, policy=policy)
    return image if isinstance(image, Refusal) else None
