"""The executions of the lifecycle: each is the life of the runner whose name it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.aws.client import Client
from fleet_runtime.job.runner_name import execution_arn

_MOST_PAGES = 10
"""Of a thousand executions each."""


@dataclass(frozen=True, kw_only=True)
class Executions:
    """The lives of runners, by the runners' ids.

    Attributes:
        stepfunctions: A Step Functions client.
        state_machine_arn: The lifecycle.
    """

    stepfunctions: Client
    state_machine_arn: str

    def start(self, document: Mapping[str, Any]) -> bool:
        """Begin the life of the runner that an input is for; False if it has begun before."""
        try:
            self.stepfunctions.start_execution(
                stateMachineArn=self.state_machine_arn,
                name=document["runner_id"],
                input=json.dumps(document),
            )
        except self.stepfunctions.exceptions.ExecutionAlreadyExists:
            return False
        return True

    def open(self) -> frozenset[str]:
        """List the runners whose life goes on; the list may lag behind a little."""
        found: set[str] = set()
        page: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            answer = self.stepfunctions.list_executions(
                stateMachineArn=self.state_machine_arn,
                statusFilter="RUNNING",
                maxResults=1000,
                **page,
            )
            found |= {execution["name"] for execution in answer["executions"]}
            if "nextToken" not in answer:
                break
            page = {"nextToken": answer["nextToken"]}
        return frozenset(found)

    def is_open(self, runner_id: str) -> bool:
        """Whether a runner's life goes on; one that left no trace does not."""
        described = self.describe(runner_id)
        return described is not None and described["status"] == "RUNNING"

    def describe(self, runner_id: str) -> Mapping[str, Any] | None:
        """Describe a runner's life: ``status``, ``input`` and so on; None if there is no trace."""
        try:
            found: Mapping[str, Any] = self.stepfunctions.describe_execution(
                executionArn=execution_arn(self.state_machine_arn, runner_id)
            )
        except self.stepfunctions.exceptions.ExecutionDoesNotExist:
            return None
        return found


def read_input(described: Mapping[str, Any]) -> dict[str, Any]:
    """Read the input that a runner's life began with."""
    document: dict[str, Any] = json.loads(described["input"])
    return document


def read_prices(described: Mapping[str, Any] | None) -> Mapping[str, float]:
    """Read what a second of a runner costs on each capacity, in US dollars; empty if unknown."""
    document = read_input(described) if described else {}
    prices: Mapping[str, float] = document.get("usd_per_second", {})
    return prices
