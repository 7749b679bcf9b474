"""Every default of the fleet's Lambda functions, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet import _assets
from cdk_runner_fleet._logs import log_group
from cdk_runner_fleet._nag import acknowledge_any_resource

METRICS_NAMESPACE = "RunnerFleet"
"""CloudWatch namespace of the functions' own metrics."""

_POWERTOOLS_LAYER = "/aws/service/powertools/python/arm64/python3.14/latest"


class FleetFunction(lambda_.Function):
    """A Lambda function of the fleet: Python on arm64, with a role and a log group of its own.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        handler: Name of the module in ``functions/`` whose ``handler`` runs.
        environment: The function's settings.
        tracing: Whether X-Ray gets a trace of each invocation.
        timeout: How long one invocation may take. Default: 30 seconds.
        memory_size: Memory in MiB; CPU comes with it. Default: 512.
        powertools: Whether the Powertools layer is attached. Default: it is.
        on_failure: Queue that keeps events whose asynchronous invocation failed three times.
            Default: there is none, the function is only called by who waits for its answer.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: str,
        environment: Mapping[str, str],
        tracing: lambda_.Tracing,
        timeout: Duration | None = None,
        memory_size: int = 512,
        powertools: bool = True,
        on_failure: sqs.IQueue | None = None,
    ) -> None:
        is_traced = tracing != lambda_.Tracing.DISABLED
        # beside the function: it has no children before it is made, and is made of these
        logs = log_group(scope, f"{construct_id}Logs")
        self.execution_role = iam.Role(
            scope,
            f"{construct_id}Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        )
        logs.grant_write(self.execution_role)
        super().__init__(
            scope,
            construct_id,
            description=f"cdk-runner-fleet: {handler.replace('_', ' ')}",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(str(_assets.FUNCTIONS), exclude=["__pycache__"]),
            handler=f"{handler}.handler",
            role=self.execution_role,
            timeout=timeout or Duration.seconds(30),
            memory_size=memory_size,
            log_group=logs,
            logging_format=lambda_.LoggingFormat.JSON,
            # three lines an invocation, 676 bytes, would tell what its metrics do; what is said of
            # failures and timeouts is WARN (Lambda Developer Guide, "Log-level filtering")
            system_log_level_v2=lambda_.SystemLogLevel.WARN,
            tracing=tracing,
            on_failure=destinations.SqsDestination(on_failure) if on_failure else None,
            retry_attempts=2 if on_failure else None,
            environment={
                "POWERTOOLS_SERVICE_NAME": handler,
                "POWERTOOLS_METRICS_NAMESPACE": METRICS_NAMESPACE,
                "LOG_LEVEL": "INFO",
                "TRACING": "on" if is_traced else "off",
                **environment,
            },
        )
        self._service = handler
        if powertools:
            # looked up at deployment; aws-cdk makes one template parameter of it for the stack
            arn = ssm.StringParameter.value_for_string_parameter(self, _POWERTOOLS_LAYER)
            self.add_layers(
                lambda_.LayerVersion.from_layer_version_arn(self, "PowertoolsLayer", arn)
            )
        if is_traced:
            acknowledge_any_resource(
                self.execution_role, actions="xray:PutTraceSegments, xray:PutTelemetryRecords"
            )

    def allow(self, *actions: str, resources: Sequence[str]) -> None:
        """Let the function call ``actions`` on ``resources``."""
        self.add_to_role_policy(
            iam.PolicyStatement(actions=list(actions), resources=list(resources))
        )

    def metric_emitted(
        self, name: str, *, period: Duration | None, statistic: str
    ) -> cloudwatch.Metric:
        """A metric that the function itself writes."""
        return fleet_metric(
            name, dimensions={"service": self._service}, period=period, statistic=statistic
        )


def fleet_metric(
    name: str, *, dimensions: Mapping[str, str], period: Duration | None, statistic: str
) -> cloudwatch.Metric:
    """A metric in the namespace of the functions' own."""
    return cloudwatch.Metric(
        namespace=METRICS_NAMESPACE,
        metric_name=name,
        dimensions_map=dimensions,
        period=period,
        statistic=statistic,
    )
