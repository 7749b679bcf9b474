"""File systems of a class: who may mount them, by which task definitions, and what is refused."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_efs as efs
from aws_cdk import aws_iam as iam

from cdk_runner_fleet import EfsMount, GitHub, RunnerClass, RunnerFleet, RunnerImage

from ..templates import Template, environment, of_type, parts, policies, synthesize, template_of
from .test_classes import allowed, role_of, settings


def small(**more: Any) -> RunnerClass:
    return RunnerClass(cpu=512, memory=1024, **more)


def file_system_in(stack: cdk.Stack, vpc: ec2.IVpc, name: str = "Cache") -> efs.FileSystem:
    return efs.FileSystem(stack, name, vpc=vpc)


def with_mounts(stack: cdk.Stack) -> RunnerFleet:
    """Two classes with the same cache, one with another, one without, and one in a ready image."""
    vpc = ec2.Vpc(stack, "Vpc", nat_gateways=0, max_azs=2)
    cache = file_system_in(stack, vpc)
    point = cache.add_access_point("Point", path="/cache")
    own = [
        EfsMount(file_system=cache, path="/mnt/cache", access_point=point),
        EfsMount(file_system=file_system_in(stack, vpc, "Data"), path="/data", read_only=True),
    ]
    fleet = RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.repository("o/r"),
        vpc=vpc,
        classes={
            "small": small(),
            "huge": small(mounts=own),
            "wide": small(mounts=own),
            "other": small(
                mounts=own[:1], image=RunnerImage.ready("public.ecr.aws/x/y:1", name="their")
            ),
        },
    )
    iam.Grant.add_to_principal(
        grantee=fleet.runner_class("wide"), actions=["a:b"], resource_arns=["*"]
    )
    return fleet


@pytest.fixture(scope="module")
def mounts() -> Template:
    return synthesize(with_mounts)


def definitions(template: Template) -> dict[str, Any]:
    """By what stands behind the first one's family."""
    found = of_type(template, "AWS::ECS::TaskDefinition")
    base = min((one["Family"] for one in found), key=len)
    return {one["Family"].removeprefix(base): one for one in found}


def suffix(template: Template, class_name: str) -> str:
    return str(settings(template)[class_name]["family_suffix"])


def test_classes_with_the_same_mounts_have_the_same_definitions(mounts: Template) -> None:
    assert suffix(mounts, "huge") == suffix(mounts, "wide") != suffix(mounts, "other")
    assert "small" not in settings(mounts)
    made = {suffix(mounts, "huge"), suffix(mounts, "other")}
    ready = {name for name in definitions(mounts) if name.startswith("-class-")}
    behind = {name.removeprefix(min(ready, key=len)) for name in ready}
    assert set(definitions(mounts)) - ready == {"", *made}
    assert behind == {"", *made}, "and so has each ready image"


def test_only_those_definitions_have_volumes(mounts: Template) -> None:
    assert "Volumes" not in definitions(mounts)[""]
    assert "MountPoints" not in definitions(mounts)[""]["ContainerDefinitions"][0]
    one = definitions(mounts)[suffix(mounts, "huge")]
    cache, data = (volume["EFSVolumeConfiguration"] for volume in one["Volumes"])
    assert cache["TransitEncryption"] == data["TransitEncryption"] == "ENABLED"
    assert cache["AuthorizationConfig"]["IAM"] == data["AuthorizationConfig"]["IAM"] == "ENABLED"
    assert cache["AuthorizationConfig"]["AccessPointId"]["Ref"].startswith("CachePoint")
    assert cache["FilesystemId"]["Ref"].startswith("Cache")
    points = one["ContainerDefinitions"][0]["MountPoints"]
    assert [(each["ContainerPath"], each["ReadOnly"]) for each in points] == [
        ("/mnt/cache", False),
        ("/data", True),
    ]
    names = [each["Name"] for each in one["Volumes"]]
    assert [each["SourceVolume"] for each in points] == names


def test_a_change_of_any_of_their_bases_makes_new_families(mounts: Template) -> None:
    family = parts(environment(mounts, "build_image")["TASK_FAMILY"])
    bases = {"ClusterTaskDefinition", "Mountshuge", "Mountsother"}
    assert all(base in family for base in bases)
    told = parts(environment(mounts, "define_task")["MOUNTED_TASK_DEFINITIONS"])
    assert all(suffix(mounts, name) in told for name in ("huge", "other"))
    assert environment(mounts, "build_image").keys().isdisjoint({"MOUNTED_TASK_DEFINITIONS"})


