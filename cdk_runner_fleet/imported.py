"""A fleet of another stack or app, by the names that it has there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aws_cdk import Token
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk_runner_fleet._place import check_place
from cdk_runner_fleet.metrics import IRunnerFleet
from cdk_runner_fleet.values.types import is_token

_CALLER = re.compile(r"token|app-.+")


class ImportedFleet(IRunnerFleet):
    """A fleet that is made elsewhere, see ``RunnerFleet.from_runner_fleet_attributes``."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        fleet_name: str,
        state_machine_arn: str,
        failed_events_queue_arn: str,
        function_log_group_name: str | None,
        lifecycle_log_group_name: str | None,
        daily_budget_usd: float | None,
        github_callers: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id)
        self._check_arn("state_machine_arn", state_machine_arn, service="states")
        self._check_arn("failed_events_queue_arn", failed_events_queue_arn, service="sqs")
        if not fleet_name:
            raise ValueError(
                "fleet_name is empty: give the output FleetName of the fleet's stack, or "
                "fleet.fleet_name"
            )
        for caller in github_callers:
            if not is_token(caller) and not _CALLER.fullmatch(caller):
                raise ValueError(
                    f"github_callers has {caller!r}, and a fleet asks GitHub as 'token', or as "
                    "'app-<id>' for each of its Apps"
                )
        self.fleet_name = fleet_name
        self.state_machine = sfn.StateMachine.from_state_machine_arn(
            self, "StateMachine", state_machine_arn
        )
        self.dead_letter_queue = sqs.Queue.from_queue_arn(
            self, "FailedEvents", failed_events_queue_arn
        )
        self.daily_budget_usd = daily_budget_usd
        self.github_callers = github_callers
        self.function_logs = self._logs("FunctionLogs", function_log_group_name)
        self.lifecycle_logs = self._logs("LifecycleLogs", lifecycle_log_group_name)

    def _check_arn(self, name: str, value: str, *, service: str) -> None:
        if not Token.is_unresolved(value) and value.split(":")[:3:2] != ["arn", service]:
            raise ValueError(
                f"{name} {value!r} is none, give the ARN that the fleet's stack has as an output, "
                f"arn:aws:{service}:<region>:<account>:…"
            )
        check_place(
            self,
            f"{name} {value!r}",
            None,
            arn=value,
            why="alarms and queries are where what they watch is",
        )

    def _logs(self, construct_id: str, name: str | None) -> logs.ILogGroup | None:
        return logs.LogGroup.from_log_group_name(self, construct_id, name) if name else None
