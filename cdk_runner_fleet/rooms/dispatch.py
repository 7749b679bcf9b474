"""What is done about each event: who starts runners, and signals them."""

from __future__ import annotations

import json
import re

from aws_cdk import Token
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.rooms.catalog import RunnerCatalog
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.images import ImageService
from cdk_runner_fleet.rooms.lifecycle import RunnerLifecycle
from cdk_runner_fleet.rooms.registry import (
    LINE_INDEX,
    LIVE_INDEX,
    ROW_LIFETIME,
    WAITING_INDEX,
    RunnerRegistry,
)
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.limits import RunnerLimits

# a runner's name at GitHub has at most 64 characters; job id and attempt take up to 32 of them
_NAME_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,30}")


class EventDispatch(Construct):
    """Starts a runner for each queued job, and tells runners what happens to their job and task.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        registry: The runners' rows, and the ledger with who holds a turn.
        catalog: The sizes of runner.
        cluster: Whose tasks are heard of.
        images: What there is to start runners in.
        lifecycle: What is started, and whose ends are heard of.
        github: Where runners are registered, and which jobs are the fleet's.
        bus: Where jobs' events come from.
        limits: What runners are admitted by.
        runner_name_prefix: What the runners' names begin with.
        options: What all functions of the fleet have in common.
        at_rest: How what they hold and handle is kept.

    Raises:
        ValueError: if no runner can be named with the prefix.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        registry: RunnerRegistry,
        catalog: RunnerCatalog,
        cluster: RunnerCluster,
        images: ImageService,
        lifecycle: RunnerLifecycle,
        github: GitHubConnection,
        bus: FleetBus,
        limits: RunnerLimits,
        runner_name_prefix: str,
        options: FunctionOptions,
        at_rest: DataAtRest,
    ) -> None:
        super().__init__(scope, construct_id)
        _check_name_prefix(runner_name_prefix)
        self._registry = registry
        self._catalog = catalog
        self._lifecycle = lifecycle
        self._bus = bus
        machine_arn = lifecycle.state_machine.state_machine_arn
        self.environment = {
            **images.offer,
            **limits.to_settings(),
            **github.served.label_rules.to_settings(),
            **github.runner_scopes,
            "RUNNER_TABLE": registry.runner_table.table_name,
            "IMAGE_TABLE": registry.image_table.table_name,
            "LEDGER_TABLE": registry.ledger_table.table_name,
            "EVENT_BUS_NAME": bus.event_bus.event_bus_name,
            "STATE_MACHINE_ARN": machine_arn,
            "CLASS_SIZES_PARAMS": catalog.to_setting(),
            "ARCHITECTURES": json.dumps(catalog.architectures),
            "RUNNER_NAME_PREFIX": runner_name_prefix,
            "ROW_TTL_SECONDS": str(int(ROW_LIFETIME.to_seconds())),
        }
        self.dispatch_event = FleetFunction(
            self,
            "DispatchEvent",
            handler="dispatch_event",
            options=options,
            at_rest=at_rest,
            on_failure=bus.failed_events,
            environment=self.environment,
        )
        self.grant_start(self.dispatch_event)
        bus.deliver_own(self, self.dispatch_event, "workflow_job")
        bus.deliver(
            self,
            self.dispatch_event,
            {
                "source": ["aws.ecs"],
                "detail-type": ["ECS Task State Change"],
                "detail": {"clusterArn": [cluster.cluster_arn], "lastStatus": ["STOPPED"]},
            },
            # reconciliation hears of those that were stopped: it ends what they left
            lifecycle.ended("SUCCEEDED", "FAILED"),
        )

    def grant_start(self, function: FleetFunction) -> None:
        """Let ``function``, which is given ``environment``, start runners and signal them."""
        registry = self._registry
        self._catalog.grant_read(function)
        self._lifecycle.grant_start(function)
        self._lifecycle.grant_resume(function)
        self._bus.grant_put(function, "job_unserved", "job_served", "retired_runner_found")
        function.allow(
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            resources=[registry.runner_table.table_arn],
        )
        function.allow(
            "dynamodb:Query",
            resources=[
                f"{registry.runner_table.table_arn}/index/{index}"
                for index in (WAITING_INDEX, LIVE_INDEX, LINE_INDEX)
            ],
        )
        function.allow(
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
            resources=[registry.ledger_table.table_arn],
        )
        function.allow("dynamodb:UpdateItem", resources=[registry.image_table.table_arn])

    def grant_list(self, function: FleetFunction) -> None:
        """Let ``function`` read the rows of all runners that are not over, and who has a turn."""
        registry = self._registry
        function.allow("dynamodb:BatchGetItem", resources=[registry.runner_table.table_arn])
        function.allow("dynamodb:Scan", resources=[registry.ledger_table.table_arn])


def _check_name_prefix(value: str) -> None:
    if not Token.is_unresolved(value) and not _NAME_PREFIX.fullmatch(value):
        raise ValueError(
            f"runner_name_prefix {value!r} cannot begin a runner's name, use up to 31 "
            "lower-case letters, digits and dashes, a letter first"
        )
