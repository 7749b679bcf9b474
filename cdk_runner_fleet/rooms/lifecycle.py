"""The life of a runner: the shipped state machine, its substitutions and what its role may do."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aws_cdk import ArnFormat, Aws, Fn, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct, IDependable

from cdk_runner_fleet import _assets
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet._later import later
from cdk_runner_fleet._nag import (
    acknowledge,
    acknowledge_any_resource,
    acknowledge_own_policy,
    acknowledge_pattern,
)
from cdk_runner_fleet._role import FleetRole
from cdk_runner_fleet.rooms.api import FleetApi
from cdk_runner_fleet.rooms.bus import Pattern
from cdk_runner_fleet.rooms.cluster import RunnerCluster, grant_pass_role
from cdk_runner_fleet.rooms.images import ImageService
from cdk_runner_fleet.rooms.launch_failures import RUN_TASK, STOPPED, Answer, pattern
from cdk_runner_fleet.rooms.network import RunnerNetwork
from cdk_runner_fleet.rooms.registration import RunnerRegistration
from cdk_runner_fleet.rooms.registry import ROW_LIFETIME, RunnerRegistry
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.timeouts import LifecycleTimeouts, seconds_of


class RunnerLifecycle(Construct):
    """The Step Functions state machine that each runner's life is an execution of.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        cluster: Where the tasks run.
        network: What they are in.
        registry: The rows of the runners and of their images.
        api: Where tasks claim their registration.
        registration: Registers them, asks GitHub whether it still hears one, and takes it away.
        images: Has images built. If it builds none, a launch that finds no task definition fails.
        timeouts: How long each waiting state may last.
        options: What all functions of the fleet have in common.
        at_rest: How executions and their logs are kept.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: RunnerCluster,
        network: RunnerNetwork,
        registry: RunnerRegistry,
        api: FleetApi,
        registration: RunnerRegistration,
        images: ImageService,
        timeouts: LifecycleTimeouts,
        options: FunctionOptions,
        at_rest: DataAtRest,
    ) -> None:
        super().__init__(scope, construct_id)
        self._at_rest = at_rest
        deregister, check = registration.deregister_runner, registration.check_runner
        build = images.build_image
        self._class_settings: dict[str, Mapping[str, object]] = {}
        self.log_group = at_rest.log_group(self, "Logs", vended_by="states")
        role = FleetRole(self, "StateMachineRole", service="states.amazonaws.com")
        self.state_machine = sfn.StateMachine(
            self,
            "StateMachine",
            role=role,
            comment="cdk-runner-fleet: the life of one runner",
            definition_body=sfn.DefinitionBody.from_string(
                _assets.STATE_MACHINE.read_text(encoding="utf-8")
            ),
            definition_substitutions={
                "Partition": Aws.PARTITION,
                "RunnerTableName": registry.runner_table.table_name,
                "ImageTableName": registry.image_table.table_name,
                "ClusterArn": cluster.cluster_arn,
                "SubnetIds": Fn.join(",", network.subnet_ids),
                "SecurityGroupIds": ",".join(g.security_group_id for g in network.security_groups),
                # encoded, for it is JSON in an expression in JSON
                "ClassSettings": Fn.base64(later(lambda: json.dumps(self._class_settings))),
                "AssignPublicIp": "ENABLED" if network.assign_public_ip else "DISABLED",
                "RunnerApiUrl": api.url,
                "Region": Aws.REGION,
                "BuildImageFunctionArn": (build or deregister).function_arn,
                "DeregisterRunnerFunctionArn": deregister.function_arn,
                "CheckRunnerFunctionArn": check.function_arn,
                "Building": "on" if build else "off",
                "PermanentFailures": pattern(RUN_TASK, Answer.FAIL),
                "PassingFailures": pattern(RUN_TASK, Answer.WAIT),
                "ImageFailures": pattern(RUN_TASK, Answer.FIND_IMAGE),
                "PermanentStops": pattern(STOPPED, Answer.FAIL),
                "PassingStops": pattern(STOPPED, Answer.WAIT),
                "MissingImages": pattern(STOPPED, Answer.FIND_IMAGE),
                "BootTimeoutSeconds": seconds_of(timeouts.boot),
                "IdleTimeoutSeconds": seconds_of(timeouts.idle),
                "ImageBuildTimeoutSeconds": seconds_of(timeouts.image_build),
                "RunnerTtlSeconds": seconds_of(timeouts.job),
                "RowTtlSeconds": seconds_of(ROW_LIFETIME),
            },
            tracing_enabled=options.tracing == lambda_.Tracing.ACTIVE,
            logs=sfn.LogOptions(
                destination=self.log_group,
                level=sfn.LogLevel.ALL,
                include_execution_data=False,  # task tokens pass through the executions
            ),
            removal_policy=RemovalPolicy.DESTROY,
        )
        acknowledge(
            self.state_machine,
            "SF2",
            reason="X-Ray bills each trace, so tracing is a setting of the fleet. What a runner "
            "went through stands in its execution's history and in the log. "
            "Evidence: tests/constructs/test_function.py.",
        )
        acknowledge_any_resource(
            role,
            actions="log delivery for Step Functions, and X-Ray's, if that is on",
        )
        self._encrypt()
        if cluster.capacity_providers:
            self.launch_after(cluster.capacity_providers)
        for each in cluster.mounted.values():
            self.launch_after(each.scope)
        cluster.grant_run(role)
        role.allow(
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:GetItem",
            resources=[registry.runner_table.table_arn],
        )
        role.allow("dynamodb:UpdateItem", resources=[registry.image_table.table_arn])
        role.allow(
            "lambda:InvokeFunction",
            resources=[one.function_arn for one in (deregister, check, build) if one],
        )
        if registration.runner_api:
            self.grant_resume(registration.runner_api)
        if build:
            # beside the role: the machine names the function, whose role must not depend on it
            resume = iam.Policy(
                build, "Resume", roles=[build.execution_role], statements=[self._resuming()]
            )
            acknowledge_own_policy(resume)

    def _encrypt(self) -> None:
        key_arn = self._at_rest.key_arn
        if key_arn is None:
            return
        # not by aws-cdk's prop: it names the machine where that has no name yet
        resource = self.state_machine.node.default_child
        assert isinstance(resource, sfn.CfnStateMachine)  # noqa: S101 - narrows the type
        resource.encryption_configuration = sfn.CfnStateMachine.EncryptionConfigurationProperty(
            type="CUSTOMER_MANAGED_KMS_KEY",
            kms_key_id=key_arn,
            kms_data_key_reuse_period_seconds=300,
        )
        # "Data at rest encryption in Step Functions", developer guide: the machine's own role
        # encrypts, so that whoever ends what it waits for needs nothing of the key
        machines, log_groups = (
            self._at_rest.arn("states", "stateMachine:*"),
            self._at_rest.arn("logs", "*"),
        )
        self.state_machine.add_to_role_policy(
            iam.PolicyStatement(
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=[key_arn],
                conditions={
                    "ArnLike": {"kms:EncryptionContext:aws:states:stateMachineArn": machines}
                },
            )
        )
        # "Encrypting data at rest" there, for logs
        self.state_machine.add_to_role_policy(
            iam.PolicyStatement(
                actions=["kms:GenerateDataKey"],
                resources=[key_arn],
                conditions={"StringLike": {"kms:EncryptionContext:SourceArn": log_groups}},
            )
        )
        self._at_rest.allow_service(
            "delivery.logs.amazonaws.com",
            "kms:Decrypt*",
            conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
        )
        self._at_rest.grant_use(self.state_machine, "dynamodb")

    def ended(self, *statuses: str) -> Pattern:
        """The events of executions that ended with one of ``statuses``."""
        return {
            "source": ["aws.states"],
            "detail-type": ["Step Functions Execution Status Change"],
            "detail": {
                "stateMachineArn": [self.state_machine.state_machine_arn],
                "status": list(statuses),
            },
        }

    def launch_after(self, needed: IDependable) -> None:
        """Launch no runner before ``needed`` is there, nor when it is gone.

        A launch without it fails for good.
        """
        self.state_machine.node.add_dependency(needed)

    def launch_with(self, settings: Mapping[str, object], *, class_name: str) -> None:
        """Launch runners of a class otherwise than those of others.

        Args:
            settings: What is other, of ``overrides``, ``environment`` and ``tags`` as RunTask
                has them, ``subnets`` and ``security_groups``, joined by commas, and
                ``family_suffix``.
            class_name: The class.
        """
        self._class_settings[class_name] = settings

    def pass_role(self, role: iam.IRole) -> None:
        """Let runners be launched with ``role``."""
        grant_pass_role(self.state_machine.role, role)

    def grant_start(self, function: FleetFunction) -> None:
        """Let ``function`` begin the life of a runner, and of another one like it."""
        self.state_machine.grant_start_execution(function)
        self.state_machine.grant_execution(function, "states:DescribeExecution")
        self._at_rest.grant_use(function, "states")
        # the name as aws-cdk's grant_execution takes it from the ARN
        machine = Fn.select(6, Fn.split(":", self.state_machine.state_machine_arn))
        acknowledge_pattern(
            function.execution_role,
            Stack.of(self).format_arn(
                service="states",
                resource="execution",
                resource_name=f"{machine}:*",
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            ),
            reason="It reads the input of this one machine's executions, whose names are not known "
            "yet.",
        )

    def grant_list(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` list the runners' lives."""
        self.state_machine.grant(grantee, "states:ListExecutions")

    def grant_resume(self, function: FleetFunction) -> None:
        """Let ``function`` end what a runner's life waits for."""
        function.add_to_role_policy(self._resuming())

    def _resuming(self) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=[
                "states:SendTaskSuccess",
                "states:SendTaskFailure",
                "states:SendTaskHeartbeat",
            ],
            resources=[self.state_machine.state_machine_arn],
        )
