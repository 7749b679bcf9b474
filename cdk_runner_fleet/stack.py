"""What ``app.py`` deploys: one fleet with its settings from context, and its names as outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import (
    CfnOutput,
    Environment,
    Fn,
    IPropertyInjector,
    IStackSynthesizer,
    PermissionsBoundary,
    Stack,
    Tokenization,
)
from constructs import Construct

from cdk_runner_fleet.context import FleetSettings
from cdk_runner_fleet.fleet import RunnerFleet
from cdk_runner_fleet.values.types import check_types


class RunnerFleetStack(Stack):
    """A stack with one :class:`RunnerFleet`.

    Args:
        scope: The app.
        construct_id: The stack's name.
        settings: The fleet's settings. Default: they are read from the app's context
            (``cdk.json``, ``-c key=value``).
        analytics_reporting: Whether the template tells AWS which constructs it is made of.
            Default: as the app does.
        cross_region_references: Whether stacks of other regions may use what is in this one, by way
            of a custom resource in both. Default: no.
        description: What the stack is. Default: that it is a fleet.
        env: Account and region. Default: the stack can be deployed anywhere.
        notification_arns: SNS topics that are told of the stack's events. Default: none.
        permissions_boundary: Of all roles but that of ``cross_region_references``, which aws-cdk
            makes too late for it. Default: none.
        property_injectors: What sets others' defaults for constructs in the stack. Default: none.
        stack_name: The stack's name at CloudFormation. Default: as aws-cdk names stacks.
        suppress_template_indentation: Whether the template is written without indentation. Default:
            as the app's context says.
        synthesizer: How it is deployed. Default: as the app is.
        tags: The stack's own tags, which CloudFormation gives to all that is in it. Default: none.
        termination_protection: Whether CloudFormation refuses to delete the stack. Default: no.

    What a stack takes has the meaning and the default that :class:`aws_cdk.Stack` gives it.

    Raises:
        ValueError: if a setting is missing, unknown or cannot work.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: FleetSettings | None = None,
        analytics_reporting: bool | None = None,
        cross_region_references: bool | None = None,
        description: str = "cdk-runner-fleet: GitHub Actions runners on ephemeral Fargate tasks",
        env: Environment | None = None,
        notification_arns: Sequence[str] | None = None,
        permissions_boundary: PermissionsBoundary | None = None,
        property_injectors: Sequence[IPropertyInjector] | None = None,
        stack_name: str | None = None,
        suppress_template_indentation: bool | None = None,
        synthesizer: IStackSynthesizer | None = None,
        tags: Mapping[str, str] | None = None,
        termination_protection: bool | None = None,
    ) -> None:
        check_types(RunnerFleetStack.__init__, {"settings": settings})
        super().__init__(
            scope,
            construct_id,
            analytics_reporting=analytics_reporting,
            cross_region_references=cross_region_references,
            description=description,
            env=env,
            notification_arns=notification_arns,
            permissions_boundary=permissions_boundary,
            property_injectors=property_injectors,
            stack_name=stack_name,
            suppress_template_indentation=suppress_template_indentation,
            synthesizer=synthesizer,
            tags=tags,
            termination_protection=termination_protection,
        )
        self.fleet = (settings or FleetSettings.from_context(self.node)).make(self, "Fleet")
        self._output(self.fleet)

    def _output(self, fleet: RunnerFleet) -> None:
        values = {
            "WebhookUrl": fleet.webhook_url,
            "RunnerApiUrl": fleet.platform.api.url,
            "RunnerTableName": fleet.platform.registry.runner_table.table_name,
            "ImageTableName": fleet.platform.registry.image_table.table_name,
            "LedgerTableName": fleet.platform.registry.ledger_table.table_name,
            "MaxRunners": Tokenization.stringify_number(fleet.limits.max_runners),
            "EventBusName": fleet.platform.bus.event_bus.event_bus_name,
            "EventBusArn": fleet.platform.bus.event_bus.event_bus_arn,
            "EventArchiveArn": fleet.platform.bus.archive.archive_arn,
            "FleetName": fleet.fleet_name,
            "FunctionLogGroupName": fleet.platform.at_rest.function_logs.log_group_name,
            "LifecycleLogGroupName": fleet.platform.lifecycle.log_group.log_group_name,
            "FailedEventsQueueArn": fleet.dead_letter_queue.queue_arn,
            "FailedEventsQueueUrl": fleet.platform.bus.dead_letter_queue.queue_url,
            "ExplainJobFunctionName": fleet.explanation.explain_job.function_name,
            "ReconcileDemandFunctionName": fleet.reconciliation.reconcile_demand.function_name,
            "RunnerNamePrefix": fleet.runner_name_prefix,
            "StateMachineArn": fleet.platform.lifecycle.state_machine.state_machine_arn,
            "StateMachineRoleArn": fleet.platform.lifecycle.state_machine.role.role_arn,
            "ClusterName": fleet.platform.cluster.cluster_name,
            "ClusterArn": fleet.platform.cluster.cluster_arn,
            "TaskFamily": fleet.platform.cluster.family,
            "ExecutionRoleArn": fleet.platform.cluster.execution_role.role_arn,
            "LogGroupName": fleet.platform.cluster.log_group.log_group_name,
            "ClassSizesParameterNames": Fn.join(
                ",", [one.parameter_name for one in fleet.platform.catalog.parameters]
            ),
            "WebhookSecretArn": fleet.webhook_secret.secret_arn,
        }
        budget = fleet.limits.daily_budget_usd
        if budget is not None:
            values["DailyBudgetUsd"] = Tokenization.stringify_number(budget)
        if fleet.github_token:
            values["GithubTokenSecretArn"] = fleet.github_token.secret_arn
        images = fleet.platform.image_pipeline
        if images.repository:
            values |= {
                "RepositoryUri": images.repository.repository_uri,
                "RepositoryArn": images.repository.repository_arn,
            }
        outputs = {"X86_64": "ImageBuildProjectName", "ARM64": "Arm64ImageBuildProjectName"}
        for architecture, project in images.projects.items():
            values[outputs[architecture]] = project.project_name
        for name, value in values.items():
            CfnOutput(self, name, value=value)
