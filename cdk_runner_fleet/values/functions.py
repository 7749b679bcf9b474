"""What all functions of a fleet have in common."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_lambda as lambda_

from cdk_runner_fleet.values.types import check_types


@dataclass(frozen=True, kw_only=True)
class FunctionOptions:
    """What all functions of a fleet have in common.

    Args:
        tracing: Whether X-Ray gets a trace of what the functions do, and with ``ACTIVE`` of each
            runner's execution. Default: ``DISABLED``. X-Ray bills 5 US dollars for a million traces
            (AWS X-Ray pricing), and most of a job's would be of its runner's heartbeats.
        powertools_layer: The layer with Powertools for AWS Lambda, with all of its extras, for
            Python 3.14 on arm64. Default: the newest that its publisher's public parameter names
            at deployment. GovCloud, China, me-south-1, me-central-1, ap-southeast-6 and ap-east-2
            have no such parameter.

    Raises:
        TypeError: if a value is of another kind.
    """

    tracing: lambda_.Tracing = lambda_.Tracing.DISABLED
    powertools_layer: lambda_.ILayerVersion | None = None

    def __post_init__(self) -> None:
        """Check the kinds."""
        check_types(FunctionOptions, vars(self))
