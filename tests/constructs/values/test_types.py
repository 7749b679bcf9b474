"""Values of another kind than their parameter's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm

from cdk_runner_fleet import (
    EfsMount,
    FleetAlarms,
    FleetDashboard,
    FunctionOptions,
    GitHub,
    GitHubApp,
    ImageBuilds,
    LifecycleTimeouts,
    Reconciliation,
    RunnerClass,
    RunnerFleet,
    RunnerImage,
    RunnerLimits,
    RunnerPlatform,
    Webhook,
)
from cdk_runner_fleet.values.types import check_types

MAKERS: list[Callable[..., object]] = [
    EfsMount,
    FleetAlarms.__init__,
    FleetDashboard.__init__,
    FunctionOptions,
    GitHub,
    GitHub.enterprise,
    GitHub.organization,
    GitHub.repository,
    GitHubApp,
    ImageBuilds,
    LifecycleTimeouts,
    Reconciliation,
    RunnerClass,
    RunnerFleet.__init__,
    RunnerFleet.from_runner_fleet_attributes,
    RunnerImage.built,
    RunnerImage.from_ecr_repository,
    RunnerLimits,
    RunnerPlatform.__init__,
    Webhook,
]


def _fleet(stack: cdk.Stack, **given: Any) -> object:
    return RunnerFleet(stack, "Fleet", **{"github": GitHub.repository("o/r")} | given)


def _github(stack: cdk.Stack, **given: Any) -> object:
    return GitHub.organization(**{"organization": "o"} | given)


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (_fleet, {"github": "o/r"}, "github is a str, give a GitHub, such as GitHub.repository("),
        (_fleet, {"vpc": "vpc-1"}, "vpc is a str, give an IVpc, such as ec2.Vpc.from_lookup"),
        (_github, {"token": "ghp_token"}, "token is a str, give an ISecret, such as"),
        (Webhook, {"secret": "hush"}, "secret is a str, give an ISecret"),
        (_github, {"ca": "/ca"}, "ca is a str, give an IStringParameter"),
        (_fleet, {"timeouts": 300}, "timeouts is a int, give a LifecycleTimeouts"),
        (_fleet, {"limits": 300}, "limits is a int, give a RunnerLimits, such as RunnerLimits(max"),
        (_fleet, {"webhook": "hush"}, "webhook is a str, give a Webhook, such as Webhook(allowed"),
        (_fleet, {"functions": True}, "functions is a bool, give a FunctionOptions, such as Func"),
        (Reconciliation, {"every": 2}, "every is a int, give a Duration"),
        (_fleet, {"image": "x:1"}, "image is a str, give a RunnerImage"),
        (_fleet, {"classes": ["small"]}, "classes is a list, give a mapping of names, each"),
        (
            _fleet,
            {"classes": {"small": {"cpu": 512, "memory": 1024}}},
            "classes['small'] is a dict, give a RunnerClass, such as RunnerClass(cpu=512",
        ),
        (_fleet, {"vpc_subnets": ["s"]}, "vpc_subnets is a list, give a SubnetSelection, such as"),
        (_fleet, {"security_groups": ["sg-1"]}, "security_groups[0] is a str, give an ISecurity"),
        (_github, {"apps": [{"app_id": 1}]}, "apps[0] is a dict, give a GitHubApp"),
        (RunnerLimits, {"daily_budget_usd": "5"}, "daily_budget_usd is a str, give a float"),
        (RunnerLimits, {"max_runners": "5"}, "max_runners is a str, give an int"),
        (RunnerLimits, {"max_runners": True}, "max_runners is a bool, give an int"),
        (_github, {"organization": 5}, "organization is a int, give a str"),
        (_fleet, {"runner_name_prefix": 5}, "runner_name_prefix is a int, give a str"),
        (_fleet, {"assign_public_ip": "no"}, "assign_public_ip is a str, give a bool"),
        (FunctionOptions, {"tracing": True}, "tracing is a bool, give a Tracing"),
        (_github, {"required_labels": "mine"}, "required_labels is a str, give a list, each a st"),
    ],
)
def test_the_parameter_and_both_kinds_are_named(
    stack: cdk.Stack, make: Callable[..., object], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as refused:
        make(*([stack] if make in (_fleet, _github) else []), **given)
    assert str(refused.value).startswith(message)
    assert "ghp_" not in str(refused.value)
    assert "hush" not in str(refused.value)


def test_a_construct_of_another_kind_is_refused(stack: cdk.Stack) -> None:
    bucket: Any = s3.Bucket(stack, "Bucket")
    with pytest.raises(TypeError, match="vpc is a Bucket, give an IVpc"):
        RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), vpc=bucket)
    with pytest.raises(TypeError, match="private_key is a Bucket, give an ISecret"):
        GitHubApp(app_id=1, private_key=bucket)


def test_what_is_imported_and_what_is_a_token_passes(stack: cdk.Stack) -> None:
    most: Any = cdk.CfnParameter(stack, "Most", type="Number").value_as_number
    RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.repository(
            cdk.CfnParameter(stack, "Repository").value_as_string,
            token=secretsmanager.Secret.from_secret_name_v2(stack, "Token", "t"),
            ca=ssm.StringParameter.from_string_parameter_name(stack, "Ca", "/ca"),
        ),
        vpc=ec2.Vpc.from_vpc_attributes(
            stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"], public_subnet_ids=["s-1"]
        ),
        security_groups=[ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-1")],
        classes={"small": RunnerClass(cpu=512, memory=1024)},
        reconciliation=Reconciliation(every=Duration.minutes(2)),
        limits=RunnerLimits(max_runners=most, daily_budget_usd=5),
    )


def test_a_text_in_place_of_the_capacity_providers_is_refused() -> None:
    capacity: Any = "FARGATE"
    with pytest.raises(
        TypeError, match="capacity is a str, give a list, each 'FARGATE' or 'FARGATE_SPOT'"
    ):
        RunnerClass(cpu=512, memory=1024, capacity=capacity)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(make, name, id=f"{make.__qualname__}-{name}")
        for make in MAKERS
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.kind == inspect.Parameter.KEYWORD_ONLY
    ],
)
def test_each_annotation_can_be_read_once_a_value_is_given(
    make: Callable[..., object], name: str
) -> None:
    """Modules of aws-cdk that only annotations name are not loaded before."""
    with pytest.raises(TypeError, match=f"^{name} is a object, give "):
        check_types(make, {name: object()})
