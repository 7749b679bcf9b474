"""What all functions have in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2

from cdk_runner_fleet import (
    FunctionOptions,
    GitHub,
    ImageBuilds,
    RunnerFleet,
    RunnerFleetStack,
    _assets,
)
from cdk_runner_fleet.rooms.functions import prepared

from .templates import Template, as_list, of_type, policies, statements, template_of


def functions(template: Template) -> list[dict[str, Any]]:
    """The fleet's own; aws-cdk may have one to help it deploy."""
    found = of_type(template, "AWS::Lambda::Function")
    return [each for each in found if each["Description"].startswith("cdk-runner-fleet: ")]


def actions_on_xray(template: Template) -> set[str]:
    allowed = {action for one in statements(template) for action in as_list(one["Action"])}
    return {action for action in allowed if action.startswith("xray:")}


def test_every_entry_point_is_a_function(minimal: Template) -> None:
    handlers = {function["Handler"] for function in functions(minimal)}
    assert handlers == {f"{path.stem}.handler" for path in _assets.FUNCTIONS.glob("*.py")}


def test_each_has_a_role_of_its_own_and_all_have_one_log_group(minimal: Template) -> None:
    every = functions(minimal)
    roles = {function["Role"]["Fn::GetAtt"][0] for function in every}
    assert len(roles) == len(every)
    [group] = {function["LoggingConfig"]["LogGroup"]["Ref"] for function in every}
    assert minimal["Resources"][group]["Properties"]["RetentionInDays"] == 30
    # which function says it
    services = {function["Environment"]["Variables"]["SERVICE_NAME"] for function in every}
    assert len(services) == len(every)


def test_nothing_is_traced_unless_that_is_asked_for(minimal: Template) -> None:
    for function in functions(minimal):
        assert "TracingConfig" not in function
        assert function["Environment"]["Variables"]["TRACING"] == "off"
    [machine] = of_type(minimal, "AWS::StepFunctions::StateMachine")
    assert not machine.get("TracingConfiguration", {}).get("Enabled")
    assert actions_on_xray(minimal) == set()


def test_everything_is_traced_where_that_is_asked_for(everything: Template) -> None:
    for function in functions(everything):
        assert function["TracingConfig"] == {"Mode": "Active"}
        assert function["Environment"]["Variables"]["TRACING"] == "on"
    [machine] = of_type(everything, "AWS::StepFunctions::StateMachine")
    assert machine["TracingConfiguration"] == {"Enabled": True}
    assert {"xray:PutTraceSegments", "xray:PutTelemetryRecords"} <= actions_on_xray(everything)


def test_services_that_write_logs_by_themselves_do_so_below_vendedlogs(minimal: Template) -> None:
    groups = {
        name: resource["Properties"].get("LogGroupName", "")
        for name, resource in minimal["Resources"].items()
        if resource["Type"] == "AWS::Logs::LogGroup"
    }
    [machine] = of_type(minimal, "AWS::StepFunctions::StateMachine")
    [stage] = of_type(minimal, "AWS::ApiGatewayV2::Stage")
    [destination] = machine["LoggingConfiguration"]["Destinations"]
    written = {
        "states": destination["CloudWatchLogsLogGroup"]["LogGroupArn"],
        "apis": stage["AccessLogSettings"]["DestinationArn"],
    }
    for service, arn in written.items():
        prefix, stack, place, incarnation = groups[arn["Fn::GetAtt"][0]]["Fn::Join"][1]
        assert prefix == f"/aws/vendedlogs/{service}/"
        assert (stack, len(place)) == ({"Ref": "AWS::StackName"}, 10)
        assert "AWS::StackId" in str(incarnation)
    assert sum(bool(name) for name in groups.values()) == 2


def _located(region: str) -> cdk.Stack:
    env = cdk.Environment(account="123456789012", region=region)
    return cdk.Stack(cdk.App(analytics_reporting=False), "Located", env=env)


@pytest.mark.parametrize(
    "region",
    ["me-south-1", "me-central-1", "ap-southeast-6", "ap-east-2", "us-gov-west-1", "cn-north-1"],
)
def test_a_region_without_the_public_layer_is_refused_with_the_remedy(region: str) -> None:
    with pytest.raises(
        ValueError, match=f"region '{region}' has no public .* give powertools_layer:"
    ):
        RunnerFleet(_located(region), "Fleet", github=GitHub.repository("o/r"))


def test_such_a_region_takes_a_layer_that_is_given() -> None:
    arn = "arn:aws-us-gov:lambda:us-gov-west-1:165087284144:layer:Powertools:1"
    context = {"github_repo": "o/r", "powertools_layer_arn": arn}
    stack = RunnerFleetStack(
        cdk.App(context=context, analytics_reporting=False),
        "Located",
        env=cdk.Environment(account="123456789012", region="us-gov-west-1"),
    )
    template = template_of(stack)
    layers = {tuple(f["Layers"]) for f in functions(template) if "Layers" in f}
    assert layers == {(arn,)}
    assert "powertools" not in str(template["Parameters"]).lower()


