"""How a runner's task becomes a runner at GitHub, is heard there, and ceases to be one."""

from __future__ import annotations

import json

from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.rooms.api import FleetApi, Throttle
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.registry import RunnerRegistry
from cdk_runner_fleet.values.functions import FunctionOptions

_CLAIMS = Throttle(rate=50, burst=200)
"""Fargate launches 100 tasks in one burst and 20 a second after it ("Fargate throttling quotas"); a
task that is turned away tries again for two minutes."""
_EVENTS = Throttle(rate=50, burst=500)
"""1,000 runners send nine heartbeats a second, and each job two events, of up to 20 a second."""


class RunnerRegistration(Construct):
    """Registers runners for their tasks, and asks after them and takes them away for the lifecycle.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        api: Where tasks claim their registration, and say how they are.
        cluster: Whose tasks may claim: they sign as the task role's sessions.
        registry: The runners' rows.
        github: Where runners are registered.
        options: What all functions of the fleet have in common.
        at_rest: How what they hold and handle is kept.
        reserved_concurrency: Requests of runners that are handled at a time. Default: no limit of
            its own.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        api: FleetApi,
        cluster: RunnerCluster,
        registry: RunnerRegistry,
        github: GitHubConnection,
        options: FunctionOptions,
        at_rest: DataAtRest,
        reserved_concurrency: int | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        table = {"RUNNER_TABLE": registry.runner_table.table_name}
        rows = [registry.runner_table.table_arn]

        self.runner_api = FleetFunction(
            self,
            "RunnerApi",
            handler="runner_api",
            asks_github=True,
            options=options,
            at_rest=at_rest,
            reserved_concurrency=reserved_concurrency,
            environment={
                **table,
                "TASK_ROLES": json.dumps([cluster.task_role.role_name]),
                **github.environment(runners="write", also={"actions": "read"}),
            },
        )
        self.runner_api.allow("dynamodb:GetItem", "dynamodb:UpdateItem", resources=rows)
        api.serve(
            self.runner_api, "/runners/{id}/claim", throttle=_CLAIMS, caller=cluster.task_role
        )
        api.serve(self.runner_api, "/runners/{id}/events", throttle=_EVENTS)

        self.check_runner = FleetFunction(
            self,
            "CheckRunner",
            handler="check_runner",
            asks_github=True,
            options=options,
            at_rest=at_rest,
            environment={**table, **github.environment(runners="read", also={"actions": "read"})},
        )
        self.check_runner.allow("dynamodb:GetItem", resources=rows)

        self.deregister_runner = FleetFunction(
            self,
            "DeregisterRunner",
            handler="deregister_runner",
            asks_github=True,
            options=options,
            at_rest=at_rest,
            environment={**table, **github.environment(runners="write")},
        )
        self.deregister_runner.allow("dynamodb:GetItem", resources=rows)

        for function in (self.runner_api, self.check_runner, self.deregister_runner):
            github.grant_ask(function)