def test_a_fleet_without_mounts_has_nothing_of_it(minimal: Template) -> None:
    assert len(of_type(minimal, "AWS::ECS::TaskDefinition")) == 1
    assert environment(minimal, "define_task")["MOUNTED_TASK_DEFINITIONS"] == "{}"


def statements_about_files(template: Template, role: str) -> list[dict[str, Any]]:
    return [
        statement
        for holder, document in policies(template)
        if holder == role
        for statement in document["Statement"]
        if "elasticfilesystem" in parts(statement["Action"])
    ]


def test_the_classs_role_may_mount_its_file_systems_and_by_the_access_point_alone(
    mounts: Template,
) -> None:
    cache, data = statements_about_files(mounts, role_of(mounts, "huge"))
    assert cache["Action"] == ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
    assert data["Action"] == "elasticfilesystem:ClientMount", "it only reads"
    of_point = cache["Condition"]["StringEquals"]["elasticfilesystem:AccessPointArn"]
    assert "CachePoint" in parts(of_point)
    assert "StringEquals" not in data["Condition"]
    for statement, name in ((cache, "Cache"), (data, "Data")):
        assert statement["Resource"]["Fn::GetAtt"][0].startswith(name)
        assert statement["Condition"]["Bool"] == {
            "elasticfilesystem:AccessedViaMountTarget": "true"
        }
    fleets = definitions(mounts)[""]["TaskRoleArn"]["Fn::GetAtt"][0]
    assert statements_about_files(mounts, fleets) == []
    assert "execute-api:Invoke" in allowed(mounts, role_of(mounts, "huge")), "it claims by it"


def test_jobs_hold_that_role_only_where_the_class_is_granted_something(mounts: Template) -> None:
    assert "environment" not in settings(mounts)["huge"]
    assert settings(mounts)["wide"]["environment"] == [
        {"Name": "JOBS_HOLD_TASK_ROLE", "Value": "on"}
    ]


def test_the_file_system_lets_the_class_in(mounts: Template) -> None:
    rules = [
        rule
        for rule in of_type(mounts, "AWS::EC2::SecurityGroupIngress")
        if rule["FromPort"] == rule["ToPort"] == 2049
    ]
    let_in = {(parts(rule["GroupId"])[:40], parts(rule["SourceSecurityGroupId"])) for rule in rules}
    assert len(let_in) == 5, "two of huge, two of wide, one of other"
    assert all("PlatformClasses" in source for _, source in let_in)


def test_no_runner_is_launched_before_its_mount_targets_and_definitions_are_there(
    mounts: Template,
) -> None:
    [machine] = [
        resource
        for resource in mounts["Resources"].values()
        if resource["Type"] == "AWS::StepFunctions::StateMachine"
    ]
    needed = set(machine["DependsOn"])
    wanted = {
        name
        for name, resource in mounts["Resources"].items()
        if resource["Type"] == "AWS::EFS::MountTarget" or "ClusterMounts" in name
    }
    assert wanted
    assert wanted <= needed


# --- what is refused


@pytest.fixture
def vpc(stack: cdk.Stack) -> ec2.IVpc:
    return ec2.Vpc(stack, "Vpc", nat_gateways=0, max_azs=1)


@pytest.fixture
def cache(stack: cdk.Stack, vpc: ec2.IVpc) -> efs.FileSystem:
    return file_system_in(stack, vpc)


@pytest.mark.parametrize("path", ["mnt/cache", "/mnt/cache/", "/mnt//cache", "/mnt/../etc", ""])
def test_a_path_that_is_none_is_refused(cache: efs.FileSystem, path: str) -> None:
    with pytest.raises(ValueError, match=r"is not absolute, or not as short .*/mnt/cache$"):
        EfsMount(file_system=cache, path=path)


@pytest.mark.parametrize(
    "path", ["/", "/home", "/home/runner", "/home/runner/_work", "/opt/fleet", "/etc", "/usr/lib"]
)
def test_a_path_in_the_runners_way_is_refused(cache: efs.FileSystem, path: str) -> None:
    with pytest.raises(ValueError, match=f"path '{path}' of a mount is in the way of /"):
        EfsMount(file_system=cache, path=path)


def test_other_folders_are_taken(cache: efs.FileSystem) -> None:
    for path in ("/mnt/cache", "/cache", "/home/other", "/var/lib/x", "/etcetera"):
        assert EfsMount(file_system=cache, path=path).path == path


def test_two_mounts_at_one_place_are_refused(cache: efs.FileSystem) -> None:
    one = EfsMount(file_system=cache, path="/mnt/cache")
    with pytest.raises(ValueError, match="mounts of a class have '/mnt/cache' 2 times"):
        small(mounts=[one, one])


