"""Who gets a runner, and when: what whoever starts one has to know, and is allowed."""

from __future__ import annotations

import json

from constructs import Construct

from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.rooms.catalog import RunnerCatalog
from cdk_runner_fleet.rooms.images import ImageService
from cdk_runner_fleet.rooms.lifecycle import RunnerLifecycle
from cdk_runner_fleet.rooms.registry import (
    LINE_INDEX,
    LIVE_INDEX,
    ROW_LIFETIME,
    WAITING_INDEX,
    RunnerRegistry,
)
from cdk_runner_fleet.values.limits import RunnerLimits


class RunnerAdmission(Construct):
    """What functions share that start runners: one line, one ledger and the same limits for all.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        registry: The runners' rows, and the ledger with who holds a turn.
        catalog: The sizes of runner.
        images: What there is to start runners in.
        lifecycle: What is started.
        bus: Where it is told of jobs without a runner.
        limits: What runners are admitted by.

    Attributes:
        environment: Settings of a function that starts runners.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        registry: RunnerRegistry,
        catalog: RunnerCatalog,
        images: ImageService,
        lifecycle: RunnerLifecycle,
        bus: FleetBus,
        limits: RunnerLimits,
    ) -> None:
        super().__init__(scope, construct_id)
        self._registry = registry
        self._catalog = catalog
        self._lifecycle = lifecycle
        self._bus = bus
        self.environment = {
            **images.offer,
            **limits.to_settings(),
            "RUNNER_TABLE": registry.runner_table.table_name,
            "IMAGE_TABLE": registry.image_table.table_name,
            "LEDGER_TABLE": registry.ledger_table.table_name,
            **bus.environment,
            "STATE_MACHINE_ARN": lifecycle.state_machine.state_machine_arn,
            "CLASS_SIZES_PARAMS": catalog.to_setting(),
            "ARCHITECTURES": json.dumps(catalog.architectures),
            "ROW_TTL_SECONDS": str(int(ROW_LIFETIME.to_seconds())),
        }

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
