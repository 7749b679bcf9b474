"""What ``app.py`` deploys: one fleet with its settings from context, and its names as outputs."""

from __future__ import annotations

from aws_cdk import (
    CfnOutput,
    Environment,
    IStackSynthesizer,
    PermissionsBoundary,
    Stack,
    Tokenization,
)
from constructs import Construct

from cdk_runner_fleet.context import FleetSettings
from cdk_runner_fleet.fleet import RunnerFleet


class RunnerFleetStack(Stack):
    """A stack with one :class:`RunnerFleet`.

    Args:
        scope: The app.
        construct_id: The stack's name.
        settings: The fleet's settings. Default: they are read from the app's context
            (``cdk.json``, ``-c key=value``).
        env: Account and region. Default: the stack can be deployed anywhere.
        stack_name: The stack's name at CloudFormation. Default: as aws-cdk names stacks.
        description: What the stack is. Default: that it is a fleet.
        termination_protection: Whether CloudFormation refuses to delete the stack. Default: no.
        permissions_boundary: Of all roles. Default: none.
        synthesizer: How it is deployed. Default: as the app is.

    Raises:
        ValueError: if a setting is missing, unknown or cannot work.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: FleetSettings | None = None,
        env: Environment | None = None,
        stack_name: str | None = None,
        description: str = "cdk-runner-fleet: GitHub Actions runners on ephemeral Fargate tasks",
        termination_protection: bool = False,
        permissions_boundary: PermissionsBoundary | None = None,
        synthesizer: IStackSynthesizer | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            env=env,
            stack_name=stack_name,
            description=description,
            termination_protection=termination_protection,
            permissions_boundary=permissions_boundary,
            synthesizer=synthesizer,
        )
        self.fleet = (settings or FleetSettings.from_context(self.node)).make(self, "Fleet")
        self._output(self.fleet)

    def _output(self, fleet: RunnerFleet) -> None:
        values = {
            "WebhookUrl": fleet.webhook_url,
            "RunnerApiUrl": fleet.api.url,
            "RunnerTableName": fleet.registry.runner_table.table_name,
            "ImageTableName": fleet.registry.image_table.table_name,
            "LedgerTableName": fleet.registry.ledger_table.table_name,
            "MaxRunners": Tokenization.stringify_number(fleet.limits.max_runners),
            "EventBusName": fleet.bus.event_bus.event_bus_name,
            "EventBusArn": fleet.bus.event_bus.event_bus_arn,
            "EventArchiveArn": fleet.bus.archive.archive_arn,
            "FailedEventsQueueUrl": fleet.bus.dead_letter_queue.queue_url,
            "ExplainJobFunctionName": fleet.explanation.explain_job.function_name,
            "ReconcileDemandFunctionName": fleet.reconciliation.reconcile_demand.function_name,
            "RunnerNamePrefix": fleet.runner_name_prefix,
            "StateMachineArn": fleet.lifecycle.state_machine.state_machine_arn,
            "StateMachineRoleArn": fleet.lifecycle.state_machine.role.role_arn,
            "ClusterName": fleet.cluster.cluster_name,
            "ClusterArn": fleet.cluster.cluster_arn,
            "TaskFamily": fleet.cluster.family,
            "ExecutionRoleArn": fleet.cluster.execution_role.role_arn,
            "LogGroupName": fleet.cluster.log_group.log_group_name,
            "ClassSizesParameterName": fleet.catalog.parameter.parameter_name,
            "WebhookSecretArn": fleet.webhook_secret.secret_arn,
        }
        budget = fleet.limits.daily_budget_usd
        if budget is not None:
            values["DailyBudgetUsd"] = Tokenization.stringify_number(budget)
        if fleet.github_token:
            values["GithubTokenSecretArn"] = fleet.github_token.secret_arn
        image = fleet.runner_image
        if image.repository:
            values |= {
                "RepositoryUri": image.repository.repository_uri,
                "RepositoryArn": image.repository.repository_arn,
            }
        outputs = {"X86_64": "ImageBuildProjectName", "ARM64": "Arm64ImageBuildProjectName"}
        for architecture, project in image.projects.items():
            values[outputs[architecture]] = project.project_name
        for name, value in values.items():
            CfnOutput(self, name, value=value)