def test_an_access_point_of_another_file_system_is_refused(
    stack: cdk.Stack, vpc: ec2.IVpc, cache: efs.FileSystem
) -> None:
    other = file_system_in(stack, vpc, "Other").add_access_point("Point")
    with pytest.raises(ValueError, match="is of Test/Other, and file_system is Test/Cache: give"):
        EfsMount(file_system=cache, path="/mnt/cache", access_point=other)


def test_a_mount_of_another_kind_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match=r"file_system is a str, .*FileSystem"):
        EfsMount(file_system="fs-1", path="/mnt/cache")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arn", "what"),
    [
        ("arn:aws:elasticfilesystem:eu-west-1:111111111111:file-system/fs-1", "region eu-west-1"),
        ("arn:aws:elasticfilesystem:eu-west-3:222222222222:file-system/fs-1", "account 2222222222"),
    ],
)
def test_a_file_system_of_another_account_or_region_is_refused(arn: str, what: str) -> None:
    stack = cdk.Stack(
        cdk.App(analytics_reporting=False),
        "Test",
        env=cdk.Environment(account="111111111111", region="eu-west-3"),
    )
    group = ec2.SecurityGroup.from_security_group_id(stack, "G", "sg-1")
    theirs = efs.FileSystem.from_file_system_attributes(
        stack, "Theirs", file_system_arn=arn, security_group=group
    )
    own = small(mounts=[EfsMount(file_system=theirs, path="/mnt/cache")])
    with pytest.raises(ValueError, match=f"file_system Test/Theirs of class own is in {what}"):
        RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), classes={"own": own})


def test_more_different_mounts_than_a_name_has_room_for_are_refused(
    stack: cdk.Stack, cache: efs.FileSystem
) -> None:
    classes = {
        f"c{number}": small(mounts=[EfsMount(file_system=cache, path=f"/mnt/{number}")])
        for number in range(11)
    }
    with pytest.raises(ValueError, match="classes have 11 different mounts, and 10 are the most"):
        RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), classes=classes)


# --- roles that were there before


def brought(stack: cdk.Stack, role: iam.IRole) -> Template:
    RunnerFleet(
        stack, "Fleet", github=GitHub.repository("o/r"), classes={"own": small(task_role=role)}
    )
    return template_of(stack)


def test_a_role_that_may_not_be_changed_is_not_and_what_it_needs_is_said(stack: cdk.Stack) -> None:
    arn = "arn:aws:iam::111111111111:role/theirs"
    role = iam.Role.from_role_arn(stack, "Theirs", arn, mutable=False)
    template = brought(stack, role)
    rights = [one for one in of_type(template, "AWS::IAM::Policy") if "theirs" in parts(one)]
    assert [one for one in rights if "theirs" in parts(one["Roles"])] == []
    warnings = cdk.assertions.Annotations.from_stack(stack).find_warning(
        "*", cdk.assertions.Match.string_like_regexp("task_role Test/Theirs of class own .*claim")
    )
    assert len(warnings) == 1


def test_a_role_that_may_be_changed_is_and_nothing_is_said(stack: cdk.Stack) -> None:
    role = iam.Role.from_role_name(stack, "Theirs", "theirs")
    template = brought(stack, role)
    rights = of_type(template, "AWS::IAM::Policy")
    assert [one for one in rights if "theirs" in parts(one["Roles"])]
    found = cdk.assertions.Annotations.from_stack(stack).find_warning(
        "*", cdk.assertions.Match.string_like_regexp("task_role")
    )
    assert found == []


def test_a_role_of_another_account_is_refused() -> None:
    stack = cdk.Stack(
        cdk.App(analytics_reporting=False),
        "Test",
        env=cdk.Environment(account="111111111111", region="eu-west-3"),
    )
    role = iam.Role.from_role_arn(stack, "Theirs", "arn:aws:iam::222222222222:role/theirs")
    with pytest.raises(ValueError, match="task_role of class own is in account 222222222222 and"):
        brought(stack, role)


def test_a_role_that_no_task_can_have_is_refused(stack: cdk.Stack) -> None:
    role = iam.Role(stack, "Theirs", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    with pytest.raises(ValueError, match=r"^task_role Test/Theirs of class own cannot be assumed"):
        brought(stack, role)


def test_a_role_that_tasks_may_have_among_others_is_taken(stack: cdk.Stack) -> None:
    services = (iam.ServicePrincipal(f"{one}.amazonaws.com") for one in ("ecs-tasks", "lambda"))
    role = iam.Role(stack, "Theirs", assumed_by=iam.CompositePrincipal(*services))
    assert brought(stack, role)
