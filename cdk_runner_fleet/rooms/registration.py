"""How a runner's task becomes a runner at GitHub, is heard there, and ceases to be one."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet._later import later
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
        github: Where runners are registered. None: nowhere, and nobody has anything to claim.
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
        github: GitHubConnection | None,
        options: FunctionOptions,
        at_rest: DataAtRest,
        reserved_concurrency: int | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._github = github
        self._class_task_roles: dict[str, str] = {}
        self._class_runner_groups: dict[str, str] = {}
        self._registry = registry
        self._options = options
        self._at_rest = at_rest
        self.runner_api = (
            self._function(
                "RunnerApi",
                handler="runner_api",
                runners="write",
                also={"actions": "read"},
                roles={
                    "TASK_ROLE": cluster.task_role.role_name,
                    "CLASS_TASK_ROLES": later(lambda: json.dumps(self._class_task_roles)),
                    "CLASS_RUNNER_GROUPS": later(lambda: json.dumps(self._class_runner_groups)),
                },
                reserved_concurrency=reserved_concurrency,
            )
            if github
            else None
        )
        if self.runner_api:
            self.runner_api.allow(
                "dynamodb:UpdateItem", resources=[registry.runner_table.table_arn]
            )
            api.serve(
                self.runner_api, "/runners/{id}/claim", throttle=_CLAIMS, caller=cluster.task_role
            )
            api.serve(self.runner_api, "/runners/{id}/events", throttle=_EVENTS)
        self.check_runner = self._function(
            "CheckRunner", handler="check_runner", runners="read", also={"actions": "read"}
        )
        self.deregister_runner = self._function(
            "DeregisterRunner", handler="deregister_runner", runners="write"
        )

    def _function(
        self,
        construct_id: str,
        *,
        handler: str,
        runners: str,
        also: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None,
        reserved_concurrency: int | None = None,
    ) -> FleetFunction:
        github, registry = self._github, self._registry
        function = FleetFunction(
            self,
            construct_id,
            handler=handler,
            asks_github=github is not None,
            serves_api=handler == "runner_api",
            options=self._options,
            at_rest=self._at_rest,
            reserved_concurrency=reserved_concurrency,
            environment={
                "RUNNER_TABLE": registry.runner_table.table_name,
                **(roles or {}),
                **(github.environment(runners=runners, also=also) if github else {}),
            },
        )
        function.allow("dynamodb:GetItem", resources=[registry.runner_table.table_arn])
        if github:
            github.grant_ask(function)
        return function

    def let_claim(self, role: iam.IRole, *, class_name: str) -> None:
        """Have tasks of a class claim as sessions of ``role``."""
        self._class_task_roles[class_name] = role.role_name

    def join(self, runner_group: str, *, class_name: str) -> None:
        """Register runners of a class in a runner group of their own.

        Raises:
            ValueError: if runners are registered where there are no groups.
        """
        if self._github is None:
            raise ValueError(
                f"class {class_name} has runner_group {runner_group!r}, and without github no "
                "runner is registered: leave it out"
            )
        served = self._github.served
        if served.is_one_repository or served.register_for:
            raise ValueError(
                f"class {class_name} has runner_group {runner_group!r}, and runners are registered "
                "for single repositories, which have no groups: leave it out, or serve an "
                "organization without register_for"
            )
        self._class_runner_groups[class_name] = runner_group
