"""Every default of the fleet's Lambda functions, once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_runner_fleet import _assets
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._nag import acknowledge, acknowledge_any_resource, acknowledge_each
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet._role import FleetRole
from cdk_runner_fleet.values.functions import FunctionOptions

_RUNTIME, _ARCHITECTURE = lambda_.Runtime.PYTHON_3_14, lambda_.Architecture.ARM_64
_MOST_ENVIRONMENT = 4096
"""Bytes of all variables together (Lambda Developer Guide, "Lambda quotas")."""
_TOKEN = re.compile(r"\$\{Token\[[^\]]*\]\}")
_SHORTER = {
    "IMAGES": "give fewer classes an image of their own",
    "ALLOWED_IMAGES": "name fewer allowed_bases: a glob such as public.ecr.aws/docker/library/* "
    "stands for many",
    "GITHUB_APPS": "name fewer apps: each adds 5,000 requests an hour or more",
}
"""What to do about a setting that is too long."""

_NETWORK = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)


class FleetFunction(lambda_.Function):
    """A Lambda function of the fleet: Python on arm64, with a role of its own.

    All write to one log group of the fleet: its streams and lines have the function's name.

    Args:
        scope: The room that the function is of.
        construct_id: The construct's id in it.
        handler: Name of the module in ``functions/`` whose ``handler`` runs.
        environment: The function's settings.
        options: What all functions of the fleet have in common, as ``rooms.functions`` prepares it.
        at_rest: How its settings and logs are kept, and what it handles.
        timeout: How long one invocation may take. Default: 30 seconds.
        memory_size: Memory in MiB; CPU comes with it. Default: 512.
        powertools: Whether the Powertools layer is attached. Default: it is.
        asks_github: Whether it asks GitHub, so that it belongs into the network that is given for
            that. Default: it does not.
        serves_api: Whether it answers requests, so that how many there are at a time is others'
            business. Default: the fleet alone calls it.
        reserved_concurrency: How many invocations there may be at a time, kept free for it by
            Lambda. Default: what the account has left, shared with all other functions.
        on_failure: Queue that keeps events whose asynchronous invocation failed three times.
            Default: there is none, the function is only called by who waits for its answer.

    Raises:
        ValueError: if the environment is larger than Lambda takes.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: str,
        environment: Mapping[str, str],
        options: FunctionOptions,
        at_rest: DataAtRest,
        timeout: Duration | None = None,
        memory_size: int = 512,
        powertools: bool = True,
        asks_github: bool = False,
        serves_api: bool = False,
        reserved_concurrency: int | None = None,
        on_failure: sqs.IQueue | None = None,
    ) -> None:
        _check_size(handler, environment)
        is_traced = options.tracing not in (None, lambda_.Tracing.DISABLED)
        # beside the function: it has no children before it is made, and is made of this
        self.execution_role = FleetRole(
            scope, f"{construct_id}Role", service="lambda.amazonaws.com"
        )
        self.execution_role.allow(
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            resources=[at_rest.function_logs.log_group_arn],
        )
        self._at_rest = at_rest
        vpc = options.vpc if asks_github else None
        if vpc:
            _grant_network(self.execution_role)
        super().__init__(
            scope,
            construct_id,
            description=f"cdk-runner-fleet: {handler.replace('_', ' ')}",
            runtime=_RUNTIME,
            architecture=_ARCHITECTURE,
            code=lambda_.Code.from_asset(str(_assets.FUNCTIONS), exclude=["__pycache__"]),
            handler=f"{handler}.handler",
            role=self.execution_role,
            timeout=timeout or Duration.seconds(30),
            memory_size=memory_size,
            reserved_concurrent_executions=reserved_concurrency,
            log_group=at_rest.function_logs,
            logging_format=lambda_.LoggingFormat.JSON,
            # three lines an invocation, 676 bytes, would tell what its metrics do; what is said of
            # failures and timeouts is WARN (Lambda Developer Guide, "Log-level filtering")
            system_log_level_v2=lambda_.SystemLogLevel.WARN,
            tracing=options.tracing,
            layers=[options.powertools_layer] if powertools and options.powertools_layer else None,
            vpc=vpc,
            vpc_subnets=options.vpc_subnets if vpc else None,
            security_groups=options.security_groups if vpc else None,
            on_failure=destinations.SqsDestination(on_failure) if on_failure else None,
            retry_attempts=2 if on_failure else None,
            environment_encryption=at_rest.encryption_key,
            environment={
                "SERVICE_NAME": handler,
                "FLEET_NAME": fleet_name(scope),
                "LOG_LEVEL": "INFO",
                "TRACING": "on" if is_traced else "off",
                **environment,
            },
        )
        _acknowledge(
            self,
            asks_github=asks_github,
            serves_api=serves_api,
            handles_events=on_failure is not None,
        )
        # beside the grant that Lambda makes on the key for the role that there is then, and which
        # one of the same name that is made anew does not have
        at_rest.grant_use(self, "lambda")
        if on_failure:
            at_rest.grant_use(self, "sqs", also=["kms:GenerateDataKey"])
        if is_traced:
            acknowledge_any_resource(
                self.execution_role, actions="xray:PutTraceSegments, xray:PutTelemetryRecords"
            )

    def allow(self, *actions: str, resources: Sequence[str]) -> None:
        """Let the function call ``actions`` on ``resources``."""
        self.execution_role.allow(*actions, resources=resources)
        if any(action.startswith("dynamodb:") for action in actions):
            self._at_rest.grant_use(self, "dynamodb")


