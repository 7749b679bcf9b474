"""What all functions of a fleet have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdk_runner_fleet.values.types import check_types

if TYPE_CHECKING:
    from aws_cdk import aws_ec2 as ec2
    from aws_cdk import aws_lambda as lambda_

_MOST_SECURITY_GROUPS = 5
"""Lambda API reference, ``VpcConfig``."""


@dataclass(frozen=True, kw_only=True)
class FunctionOptions:
    """What all functions of a fleet have in common.

    Args:
        tracing: Whether X-Ray gets a trace of what the functions do, and with ``ACTIVE`` of each
            runner's execution. Default: it gets none. X-Ray bills 5 US dollars for a million traces
            (AWS X-Ray pricing), and most of a job's would be of its runner's heartbeats.
        powertools_layer: The layer with Powertools for AWS Lambda, with all of its extras, for
            Python 3.14 on arm64. Default: the newest that its publisher's public parameter names
            at deployment. GovCloud, China, me-south-1, me-central-1, ap-southeast-6 and ap-east-2
            have no such parameter.
        vpc: Network of those functions that ask GitHub, for a GitHub Enterprise Server in a private
            one; ``docs/own-resources.md`` lists them, and what else they have to reach there. The
            others stay outside. Default: all are outside, with the internet before them.
        vpc_subnets: Which of its subnets, none of them public: a function has no public address.
            Default: the private ones with egress, if there are some.
        security_groups: Security groups of these functions. Default: one without an inbound rule is
            made.

    Raises:
        TypeError: if a value is of another kind.
        ValueError: if subnets or security groups are given without a ``vpc``, or more groups than a
            function can have.
    """

    tracing: lambda_.Tracing | None = None
    powertools_layer: lambda_.ILayerVersion | None = None
    vpc: ec2.IVpc | None = None
    vpc_subnets: ec2.SubnetSelection | None = None
    security_groups: Sequence[ec2.ISecurityGroup] | None = None

    def __post_init__(self) -> None:
        """Check the kinds, and that nothing is said of a network that there is not."""
        check_types(FunctionOptions, vars(self))
        for name in ("vpc_subnets", "security_groups"):
            if self.vpc is None and getattr(self, name):
                raise ValueError(
                    f"functions has {name} and no vpc that they are of: give the vpc too, or leave "
                    "them out"
                )
        most = len(self.security_groups or ())
        if most > _MOST_SECURITY_GROUPS:
            raise ValueError(
                f"security_groups of functions has {most}, and a function takes "
                f"{_MOST_SECURITY_GROUPS}: leave out {most - _MOST_SECURITY_GROUPS}"
            )
