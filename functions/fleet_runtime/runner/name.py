"""What is made up for when GitHub gives a runner another job than the one it was started for.

GitHub lets any runner take a job whose labels it has, so a job without a class can take the runner
of a job with one, and is then served by it while its own, lesser runner can never serve the other.
Runners with the same labels are as good as each other and simply swap.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fleet_runtime.aws.client import Client
from fleet_runtime.runner.rows import Runner

_REPLACEMENT = re.compile(r"(?P<first>.+-\d+-\d+)-r(?P<number>\d+)")


def first_runner_id(runner_id: str) -> str:
    """The id of the runner that a replacement stands for; its own if it is none."""
    match = _REPLACEMENT.fullmatch(runner_id)
    return match["first"] if match else runner_id


def next_runner_id(runner_id: str) -> str:
    """The id of the replacement of a runner: the same however often it is asked for."""
    match = _REPLACEMENT.fullmatch(runner_id)
    return f"{match['first']}-r{int(match['number']) + 1}" if match else f"{runner_id}-r1"


def swap(one: Runner, other: Runner) -> bool:
    """Whether each could do the other's job."""
    return _lowered(one) == _lowered(other)


def replacement_input(
    runner: Runner, *, stepfunctions: Client, state_machine_arn: str
) -> dict[str, Any]:
    """The execution's input of another runner like ``runner``, for the job it was started for."""
    execution_arn = state_machine_arn.replace(":stateMachine:", ":execution:")
    known = stepfunctions.describe_execution(executionArn=f"{execution_arn}:{runner.runner_id}")
    document: dict[str, Any] = json.loads(known["input"])
    return document | {"runner_id": next_runner_id(runner.runner_id)}


def _lowered(runner: Runner) -> frozenset[str]:
    return frozenset(label.lower() for label in runner.runner_labels)
