"""Turns events into runners' lives: jobs that are queued start one, all others signal one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.dispatch.parts import Parts, Settings
from fleet_runtime.job.job import JobEvent
from fleet_runtime.observability import logger, observed
from fleet_runtime.runner.signals import StoppedTask


@cache
def _parts() -> Parts:
    return Parts.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> None:  # noqa: ARG001
    """Lambda's entry point for the fleet's bus, for ECS and for executions that ran their course.

    Raises:
        KeyError: if an event lacks what its kind has; it ends in the dead-letter queue.
    """
    kind, detail = event["detail-type"], event["detail"]
    if kind == "workflow_job":
        _parts().dispatcher.handle(JobEvent.from_detail(detail))
    elif kind == "ECS Task State Change":
        if detail["lastStatus"] == "STOPPED" and detail.get("startedBy"):
            _parts().signals.stopped(StoppedTask.from_detail(detail))
    elif kind == "Step Functions Execution Status Change":
        _parts().dispatcher.execution_ended(detail["name"])
    else:
        logger.warning("event not used", detail_type=kind)
