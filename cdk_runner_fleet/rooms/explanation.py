"""Who tells the author of a job that will have no runner."""

from __future__ import annotations

from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.rooms.catalog import RunnerCatalog
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.registry import RunnerRegistry
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.limits import RunnerLimits


class JobExplanation(Construct):
    """Says at the commit, and to the command line, why a job has no runner.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        registry: The runners' rows, and who holds a turn.
        catalog: The sizes of runner, of which there may be so many.
        limits: What else those in line wait for.
        github: Where it is said, unless authors are not to be told, and which jobs are left alone.
        bus: Where it is heard of such jobs.
        options: What all functions of the fleet have in common.
        at_rest: How what they hold and handle is kept.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        registry: RunnerRegistry,
        catalog: RunnerCatalog,
        limits: RunnerLimits,
        github: GitHubConnection,
        bus: FleetBus,
        options: FunctionOptions,
        at_rest: DataAtRest,
    ) -> None:
        super().__init__(scope, construct_id)
        self.explain_job = FleetFunction(
            self,
            "ExplainJob",
            handler="explain_job",
            asks_github=True,
            options=options,
            at_rest=at_rest,
            on_failure=bus.failed_events,
            environment={
                **limits.to_settings(),
                **github.served.label_rules.to_settings(),
                "RUNNER_TABLE": registry.runner_table.table_name,
                "LEDGER_TABLE": registry.ledger_table.table_name,
                "CLASS_SIZES_PARAMS": catalog.to_setting(),
                **github.runner_scopes,
                **github.environment(runners="read", of_served=True, also={"actions": "read"}),
                "EXPLAIN_AT_GITHUB": "on" if github.served.explain_jobs else "off",
            },
        )
        github.grant_ask(self.explain_job)
        self.explain_job.allow(
            "dynamodb:GetItem",
            "dynamodb:UpdateItem",
            resources=[registry.runner_table.table_arn],
        )
        self.explain_job.allow("dynamodb:GetItem", resources=[registry.ledger_table.table_arn])
        catalog.grant_read(self.explain_job)
        bus.deliver_own(self, self.explain_job, "job_unserved", "job_served")
