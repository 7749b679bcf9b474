"""Compares what GitHub has queued with what runs, and puts right what events have missed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.observability import observed
from fleet_runtime.reconciliation.parts import Settings, reconciliation
from fleet_runtime.reconciliation.run import Reconciliation


@cache
def _reconciliation() -> Reconciliation:
    return reconciliation(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Lambda's entry point for the schedule, for executions that ended badly, and for people.

    Args:
        event: ``Step Functions Execution Status Change``, or anything else for a whole run.
        context: Lambda's context.

    Returns:
        What was done, see ``reconciliation.run.Done``.
    """
    if event.get("detail-type") == "Step Functions Execution Status Change":
        return vars(_reconciliation().execution_ended(event["detail"]["name"]))
    seconds = context.get_remaining_time_in_millis() / 1000
    return vars(_reconciliation().run(owner=context.aws_request_id, seconds=seconds))
