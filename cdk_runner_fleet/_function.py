"""Every default of the fleet's Lambda functions, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jsii
from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet import _assets

METRICS_NAMESPACE = "RunnerFleet"
"""CloudWatch namespace of the functions' own metrics."""

_POWERTOOLS_LAYER = "/aws/service/powertools/python/arm64/python3.14/latest"


@jsii.implements(iam.IGrantable)
class FleetFunction(Construct):
    """A Lambda function of the fleet: Python on arm64, with a role and a log group of its own.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        handler: Name of the module in ``functions/`` whose ``handler`` runs.
        environment: The function's settings.
        timeout: How long one invocation may take. Default: 30 seconds.
        memory_size: Memory in MiB; CPU comes with it. Default: 512.
        powertools: Whether the Powertools layer is attached. Default: it is.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: str,
        environment: Mapping[str, str],
        timeout: Duration | None = None,
        memory_size: int = 512,
        powertools: bool = True,
    ) -> None:
        super().__init__(scope, construct_id)
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group.grant_write(role)
        self.function = lambda_.Function(
            self,
            "Function",
            description=f"cdk-runner-fleet: {handler.replace('_', ' ')}",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(str(_assets.FUNCTIONS), exclude=["__pycache__"]),
            handler=f"{handler}.handler",
            role=role,
            timeout=timeout or Duration.seconds(30),
            memory_size=memory_size,
            log_group=self.log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            tracing=lambda_.Tracing.ACTIVE,
            layers=[self._powertools_layer()] if powertools else [],
            environment={
                "POWERTOOLS_SERVICE_NAME": handler,
                "POWERTOOLS_METRICS_NAMESPACE": METRICS_NAMESPACE,
                "LOG_LEVEL": "INFO",
                **environment,
            },
        )

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """The function's role."""
        return self.function.grant_principal

    def add_dead_letter_queue(self, queue: sqs.IQueue) -> None:
        """Keep asynchronous invocations that failed three times in ``queue``."""
        lambda_.CfnEventInvokeConfig(
            self,
            "EventInvokeConfig",
            function_name=self.function.function_name,
            qualifier="$LATEST",
            maximum_retry_attempts=2,
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(
                    destination=queue.queue_arn
                )
            ),
        )
        queue.grant_send_messages(self.function)

    def allow(self, *actions: str, resources: Sequence[str]) -> None:
        """Let the function call ``actions`` on ``resources``."""
        self.function.add_to_role_policy(
            iam.PolicyStatement(actions=list(actions), resources=list(resources))
        )

    def _powertools_layer(self) -> lambda_.ILayerVersion:
        # looked up at deployment; aws-cdk makes one template parameter of it for the whole stack
        arn = ssm.StringParameter.value_for_string_parameter(self, _POWERTOOLS_LAYER)
        return lambda_.LayerVersion.from_layer_version_arn(self, "PowertoolsLayer", arn)
