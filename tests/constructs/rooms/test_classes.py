"""What runners of a class have that others have not: what is granted to them, where they are."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from cdk_runner_fleet import GitHub, RunnerClass, RunnerFleet, RunnerPlatform

from ..templates import (
    Template,
    as_list,
    environment,
    of_type,
    parts,
    policies,
    statements,
    synthesize,
    template_of,
)

SMALL = RunnerClass(cpu=512, memory=1024)


def small(**more: Any) -> RunnerClass:
    return RunnerClass(cpu=512, memory=1024, **more)


def granted(stack: cdk.Stack) -> RunnerFleet:
    """Classes that have all that a class can have, in an organization."""
    vpc = ec2.Vpc(stack, "Vpc", nat_gateways=1, max_azs=2)
    brought = iam.Role(stack, "Brought", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
    bucket = s3.Bucket(stack, "Results")
    fleet = RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.organization("octo-org"),
        vpc=vpc,
        classes={
            "small": SMALL,
            "huge": small(
                environment={"BUCKET": bucket.bucket_name, "SAY": 'ü "quoted"'},
                tags={"team": "a"},
                vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
                runner_group="huge",
                allow_images=False,
            ),
            "own": small(task_role=brought),
        },
    )
    bucket.grant_read(fleet.runner_class("huge"))
    bucket.grant_put(fleet.runner_class("huge"))
    fleet.runner_class("huge").connections.allow_to(ec2.Peer.any_ipv4(), ec2.Port.tcp(5432))
    s3.Bucket(stack, "Cache").grant_read(fleet)
    return fleet


@pytest.fixture(scope="module")
def classes() -> Template:
    return synthesize(granted)


def settings(template: Template) -> dict[str, Any]:
    """What each class is launched with, with the names of resources for what they will be."""
    [machine] = of_type(template, "AWS::StepFunctions::StateMachine")
    [(function, text)] = machine["DefinitionSubstitutions"]["ClassSettings"].items()
    assert function == "Fn::Base64"
    pieces = text["Fn::Join"][1] if isinstance(text, dict) else [text]
    said: dict[str, Any] = json.loads(
        "".join(each if isinstance(each, str) else _name(each) for each in pieces)
    )
    return said


def _name(reference: dict[str, Any]) -> str:
    [value] = reference.values()
    return str(value[0] if isinstance(value, list) else value)


def role_of(template: Template, class_name: str) -> str:
    return str(settings(template)[class_name]["overrides"]["TaskRoleArn"])


def allowed(template: Template, role: str) -> set[str]:
    """What a role may, by all policies that it is in."""
    return {
        action
        for holder, document in policies(template)
        if holder == role
        for statement in document["Statement"]
        for action in as_list(statement["Action"])
    }


def test_without_a_grant_no_class_has_a_role_or_a_group(minimal: Template) -> None:
    assert settings(minimal) == {}
    assert environment(minimal, "runner_api")["CLASS_TASK_ROLES"] == "{}"
    assert environment(minimal, "runner_api")["CLASS_RUNNER_GROUPS"] == "{}"


def test_a_class_gets_one_role_at_its_first_grant_and_its_jobs_hold_it(classes: Template) -> None:
    huge = settings(classes)["huge"]
    role = role_of(classes, "huge")
    assert role.startswith("FleetPlatformClasseshugeTaskRole")
    assert {"s3:GetObject*", "s3:PutObject"} <= allowed(classes, role)
    assert {"Name": "JOBS_HOLD_TASK_ROLE", "Value": "on"} in huge["environment"]
    assert "small" not in settings(classes)
    made = [name for name in classes["Resources"] if "Classes" in name and "TaskRole" in name]
    assert len([name for name in made if "Policy" not in name]) == 1


def test_a_classs_role_is_for_tasks_of_this_account_and_region_alone(classes: Template) -> None:
    fleets = of_type(classes, "AWS::ECS::TaskDefinition")[0]["TaskRoleArn"]["Fn::GetAtt"][0]
    trusts = [
        classes["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]
        for role in (fleets, role_of(classes, "huge"))
    ]
    assert trusts[0] == trusts[1]


def test_what_the_fleet_is_granted_the_roles_of_classes_may_too(classes: Template) -> None:
    """With it they may claim, which is how a task shows who it is."""
    fleets = of_type(classes, "AWS::ECS::TaskDefinition")[0]["TaskRoleArn"]["Fn::GetAtt"][0]
    of_all = allowed(classes, fleets)
    assert {"execute-api:Invoke", "s3:GetObject*"} <= of_all
    assert "s3:PutObject" not in of_all
    for class_name in ("huge", "own"):
        assert of_all <= allowed(classes, role_of(classes, class_name))


def test_no_role_can_be_passed_but_the_fleets_and_its_classes(classes: Template) -> None:
    passed = {
        parts(resource)
        for statement in statements(classes)
        if "iam:PassRole" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    roles = {
        role_of(classes, "huge"),
        role_of(classes, "own"),
        "FleetPlatformClusterTaskRole",
        "FleetPlatformClusterExecutionRole",
    }
    assert len(passed) == len(roles)
    assert all(any(role in each for each in passed) for role in roles)


def test_the_claim_is_told_whose_role_is_which(classes: Template) -> None:
    told = environment(classes, "runner_api")
    pieces = told["CLASS_TASK_ROLES"]["Fn::Join"][1]
    assert [each["Ref"] for each in pieces if isinstance(each, dict)] == [
        role_of(classes, name) for name in sorted(("own", "huge"), reverse=True)
    ]
    assert json.loads(told["CLASS_RUNNER_GROUPS"]) == {"huge": "huge"}


def test_a_class_has_its_variables_tags_subnets_and_groups(classes: Template) -> None:
    huge = settings(classes)["huge"]
    variables = {each["Name"]: each["Value"] for each in huge["environment"]}
    assert variables["SAY"] == 'ü "quoted"'
    assert variables["BUCKET"].startswith("Results")
    assert huge["tags"] == [{"Key": "team", "Value": "a"}]
    assert all("Private" in each for each in huge["subnets"].split(","))
    fleets, own = huge["security_groups"].split(",")
    assert fleets.startswith("FleetPlatformNetwork")
    assert own.startswith("FleetPlatformClasseshuge")


def test_what_the_machine_is_told_is_ascii(classes: Template) -> None:
    """JSONata decodes bytes to characters, one to one."""
    [machine] = of_type(classes, "AWS::StepFunctions::StateMachine")
    assert str(machine["DefinitionSubstitutions"]["ClassSettings"]).isascii()


# --- what is refused


def fleet_in(stack: cdk.Stack, **more: Any) -> RunnerFleet:
    given = {"github": GitHub.repository("o/r"), "classes": {"small": SMALL}, **more}
    return RunnerFleet(stack, "Fleet", **given)


def test_a_class_that_there_is_none_of_is_refused_with_those_there_are(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="class 'hug' is none of the fleet's, which are small: na"):
        fleet_in(stack).runner_class("hug")


@pytest.mark.parametrize(
    "github",
    [GitHub.repository("o/r"), GitHub.organization("o", register_for="repository")],
    ids=["repository", "register_for"],
)
def test_a_group_where_there_are_none_is_refused(stack: cdk.Stack, github: GitHub) -> None:
    own = small(runner_group="g", allow_images=False)
    with pytest.raises(ValueError, match=r"class own has runner_group 'g', and .* no groups: "):
        fleet_in(stack, github=github, classes={"own": own})


def test_subnets_of_a_class_that_lead_nowhere_are_refused(stack: cdk.Stack) -> None:
    own = small(vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED))
    with pytest.raises(ValueError, match=r"^vpc_subnets selects none of vpc .* select some that"):
        fleet_in(stack, classes={"own": own})


def test_where_no_vpc_is_known_a_class_names_its_subnets_and_has_no_group(
    stack: cdk.Stack,
) -> None:
    subnets = [ec2.Subnet.from_subnet_id(stack, f"S{number}", f"s-{number}") for number in (1, 2)]
    network = {
        "vpc_subnets": ec2.SubnetSelection(subnets=subnets[:1]),
        "security_groups": [ec2.SecurityGroup.from_security_group_id(stack, "G", "sg-1")],
    }
    own = small(vpc_subnets=ec2.SubnetSelection(subnets=subnets[1:]))
    fleet = fleet_in(stack, classes={"own": own}, **network)
    with pytest.raises(ValueError, match="only subnets are given: give the vpc with them"):
        fleet.runner_class("own").connections  # noqa: B018
    assert settings(template_of(stack))["own"] == {"subnets": "s-2"}
    with pytest.raises(ValueError, match="no vpc is given to select them from"):
        fleet.platform.network.select(ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC))


def test_a_task_in_five_groups_has_no_room_for_one_of_its_class(stack: cdk.Stack) -> None:
    groups = [
        ec2.SecurityGroup.from_security_group_id(stack, f"G{number}", f"sg-{number}")
        for number in range(5)
    ]
    vpc = ec2.Vpc(stack, "Vpc", nat_gateways=0, max_azs=1)
    fleet = fleet_in(stack, vpc=vpc, security_groups=groups)
    with pytest.raises(ValueError, match="with one for a class, has 6, and a task of Fargate tak"):
        fleet.runner_class("small").connections  # noqa: B018


def test_classes_of_a_platform_without_github_have_roles_and_no_groups(stack: cdk.Stack) -> None:
    platform = RunnerPlatform(stack, "Platform", classes={"small": SMALL})
    s3.Bucket(stack, "Results").grant_read(platform.runner_class("small"))
    s3.Bucket(stack, "Cache").grant_put(platform)
    template = template_of(stack)
    role = role_of(template, "small")
    assert {"s3:GetObject*", "s3:PutObject"} <= allowed(template, role)
    own = small(runner_group="g", allow_images=False)
    with pytest.raises(ValueError, match="class own has runner_group 'g', and without github no"):
        RunnerPlatform(stack, "Other", classes={"own": own})
