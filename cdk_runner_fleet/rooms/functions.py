"""What all functions of a fleet have in common, made ready: their network, and their layer."""

from __future__ import annotations

import re
from dataclasses import replace

from aws_cdk import Stack, Token
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet.values.functions import FunctionOptions

_MOST_SUBNETS = 16
"""Lambda API reference, ``VpcConfig``."""
_LAYER_ARN = re.compile(
    r"arn:[^:]+:lambda:(?P<region>[^:]+):[^:]+:layer:[^:]+:(\d+|\$\{Token\[[^\]]*\]\})"
)
"""A token has no colon."""
_POWERTOOLS_LAYER = "/aws/service/powertools/python/arm64/python3.14/latest"


# aws-powertools/powertools-lambda-python, .github/workflows/update_ssm.yml, 2026-11
_LAYER_REGIONS = frozenset(
    [
        "af-south-1",
        "ap-east-1",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-7",
        "ca-central-1",
        "ca-west-1",
        "eu-central-1",
        "eu-central-2",
        "eu-north-1",
        "eu-south-1",
        "eu-south-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "il-central-1",
        "mx-central-1",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
    ]
)
"""Where the publisher of Powertools writes that parameter."""


def prepared(scope: Construct, options: FunctionOptions) -> FunctionOptions:
    """Return the options with a security group for their network and a layer, one for all.

    Args:
        scope: Where these are.
        options: As they were given.

    Raises:
        ValueError: if a function could reach nothing from its network, or has more subnets than
            Lambda takes, the layer is no layer or of another region, or the region is known to lack
            the public parameter and no layer is given.
    """
    options = _with_network(scope, options)
    if options.powertools_layer:
        _check_layer(scope, options.powertools_layer)
        return options
    return replace(options, powertools_layer=_published_layer(scope))


def _with_network(scope: Construct, options: FunctionOptions) -> FunctionOptions:
    """Return the options with a security group for their network."""
    if options.vpc is None:
        return options
    wanted = options.vpc_subnets or ec2.SubnetSelection()
    subnets = options.vpc.select_subnets(
        availability_zones=wanted.availability_zones,
        one_per_az=wanted.one_per_az,
        subnet_filters=wanted.subnet_filters,
        subnet_group_name=wanted.subnet_group_name,
        subnets=wanted.subnets,
        subnet_type=wanted.subnet_type,
    )
    if subnets.has_public:
        raise ValueError(
            f"functions are in public subnets of vpc {options.vpc.node.path}, where they reach "
            "nothing, for they have no public address: give vpc_subnets with a NAT gateway, or "
            "with a way of their own to GitHub and to AWS"
        )
    most = len(subnets.subnet_ids)
    if most > _MOST_SUBNETS:
        raise ValueError(
            f"functions are in {most} subnets, and a function takes {_MOST_SUBNETS}: name fewer in "
            "vpc_subnets"
        )
    if options.security_groups:
        return options
    group = ec2.SecurityGroup(
        scope,
        "FunctionsSecurityGroup",
        vpc=options.vpc,
        description="cdk-runner-fleet: functions reach out, nothing reaches them",
    )
    return replace(options, security_groups=[group])


def _check_layer(scope: Construct, layer: lambda_.ILayerVersion) -> None:
    arn, region = layer.layer_version_arn, Stack.of(scope).region
    if Token.is_unresolved(arn) and not arn.startswith("arn:"):
        return
    found = _LAYER_ARN.fullmatch(arn)
    if found is None:
        raise ValueError(
            f"powertools_layer {arn!r} is no version of a layer, give "
            "arn:aws:lambda:<region>:<account>:layer:<name>:<version>"
        )
    if Token.is_unresolved(region) or Token.is_unresolved(found["region"]):
        return
    if found["region"] != region:
        raise ValueError(
            f"powertools_layer {arn!r} is in {found['region']} and the stack in {region}, and "
            f"Lambda takes layers of its own region alone: give one in {region}"
        )


def _published_layer(scope: Construct) -> lambda_.ILayerVersion:
    region = Stack.of(scope).region
    if not Token.is_unresolved(region) and region not in _LAYER_REGIONS:
        raise ValueError(
            f"region {region!r} has no public parameter that names the layer with Powertools for "
            "AWS Lambda, give powertools_layer: its publisher has layers of other accounts for "
            "GovCloud and China, elsewhere publish the zip of its release as a layer of your own, "
            "for Python 3.14 on arm64"
        )
    # looked up at deployment; aws-cdk makes one template parameter of it for the stack
    arn = ssm.StringParameter.value_for_string_parameter(scope, _POWERTOOLS_LAYER)
    return lambda_.LayerVersion.from_layer_version_arn(scope, "PowertoolsLayer", arn)
