"""What a runner went through, from its execution's history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

__all__ = ["PHASES", "Step", "phase_seconds", "read_steps"]

PHASES = {
    "start": ("RecordRunner", "LaunchTask", "AwaitCapacity", "WaitForRunner", "StopUnreadyTask"),
    "image": ("FindImage", "StartBuild", "AwaitBuild"),
    "wait": ("WaitForJob", "ReleaseRunner", "AwaitGitHub"),
    "run": ("RunJob", "CheckRunner"),
    "stop": ("StopTask", "StopFailedTask", "DeregisterRunner", "RecordOffline", "RecordFailed"),
}
"""The states in which a runner spends time, by what a person would call them."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stay in a state of the lifecycle; times in epoch seconds, `left_at` None while in it."""

    state: str
    entered_at: float
    left_at: float | None = None

    @property
    def phase(self) -> str:
        """The phase the state belongs to; empty for those between phases."""
        return next((phase for phase, states in PHASES.items() if self.state in states), "")


def read_steps(states: Any, execution_arn: str) -> list[Step]:
    """The steps of an execution, oldest first; none if it does not exist (yet).

    Args:
        states: A boto3 client of Step Functions.
        execution_arn: The execution's ARN.
    """
    events: list[dict[str, Any]] = []
    pages = states.get_paginator("get_execution_history").paginate(
        executionArn=execution_arn, includeExecutionData=False
    )
    try:
        for page in pages:
            events += page["events"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ExecutionDoesNotExist":
            return []
        raise
    return _steps(events)


def _steps(events: Iterable[dict[str, Any]]) -> list[Step]:
    """The lifecycle has no parallel states, so each state is left before the next is entered."""
    steps: list[Step] = []
    for event in events:
        at = event["timestamp"].timestamp()
        if event["type"] == "ChoiceStateEntered":
            continue  # takes no time
        if "stateEnteredEventDetails" in event:
            # an end by StopExecution or by failure writes no exit
            if steps and steps[-1].left_at is None:
                steps[-1] = _left(steps[-1], at)
            steps.append(Step(state=event["stateEnteredEventDetails"]["name"], entered_at=at))
        elif steps and steps[-1].left_at is None and _is_exit(event):
            steps[-1] = _left(steps[-1], at)
    return steps


def _is_exit(event: dict[str, Any]) -> bool:
    return "stateExitedEventDetails" in event or event["type"].startswith("Execution")


def _left(step: Step, at: float) -> Step:
    return Step(state=step.state, entered_at=step.entered_at, left_at=at)


def phase_seconds(steps: Iterable[Step]) -> dict[str, float]:
    """Seconds in each phase, rounded to milliseconds."""
    phases = dict.fromkeys(PHASES, 0.0)
    for step in steps:
        if step.left_at is not None and step.phase:
            phases[step.phase] += step.left_at - step.entered_at
    return {phase: round(seconds, 3) for phase, seconds in phases.items()}
