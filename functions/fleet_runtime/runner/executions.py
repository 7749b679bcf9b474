"""The executions of the lifecycle, as far as reconciliation looks at them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.aws.client import Client

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
        arn = self.state_machine_arn.replace(":stateMachine:", ":execution:")
        try:
            found: Mapping[str, Any] = self.stepfunctions.describe_execution(
                executionArn=f"{arn}:{runner_id}"
            )
        except self.stepfunctions.exceptions.ExecutionDoesNotExist:
            return None
        return found


def read_prices(described: Mapping[str, Any] | None) -> Mapping[str, float]:
    """Read what a second of a runner costs on each capacity, in US dollars; empty if unknown."""
    document = json.loads(described["input"]) if described else {}
    prices: Mapping[str, float] = document.get("usd_per_second", {})
    return prices