def test_the_public_layer_is_looked_up_where_it_is_or_may_be(minimal: Template) -> None:
    (parameter,) = [p for p in minimal["Parameters"].values() if "powertools" in str(p)]
    assert parameter["Type"] == "AWS::SSM::Parameter::Value<String>"
    assert parameter["Default"].endswith("/arm64/python3.14/latest")


def test_settings_that_lambda_does_not_take_are_refused_with_the_remedy(stack: cdk.Stack) -> None:
    bases = [f"public.ecr.aws/docker/library/some-image-{n}:*" for n in range(90)]
    images = ImageBuilds(allowed_bases=bases)
    told = r"of build_image are \d+ bytes, .* takes 4096 .*: ALLOWED_IMAGES alone .* a glob"
    with pytest.raises(ValueError, match=told):
        RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), images=images)


def test_settings_whose_tokens_alone_are_long_are_taken(stack: cdk.Stack) -> None:
    bases = [cdk.CfnParameter(stack, f"Base{n}").value_as_string for n in range(90)]
    images = ImageBuilds(allowed_bases=bases)
    RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), images=images)


def test_functions_that_ask_github_are_in_the_network_that_is_given_for_that(
    organization: Template, minimal: Template
) -> None:
    asking = {
        each["Handler"]
        for each in functions(organization)
        if "GITHUB_APPS" in each["Environment"]["Variables"]
    }
    inside = [each for each in functions(organization) if "VpcConfig" in each]
    assert {each["Handler"] for each in inside} == asking
    [group] = of_type(organization, "AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in group
    for each in inside:
        assert each["VpcConfig"]["SubnetIds"] == ["subnet-8", "subnet-9"]
        assert len(each["VpcConfig"]["SecurityGroupIds"]) == 1
    assert not [each for each in functions(minimal) if "VpcConfig" in each]


NETWORK = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}


def test_lambda_may_attach_their_interfaces_and_their_own_code_may_not(
    organization: Template,
) -> None:
    roles = {
        each["Role"]["Fn::GetAtt"][0] for each in functions(organization) if "VpcConfig" in each
    }
    said = [
        (role, statement["Effect"], set(as_list(statement["Action"])))
        for role, document in policies(organization)
        for statement in document["Statement"]
        if "ec2:" in str(statement["Action"])
    ]
    assert len(said) == 2 * len(roles)
    assert all(actions == NETWORK for _, _, actions in said)
    assert {(role, effect) for role, effect, _ in said} == {
        (role, effect) for role in roles for effect in ("Allow", "Deny")
    }
    denied = [one for one in statements(organization) if one["Effect"] == "Deny"]
    assert all(":function:*" in str(one["Condition"]) for one in denied)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vpc_subnets": ec2.SubnetSelection()}, "functions has vpc_subnets and no vpc that they"),
        ({"security_groups": [5]}, r"security_groups\[0\] is a int, give an ISecurityGroup"),
    ],
)
def test_a_network_of_functions_needs_a_vpc(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        FunctionOptions(**given)


def _network(stack: cdk.Stack, **subnets: list[str]) -> ec2.IVpc:
    zones = ["a"] * max(map(len, subnets.values()))
    return ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=zones, **subnets
    )


def test_more_security_groups_than_a_function_takes_are_refused(stack: cdk.Stack) -> None:
    groups = [
        ec2.SecurityGroup.from_security_group_id(stack, f"G{number}", f"sg-{number}")
        for number in range(6)
    ]
    vpc = _network(stack, private_subnet_ids=["subnet-1"])
    with pytest.raises(ValueError, match=r"^security_groups of functions has 6, .* leave out 1"):
        FunctionOptions(vpc=vpc, security_groups=groups)


@pytest.mark.parametrize(
    ("subnets", "message"),
    [
        ({"public_subnet_ids": ["subnet-1"]}, "functions are in public subnets of vpc Test/Vpc"),
        (
            {"private_subnet_ids": [f"subnet-{number}" for number in range(17)]},
            "functions are in 17 subnets, and a function takes 16: name fewer in vpc_subnets",
        ),
    ],
)
def test_a_network_that_functions_could_do_nothing_in_is_refused(
    subnets: dict[str, list[str]], message: str, stack: cdk.Stack
) -> None:
    options = FunctionOptions(vpc=_network(stack, **subnets))
    with pytest.raises(ValueError, match=f"^{message}"):
        prepared(stack, options)


def test_the_page_says_what_has_to_be_reached_from_that_network(organization: Template) -> None:
    roles = {
        each["Role"]["Fn::GetAtt"][0] for each in functions(organization) if "VpcConfig" in each
    }
    called = {
        action.partition(":")[0]
        for role, document in policies(organization)
        if role in roles
        for statement in document["Statement"]
        for action in as_list(statement["Action"])
    }
    # Lambda itself writes logs, attaches interfaces and hands on what has failed
    called -= {"logs", "ec2", "sqs"}
    page = (Path(__file__).parents[2] / "docs" / "own-resources.md").read_text(encoding="utf-8")
    section = page.split("## A network for functions")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert named == called | {"xray"}