def _acknowledge(
    function: FleetFunction, *, asks_github: bool, serves_api: bool, handles_events: bool
) -> None:
    """Acknowledge what is meant so; a network and reserved concurrency are settings of some."""
    reasons = {
        "LambdaDLQ": (
            "Events that it fails to handle go to the fleet's queue, with the error, by its "
            "destination for failures. Evidence: tests/constructs/rooms/test_bus.py."
            if handles_events
            else "Whoever calls it waits for its answer and hears of a failure; it is sent no "
            "events. Evidence: tests/constructs/rooms/test_bus.py."
        )
    }
    if not serves_api:
        reasons["LambdaConcurrency"] = (
            "The fleet alone calls it, as often as there are runners and events, and what is "
            "turned away would have to be asked again; concurrency that is reserved for it is lost "
            "to all other functions of the account."
        )
    if not asks_github:
        reasons["LambdaInsideVPC"] = (
            "It asks AWS's services alone, by a role that says what; there is nothing of it in a "
            "network."
        )
    acknowledge_each(function, reasons)


def _grant_network(role: FleetRole) -> None:
    # "Giving Lambda functions access to resources in an Amazon VPC", Lambda Developer Guide: Lambda
    # attaches its interfaces as the role, and looks for the permission on everything
    role.allow(*_NETWORK, resources=["*"])
    # and there, "Security best practices": the function's own code may not
    role.add_to_principal_policy(
        iam.PolicyStatement(
            effect=iam.Effect.DENY,
            actions=list(_NETWORK),
            resources=["*"],
            conditions={
                "ArnLike": {
                    "lambda:SourceFunctionArn": Stack.of(role).format_arn(
                        service="lambda",
                        resource="function",
                        resource_name="*",
                        arn_format=ArnFormat.COLON_RESOURCE_NAME,
                    )
                }
            },
        )
    )
    acknowledge(
        role,
        "IAM5[Resource::*]",
        "LambdaStarPermissions",
        reason="Lambda attaches the function's network interfaces as its role, and looks for the "
        "permission on everything; the function's own code is denied it. "
        "Evidence: tests/constructs/test_function.py.",
    )


def _check_size(handler: str, environment: Mapping[str, str]) -> None:
    # a token counts for nothing: what it will be is not known, and nothing is refused that fits
    sizes = {
        name: len(name) + len(_TOKEN.sub("", value).encode()) for name, value in environment.items()
    }
    if sum(sizes.values()) > _MOST_ENVIRONMENT:
        longest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"the settings of {handler} are {sum(sizes.values())} bytes, and Lambda takes "
            f"{_MOST_ENVIRONMENT} of a function's environment: {longest} alone has "
            f"{sizes[longest]}, {_SHORTER.get(longest, 'give fewer or shorter values')}"
        )
