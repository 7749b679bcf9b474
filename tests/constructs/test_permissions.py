"""Who may do what: no wildcard without its reason, and cdk-nag agrees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import aws_cdk as cdk
import cdk_nag
import pytest

import cdk_runner_fleet
from cdk_runner_fleet import RunnerFleet
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet.rooms.bus import FleetBus

from . import fleets
from .templates import Template, as_list, of_type, statements

# Actions without a resource level, by the Service Authorization Reference.
WITHOUT_RESOURCE_LEVEL = {
    # what Lambda attaches interfaces with; it looks for the permission on * (_function.py)
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
    "ecr-public:GetAuthorizationToken",
    "ecr:GetAuthorizationToken",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",
    # by the reference it has one; what ECS refuses, it refuses on * (rooms/cluster.py)
    "ecs:RegisterTaskDefinition",
    "ecs:TagResource",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "sts:GetServiceBearerToken",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}


def test_a_bare_wildcard_only_where_there_is_no_resource_level(
    minimal: Template, everything: Template, organization: Template
) -> None:
    bare = [
        action
        for template in (minimal, everything, organization)
        for statement in statements(template)
        if statement["Effect"] == "Allow" and "*" in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
    ]
    assert bare
    assert set(bare) <= WITHOUT_RESOURCE_LEVEL


def test_no_managed_policy(minimal: Template) -> None:
    roles = of_type(minimal, "AWS::IAM::Role")
    assert roles
    assert [role for role in roles if "ManagedPolicyArns" in role] == []


MOST_INLINE = 10_240
"""Characters without whitespace of all policies in one role ("IAM and AWS STS quotas")."""


def test_what_a_role_may_stands_in_it_and_fits(minimal: Template, everything: Template) -> None:
    beside = {
        policy["PolicyName"]: policy["Roles"] for policy in of_type(minimal, "AWS::IAM::Policy")
    }
    # the lifecycle names the one function whose role is not told of it before
    assert [name for name in beside if "Resume" in name] == [
        name for name in beside if "BuildImage" in name
    ]
    for template in (minimal, everything):
        for role in of_type(template, "AWS::IAM::Role"):
            text = json.dumps(role.get("Policies", []), separators=(",", ":"))
            assert len(text) < MOST_INLINE / 2, "tokens are longer than what becomes of them"


def _elsewhere(stack: cdk.Stack) -> RunnerFleet:
    """In a stack whose account and region are known, so that ARNs have them and no tokens."""
    located = cdk.Stack(
        cdk.Stage.of(stack),
        "Located",
        env=cdk.Environment(account="123456789012", region="eu-west-3"),
    )
    return fleets.minimal(located)


@pytest.mark.parametrize(
    "make", [fleets.minimal, fleets.encrypted, fleets.organization, fleets.beside_ready, _elsewhere]
)
def test_cdk_nag_aws_solutions_passes(make: Callable[[cdk.Stack], RunnerFleet]) -> None:
    app = cdk.App(analytics_reporting=False)
    make(cdk.Stack(app, "Test"))
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
    app.synth()


def test_cdk_nag_would_fail_on_what_is_not_acknowledged() -> None:
    app = cdk.App(analytics_reporting=False)
    stack = cdk.Stack(app, "Test")
    FleetBus(stack, "Bus", at_rest=DataAtRest(stack))
    cdk.aws_sqs.Queue(stack, "Plain")
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
    with pytest.raises(Exception, match="ValidationFailed"):
        app.synth()


def test_the_evidence_of_each_acknowledgement_exists() -> None:
    package = Path(cdk_runner_fleet.__file__).parent
    named = {
        name
        for path in (*package.glob("*.py"), *package.glob("rooms/*.py"))
        for name in re.findall(r"tests/[\w/]+\.py", path.read_text(encoding="utf-8"))
    }
    assert "tests/constructs/test_permissions.py" in named
    assert {name for name in named if not (package.parent / name).is_file()} == set()
