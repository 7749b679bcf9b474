"""A deployed fleet as the commands see it: its names and clients for its services."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from cdk_runner_fleet.cli.errors import FleetError, is_refused_as

__all__ = ["DEFAULT_STACK", "Deployment"]

DEFAULT_STACK = "RunnerFleet"
"""The stack that `app.py` deploys."""

_RUNNER_TABLE = ("RUNNER_TABLE", "RUNNER_STATE_TABLE")
_CLASS_SIZES = ("CLASS_SIZES_PARAMS",)
# a person waits for the answer: rather an error after seconds than silence for minutes
_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard"})


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One fleet, on AWS or, with `AWS_ENDPOINT_URL` set, on this machine.

    Names come from the environment (`RUNNER_TABLE`, `CLASS_SIZES_PARAMS`) or from the outputs of
    its stack. A stack that is named outdoes the environment.

    Args:
        stack: The stack's name. Default: the environment's names, then the stack `RunnerFleet`.
        profile: An AWS profile. Default: boto3's own search for credentials.
        region: An AWS region. Default: the profile's or the environment's.
    """

    stack: str | None = None
    profile: str | None = None
    region: str | None = None

    def client(self, service: str) -> Any:
        """A boto3 client of an AWS service, the same each time."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service, config=_CONFIG)
        return self._clients[service]

    def ask_explain_job(self, question: Mapping[str, object]) -> dict[str, Any]:
        """What the function that explains jobs answers.

        Raises:
            FleetError: if the stack has none, or it has failed.
            botocore.exceptions.ClientError: if it may not be asked.
        """
        answer = self.client("lambda").invoke(
            FunctionName=self.explain_function, Payload=json.dumps(question)
        )
        payload: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise FleetError(f"explain_job failed: {payload.get('errorMessage')}")
        return payload

    @property
    def runner_table(self) -> str:
        """Name of the table of runners; raises FleetError if it cannot be found."""
        return self._named(_RUNNER_TABLE, output="RunnerTableName")

    @property
    def class_sizes_parameters(self) -> list[str]:
        """Names of the SSM parameters of runner classes; raises FleetError."""
        return self._named(_CLASS_SIZES, output="ClassSizesParameterNames").split(",")

    @property
    def runner_name_prefix(self) -> str:
        """What the runners' ids begin with; raises FleetError."""
        return self._named(("RUNNER_NAME_PREFIX",), output="RunnerNamePrefix")

    @property
    def image_table(self) -> str:
        """Name of the table of images; raises FleetError."""
        return self._named(("IMAGE_TABLE",), output="ImageTableName")

    @property
    def ledger_table(self) -> str:
        """Name of the table of turns; raises FleetError."""
        return self._named(("LEDGER_TABLE",), output="LedgerTableName")

    @property
    def max_runners(self) -> int:
        """How many runners the fleet may have at a time; raises FleetError."""
        return int(self._named((), output="MaxRunners"))

    @property
    def daily_budget_usd(self) -> float | None:
        """What runners may cost on one day; None for no limit."""
        budget = self._outputs().get("DailyBudgetUsd")
        return None if budget is None else float(budget)

    @property
    def explain_function(self) -> str:
        """Name of the function that explains jobs; raises FleetError."""
        return self._named((), output="ExplainJobFunctionName")

    @property
    def failed_events_queue(self) -> str:
        """URL of the dead-letter queue; raises FleetError."""
        return self._named((), output="FailedEventsQueueUrl")

    @property
    def event_bus(self) -> str:
        """ARN of the fleet's bus; raises FleetError."""
        return self._named((), output="EventBusArn")

    @property
    def event_archive(self) -> str:
        """ARN of the bus's archive; raises FleetError."""
        return self._named((), output="EventArchiveArn")

    @property
    def cluster(self) -> str:
        """Name of the ECS cluster; raises FleetError."""
        return self._named((), output="ClusterName")

    @property
    def task_family(self) -> str:
        """What the names of the fleet's task-definition families begin with; raises FleetError."""
        return self._named((), output="TaskFamily")

    @property
    def is_half_deleted(self) -> bool:
        """Whether somebody has begun to delete its stack, and what acts in it may be gone."""
        return str((self._stack or {}).get("StackStatus", "")).startswith("DELETE_")

    @cached_property
    def _session(self) -> Any:
        return boto3.Session(
            profile_name=self.profile,
            # boto3 itself reads AWS_DEFAULT_REGION alone
            region_name=self.region or os.environ.get("AWS_REGION"),
        )

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _stack(self) -> Mapping[str, Any] | None:
        """Its stack, asked for once; None if there is none."""
        name = self.stack or DEFAULT_STACK
        try:
            stacks = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if is_refused_as(error, "ValidationError"):
                return None
            raise
        found: Mapping[str, Any] = stacks[0]
        return found

    def _named(self, variables: tuple[str, ...], *, output: str) -> str:
        if self.stack is None:
            for variable in variables:
                if os.environ.get(variable):
                    return os.environ[variable]
        hint = f" or set {variables[0]}" if variables else ""
        outputs = self._outputs(hint)
        if output not in outputs:
            raise FleetError(
                f"stack {self.stack or DEFAULT_STACK!r} has no output {output}: is it a runner "
                f"fleet? Name the right one with --stack{hint}"
            )
        return outputs[output]

    def _outputs(self, hint: str = "") -> dict[str, str]:
        if self._stack is None:
            name, where = self.stack or DEFAULT_STACK, self._session.region_name
            raise FleetError(
                f"there is no stack {name!r} in {where}: deploy it (`make deploy`), name "
                f"another with --stack, give its --region{hint}"
            )
        return {each["OutputKey"]: each["OutputValue"] for each in self._stack.get("Outputs", [])}
