"""Turns events into runners' lives: jobs that are queued start one, all others signal one."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment as settings
from fleet_runtime.dispatch.dispatcher import Dispatcher
from fleet_runtime.job.job import JobEvent
from fleet_runtime.observability import logger, observed
from fleet_runtime.runner.signals import StoppedTask

_CONTAINER = "runner"


@cache
def _dispatcher() -> Dispatcher:
    return Dispatcher.of(settings.dispatch_event())


@observed
def handler(event: Mapping[str, Any], context: object) -> None:  # noqa: ARG001
    """Lambda's entry point for the fleet's bus and for ECS.

    Raises:
        KeyError: if an event lacks what its kind has; it ends in the dead-letter queue.
    """
    kind, detail = event["detail-type"], event["detail"]
    if kind == "workflow_job":
        _dispatcher().handle(JobEvent.from_detail(detail))
    elif kind == "ECS Task State Change":
        if detail["lastStatus"] == "STOPPED" and detail.get("startedBy"):
            _dispatcher().signals.stopped(_stopped_task(detail))
    elif kind == "Step Functions Execution Status Change":
        _dispatcher().ended(detail["name"], status=detail["status"])
    else:
        logger.warning("event not used", detail_type=kind)


def _stopped_task(detail: Mapping[str, Any]) -> StoppedTask:
    containers = detail.get("containers") or []
    container: Mapping[str, Any] = next(
        (one for one in containers if one.get("name") == _CONTAINER), {}
    )
    exit_code = container.get("exitCode")
    code = detail.get("stopCode") or "no stop code"
    reason = f"the task stopped ({code}): {detail.get('stoppedReason') or 'no reason given'}"
    if exit_code is not None or container.get("reason"):
        reason += f"; its container exited with {exit_code}"
    if container.get("reason"):
        # where ECS says OutOfMemoryError or CannotPullContainerError
        reason += f": {container['reason']}"
    return StoppedTask(
        runner_id=detail["startedBy"],
        task_arn=detail["taskArn"],
        stopped_at=_epoch(detail.get("stoppedAt")),
        stop_code=detail.get("stopCode") or "",
        reason=reason,
        exit_code=exit_code,
    )


def _epoch(value: str | None) -> int:
    return int(datetime.datetime.fromisoformat(value).timestamp() if value else time.time())
