"""Values of another kind than their parameter's."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm

from cdk_runner_fleet import GitHubApp, RunnerClass, RunnerFleet


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vpc": "vpc-1"}, "vpc is a str, give an IVpc, such as ec2.Vpc.from_lookup"),
        ({"github_token": "ghp_token"}, "github_token is a str, give an ISecret, such as"),
        ({"webhook_secret": "hush"}, "webhook_secret is a str, give an ISecret"),
        ({"github_ca": "/ca"}, "github_ca is a str, give an IStringParameter"),
        ({"timeouts": 300}, "timeouts is a int, give a LifecycleTimeouts"),
        ({"reconcile_every": 2}, "reconcile_every is a int, give a Duration"),
        ({"image": "x:1"}, "image is a str, give a RunnerImage"),
        ({"runner_classes": ["small"]}, "runner_classes is a list, give a mapping of names, each"),
        (
            {"runner_classes": {"small": {"cpu": 512, "memory": 1024}}},
            "runner_classes['small'] is a dict, give a RunnerClass, such as RunnerClass(cpu=512",
        ),
        ({"subnets": ["subnet-1"]}, "subnets[0] is a str, give an ISubnet, such as ec2.Subnet"),
        ({"subnets": "subnet-1"}, "subnets is a str, give a list, each an ISubnet"),
        ({"security_groups": ["sg-1"]}, "security_groups[0] is a str, give an ISecurityGroup"),
        ({"github_apps": [{"app_id": 1}]}, "github_apps[0] is a dict, give a GitHubApp"),
        ({"daily_budget_usd": "5"}, "daily_budget_usd is a str, give a float"),
        ({"max_runners": "5"}, "max_runners is a str, give an int"),
        ({"github_repo": 5}, "github_repo is a int, give a str"),
        ({"runner_name_prefix": 5}, "runner_name_prefix is a int, give a str"),
        ({"assign_public_ip": "no"}, "assign_public_ip is a str, give a bool"),
        ({"tracing": True}, "tracing is a bool, give a Tracing"),
        ({"required_labels": "mine"}, "required_labels is a str, give a list, each a str"),
    ],
)
def test_the_parameter_and_both_kinds_are_named(
    stack: cdk.Stack, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as refused:
        RunnerFleet(stack, "Fleet", **{"github_repo": "o/r"} | given)
    assert str(refused.value).startswith(message)
    assert "ghp_" not in str(refused.value)
    assert "hush" not in str(refused.value)


def test_a_construct_of_another_kind_is_refused(stack: cdk.Stack) -> None:
    bucket: Any = s3.Bucket(stack, "Bucket")
    with pytest.raises(TypeError, match="vpc is a Bucket, give an IVpc"):
        RunnerFleet(stack, "Fleet", github_repo="o/r", vpc=bucket)
    with pytest.raises(TypeError, match="private_key is a Bucket, give an ISecret"):
        GitHubApp(app_id=1, private_key=bucket)


def test_what_is_imported_and_what_is_a_token_passes(stack: cdk.Stack) -> None:
    most: Any = cdk.CfnParameter(stack, "Most", type="Number").value_as_number
    RunnerFleet(
        stack,
        "Fleet",
        github_repo=cdk.CfnParameter(stack, "Repository").value_as_string,
        github_token=secretsmanager.Secret.from_secret_name_v2(stack, "Token", "t"),
        github_ca=ssm.StringParameter.from_string_parameter_name(stack, "Ca", "/ca"),
        vpc=ec2.Vpc.from_vpc_attributes(
            stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"], public_subnet_ids=["s-1"]
        ),
        security_groups=[ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-1")],
        runner_classes={"small": RunnerClass(cpu=512, memory=1024)},
        reconcile_every=Duration.minutes(2),
        max_runners=most,
        daily_budget_usd=5,
    )


def test_a_text_in_place_of_the_capacity_providers_is_refused() -> None:
    capacity: Any = "FARGATE"
    with pytest.raises(
        TypeError, match="capacity is a str, give a list, each 'FARGATE' or 'FARGATE_SPOT'"
    ):
        RunnerClass(cpu=512, memory=1024, capacity=capacity)
