"""The life of a runner: the shipped state machine, its substitutions and what its role may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Aws, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk_runner_fleet import _assets
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.cluster import RunnerCluster
from cdk_runner_fleet.launch_failures import RUN_TASK, STOPPED, Answer, pattern
from cdk_runner_fleet.registry import ROW_LIFETIME
from cdk_runner_fleet.values import LifecycleTimeouts


class RunnerLifecycle(Construct):
    """The Step Functions state machine that each runner's life is an execution of.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        cluster: Where the tasks run.
        runner_table: The runners' rows.
        image_table: The images' rows.
        api_url: URL that tasks claim their registration at.
        deregister_function: Takes a registration away at GitHub.
        check_function: Asks GitHub whether it still hears a runner.
        build_function: Has an image built. Default: images are not built, and a launch that finds
            no task definition fails.
        timeouts: How long each waiting state may last.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: RunnerCluster,
        runner_table: dynamodb.ITableV2,
        image_table: dynamodb.ITableV2,
        api_url: str,
        deregister_function: FleetFunction,
        check_function: FleetFunction,
        build_function: FleetFunction | None,
        timeouts: LifecycleTimeouts,
    ) -> None:
        super().__init__(scope, construct_id)
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        functions = [
            deregister_function,
            check_function,
            *([build_function] if build_function else []),
        ]
        self.state_machine = sfn.StateMachine(
            self,
            "StateMachine",
            comment="cdk-runner-fleet: the life of one runner",
            definition_body=sfn.DefinitionBody.from_string(
                _assets.STATE_MACHINE.read_text(encoding="utf-8")
            ),
            definition_substitutions=_substitutions(
                Partition=Aws.PARTITION,
                RunnerTableName=runner_table.table_name,
                ImageTableName=image_table.table_name,
                ClusterArn=cluster.cluster_arn,
                SubnetIds=",".join(cluster.subnet_ids),
                SecurityGroupIds=",".join(g.security_group_id for g in cluster.security_groups),
                AssignPublicIp="ENABLED" if cluster.assign_public_ip else "DISABLED",
                RunnerApiUrl=api_url,
                BuildImageFunctionArn=(build_function or deregister_function).function.function_arn,
                DeregisterRunnerFunctionArn=deregister_function.function.function_arn,
                CheckRunnerFunctionArn=check_function.function.function_arn,
                Building="on" if build_function else "off",
                PermanentFailures=pattern(RUN_TASK, Answer.FAIL),
                PassingFailures=pattern(RUN_TASK, Answer.WAIT),
                ImageFailures=pattern(RUN_TASK, Answer.FIND_IMAGE),
                PermanentStops=pattern(STOPPED, Answer.FAIL),
                MissingImages=pattern(STOPPED, Answer.FIND_IMAGE),
                BootTimeoutSeconds=_seconds(timeouts.boot.to_seconds()),
                IdleTimeoutSeconds=_seconds(timeouts.idle.to_seconds()),
                ImageBuildTimeoutSeconds=_seconds(timeouts.image_build.to_seconds()),
                RunnerTtlSeconds=_seconds(timeouts.job.to_seconds()),
                RowTtlSeconds=_seconds(ROW_LIFETIME.to_seconds()),
            ),
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=self.log_group,
                level=sfn.LogLevel.ALL,
                include_execution_data=False,  # tickets pass through the executions
            ),
            removal_policy=RemovalPolicy.DESTROY,
        )
        cluster.grant_run(self.state_machine)
        self._allow(
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:GetItem",
            resources=[runner_table.table_arn],
        )
        self._allow("dynamodb:UpdateItem", resources=[image_table.table_arn])
        self._allow(
            "lambda:InvokeFunction",
            resources=[function.function.function_arn for function in functions],
        )

    def grant_start(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` begin the life of a runner, and of another one like it."""
        self.state_machine.grant_start_execution(grantee)
        self.state_machine.grant_execution(grantee, "states:DescribeExecution")

    def grant_list(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` list the runners' lives."""
        self.state_machine.grant(grantee, "states:ListExecutions")

    def grant_resume(self, *functions: FleetFunction) -> None:
        """Let ``functions`` end what a runner's life waits for.

        A policy of its own: the state machine names some of these functions, so their roles must
        not depend on it.
        """
        iam.Policy(
            self,
            "Resume",
            roles=_roles(functions),
            statements=[
                iam.PolicyStatement(
                    actions=[
                        "states:SendTaskSuccess",
                        "states:SendTaskFailure",
                        "states:SendTaskHeartbeat",
                    ],
                    resources=[self.state_machine.state_machine_arn],
                )
            ],
        )

    def _allow(self, *actions: str, resources: Sequence[str]) -> None:
        self.state_machine.add_to_role_policy(
            iam.PolicyStatement(actions=list(actions), resources=list(resources))
        )


def _substitutions(**values: str) -> Mapping[str, str]:
    return values


def _seconds(value: float) -> str:
    return str(int(value))


def _roles(functions: Sequence[FleetFunction]) -> list[iam.IRole]:
    roles = []
    for function in functions:
        role = function.function.role
        assert role is not None  # noqa: S101 - FleetFunction makes each a role
        roles.append(role)
    return roles
