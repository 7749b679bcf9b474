"""Where runners run: what their tasks hold, and who reaches them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from cdk_runner_fleet import GitHub, ImageBuilds, RunnerClass, RunnerFleet, RunnerImage
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._name import fleet_name
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.image_pipeline import ImagePipeline
from cdk_runner_fleet.values.fleet_images import FleetImages

from ..fleets import READY
from ..templates import (
    Template,
    as_list,
    environment,
    of_type,
    parts,
    patterns_of,
    policy_of,
    rules_of,
    statements,
    template_of,
)


def pipeline(
    stack: cdk.Stack,
    image: RunnerImage,
    *,
    builds: bool = False,
    classes: Mapping[str, RunnerClass] | None = None,
) -> ImagePipeline:
    """What runners are made from; nothing is built beside a ready image unless asked."""
    return ImagePipeline(
        stack,
        "Image",
        images=FleetImages.of(image, classes or {"small": RunnerClass(cpu=512, memory=1024)}),
        builds=ImageBuilds(allowed_bases=None if builds else ()),
        architectures=["X86_64"],
        at_rest=DataAtRest(stack),
    )


def test_jobs_hold_no_credentials_until_something_is_granted(
    minimal: Template, everything: Template
) -> None:
    [plain] = of_type(minimal, "AWS::ECS::TaskDefinition")
    [granted] = of_type(everything, "AWS::ECS::TaskDefinition")
    handed = {"Name": "JOBS_HOLD_TASK_ROLE", "Value": "on"}
    assert handed not in plain["ContainerDefinitions"][0].get("Environment", [])
    assert handed in granted["ContainerDefinitions"][0]["Environment"]


def test_a_task_may_invoke_its_claim_and_nothing_else(minimal: Template) -> None:
    [(action, resources)] = policy_of(minimal, "ClusterTaskRole").items()
    assert action == "execute-api:Invoke"
    [resource] = resources
    assert ":execute-api:" in resource
    assert '"/*/POST/runners/*/claim"' in resource


def test_a_task_role_is_for_tasks_of_this_account_and_region_alone(minimal: Template) -> None:
    role = of_type(minimal, "AWS::ECS::TaskDefinition")[0]["TaskRoleArn"]["Fn::GetAtt"][0]
    document = minimal["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]
    [trust] = document["Statement"]
    assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    source = parts(trust["Condition"]["ArnLike"]["aws:SourceArn"])
    for part in ('":ecs:", {"Ref": "AWS::Region"}', '{"Ref": "AWS::AccountId"}, ":*"]'):
        assert part in source


def test_the_launchers_may_pass_the_task_role(minimal: Template) -> None:
    role = of_type(minimal, "AWS::ECS::TaskDefinition")[0]["TaskRoleArn"]
    passing = [
        s
        for s in statements(minimal)
        if s["Action"] == "iam:PassRole" and role in as_list(s["Resource"])
    ]
    assert len(passing) == 2  # the state machine's and build_image's
    for statement in passing:
        service = statement["Condition"]["StringEquals"]["iam:PassedToService"]
        assert service == "ecs-tasks.amazonaws.com"


def test_tasks_of_other_clusters_are_out_of_reach(minimal: Template) -> None:
    found = [
        statement
        for statement in statements(minimal)
        if set(as_list(statement["Action"])) & {"ecs:ListTasks", "ecs:StopTask"}
    ]
    assert len(found) == 3  # the state machine's one, and reconciliation's two
    assert all("ecs:cluster" in s["Condition"]["ArnEquals"] for s in found)


def test_another_fleets_tasks_in_the_same_cluster_are_neither_stopped_nor_heard_of(
    everything: Template,
) -> None:
    stopping = [s for s in statements(everything) if "ecs:StopTask" in as_list(s["Action"])]
    assert len(stopping) == 2
    [tag] = {
        each["Value"]
        for one in of_type(everything, "AWS::ECS::TaskDefinition")
        for each in one["Tags"]
        if each["Key"] == "runner-fleet:fleet"
    }
    for statement in stopping:
        assert statement["Action"] == "ecs:StopTask"
        assert statement["Condition"]["StringEqualsIfExists"] == {
            "aws:ResourceTag/runner-fleet:fleet": tag
        }
    families = {one["Family"] for one in of_type(everything, "AWS::ECS::TaskDefinition")}
    [group] = [
        prefix["prefix"]
        for rule in rules_of(everything, "dispatch_event")
        if "EventBusName" not in rule
        for pattern in patterns_of(rule)
        for prefix in pattern["detail"].get("group", [])
    ]
    assert group in {f"family:{family}" for family in families}
    assert all(f"family:{family}".startswith(group) for family in families)


def test_the_base_definition_of_built_images_is_one(everything: Template) -> None:
    [task] = of_type(everything, "AWS::ECS::TaskDefinition")
    assert "task_definitions" not in parts(environment(everything, "dispatch_event")["IMAGES"])
    assert environment(everything, "dispatch_event")["ARCHITECTURES"] == '["X86_64", "ARM64"]'
    assert task["RuntimePlatform"]["CpuArchitecture"] == "X86_64"


def test_a_ready_image_is_launched_as_it_is_on_each_architecture(organization: Template) -> None:
    tasks = {
        task["RuntimePlatform"]["CpuArchitecture"]: task
        for task in of_type(organization, "AWS::ECS::TaskDefinition")
    }
    assert set(tasks) == {"X86_64", "ARM64"}
    assert {t["ContainerDefinitions"][0]["Image"] for t in tasks.values()} == {READY}
    assert tasks["X86_64"]["Family"] != tasks["ARM64"]["Family"]
    launched = parts(environment(organization, "dispatch_event")["IMAGES"])
    assert "X86_64" in launched
    assert "ClusterArm64TaskDefinition" in launched


def pulled(template: Template) -> dict[str, set[str]]:
    """What the execution role may do with ECR: each resource's actions."""
    allowed = policy_of(template, "ExecutionRole")
    found: dict[str, set[str]] = {}
    for action, resources in allowed.items():
        for resource in resources if action.startswith("ecr:") else ():
            found.setdefault(resource.replace('"', ""), set()).add(action)
    return found


PULLING = {"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}


@pytest.mark.parametrize(
    ("uri", "repository"),
    [
        (READY, "ecr:eu-west-3:123456789012:repository/runner"),
        (
            "210987654321.dkr.ecr.us-east-2.amazonaws.com/team/sub/runner:1.2@sha256:" + "a" * 64,
            "ecr:us-east-2:210987654321:repository/team/sub/runner",
        ),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/runner",
            "ecr:cn-north-1:123456789012:repository/runner",
        ),
    ],
)
@pytest.mark.parametrize("builds", [False, True])
def test_a_ready_image_in_a_private_ecr_may_be_pulled_from_there(
    uri: str, repository: str, builds: bool, stack: cdk.Stack
) -> None:
    images = pipeline(stack, RunnerImage.ready(uri), builds=builds)
    RunnerCluster(stack, "Cluster", images=images, at_rest=DataAtRest(stack))
    found = pulled(template_of(stack))
    assert found.pop("*") == {"ecr:GetAuthorizationToken"}
    [named] = [actions for resource, actions in found.items() if repository in resource]
    assert named == PULLING
    assert len(found) == 1 + builds


@pytest.mark.parametrize(
    "uri", ["ghcr.io/octo-org/runner:1", "public.ecr.aws/octo/runner:1", "example.com/ecr/a:1"]
)
def test_an_image_elsewhere_needs_no_permission(uri: str, stack: cdk.Stack) -> None:
    images = pipeline(stack, RunnerImage.ready(uri))
    RunnerCluster(stack, "Cluster", images=images, at_rest=DataAtRest(stack))
    assert pulled(template_of(stack)) == {}


def test_a_ready_image_named_by_its_repository_construct_may_be_pulled(stack: cdk.Stack) -> None:
    uri = ecr.Repository(stack, "Ours").repository_uri_for_tag("1")
    images = pipeline(stack, RunnerImage.ready(uri))
    RunnerCluster(stack, "Cluster", images=images, at_rest=DataAtRest(stack))
    template = template_of(stack)
    found = pulled(template)
    assert found.pop("*") == {"ecr:GetAuthorizationToken"}
    [(resource, actions)] = found.items()
    assert actions == PULLING
    [name] = [n for n, r in template["Resources"].items() if r["Type"] == "AWS::ECR::Repository"]
    assert f"{{Ref: {name}}}" in resource
    assert not assertions.Annotations.from_stack(stack).find_warning("*", UNKNOWN)


UNKNOWN = assertions.Match.string_like_regexp("name it with RunnerImage.from_ecr_repository")


def test_a_uri_of_which_nothing_is_known_wants_its_repository(stack: cdk.Stack) -> None:
    uri = cdk.CfnParameter(stack, "Uri").value_as_string
    pipeline(stack, RunnerImage.ready(uri))
    [warning] = assertions.Annotations.from_stack(stack).find_warning("*", UNKNOWN)
    assert warning.id == "/Test/Image"


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize("env", [None, cdk.Environment(account="111111111111", region="eu-west-3")])
@pytest.mark.parametrize(
    ("found_by", "ending"),
    [({}, ":latest"), ({"tag": "1.2"}, ":1.2"), ({"digest": DIGEST}, DIGEST)],
)
def test_an_image_of_a_repository_is_pulled_whosever_and_wherever_it_is(
    env: cdk.Environment | None, found_by: dict[str, str], ending: str
) -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=env)
    arn = "arn:aws:ecr:us-east-2:999999999999:repository/team/runner"
    theirs = ecr.Repository.from_repository_arn(stack, "Theirs", arn)
    images = pipeline(stack, RunnerImage.from_ecr_repository(theirs, **found_by))
    RunnerCluster(stack, "Cluster", images=images, at_rest=DataAtRest(stack))
    template = template_of(stack)
    assert pulled(template) == {arn: PULLING, "*": {"ecr:GetAuthorizationToken"}}
    [task] = of_type(template, "AWS::ECS::TaskDefinition")
    named = parts(task["ContainerDefinitions"][0]["Image"])
    assert "999999999999.dkr.ecr.us-east-2." in named
    assert named.rstrip('"]}').endswith(ending)


def test_a_repository_of_another_account_in_the_same_app_lets_the_runners_in() -> None:
    app = cdk.App(analytics_reporting=False)
    theirs = cdk.Stack(
        app, "Theirs", env=cdk.Environment(account="999999999999", region="us-east-2")
    )
    ours = cdk.Stack(app, "Ours", env=cdk.Environment(account="111111111111", region="eu-west-3"))
    repository = ecr.Repository(theirs, "Runners", repository_name="runners")
    images = pipeline(ours, RunnerImage.from_ecr_repository(repository, tag="1"))
    RunnerCluster(ours, "Cluster", images=images, at_rest=DataAtRest(ours))
    found = pulled(template_of(ours))
    assert found.pop("*") == {"ecr:GetAuthorizationToken"}
    [(resource, actions)] = found.items()
    assert "ecr:us-east-2:999999999999:repository/runners" in resource
    assert actions == PULLING
    [made] = of_type(template_of(theirs), "AWS::ECR::Repository")
    [statement] = made["RepositoryPolicyText"]["Statement"]
    assert set(statement["Action"]) == PULLING
    assert "111111111111:root" in parts(statement["Principal"])


@pytest.mark.parametrize(
    "image",
    [
        RunnerImage.from_ecr_repository,
        lambda theirs: RunnerImage.ready("1" * 12 + ".dkr.ecr.cn-north-1.amazonaws.com.cn/a:1"),
    ],
    ids=["repository", "uri"],
)
def test_an_image_that_no_role_of_this_partition_reaches_is_refused(
    image: Callable[[ecr.IRepository], RunnerImage],
) -> None:
    env = cdk.Environment(account="111111111111", region="eu-west-3")
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=env)
    arn = "arn:aws-cn:ecr:cn-north-1:999999999999:repository/runner"
    theirs = ecr.Repository.from_repository_arn(stack, "Theirs", arn)
    with pytest.raises(ValueError, match=r"is in cn-north-1, of partition aws-cn, .* one of aws$"):
        pipeline(stack, image(theirs))


def test_ready_images_of_classes_are_launched_by_definitions_of_their_own(
    stack: cdk.Stack,
) -> None:
    other = "210987654321.dkr.ecr.us-east-2.amazonaws.com/team/gpu:1"
    house = RunnerImage.ready(READY)
    classes = {
        "small": RunnerClass(cpu=512, memory=1024),
        "gpu.x": RunnerClass(cpu=512, memory=1024, image=RunnerImage.ready(other)),
        "house": RunnerClass(cpu=512, memory=1024, image=house),
        "arm": RunnerClass(cpu=512, memory=1024, image=house, architecture="ARM64"),
    }
    images = pipeline(stack, RunnerImage.built(), classes=classes)
    cluster = RunnerCluster(
        stack,
        "Cluster",
        images=images,
        at_rest=DataAtRest(stack),
        architectures=["X86_64", "ARM64"],
    )
    s3.Bucket(stack, "Cache").grant_read(cluster)
    template = template_of(stack)
    tasks = of_type(template, "AWS::ECS::TaskDefinition")
    by_image: dict[str, list[str]] = {}
    for task in tasks:
        [container] = task["ContainerDefinitions"]
        image, architecture = container["Image"], task["RuntimePlatform"]["CpuArchitecture"]
        by_image.setdefault(image if isinstance(image, str) else "", []).append(architecture)
        # what jobs hold, and none loses its image for it
        assert container["Environment"] == [{"Name": "JOBS_HOLD_TASK_ROLE", "Value": "on"}]
    assert by_image == {"": ["X86_64"], READY: ["X86_64", "ARM64"], other: ["X86_64"]}
    families = {task["Family"] for task in tasks}
    assert len(families) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", family) for family in families)
    # what a drain takes away begins with the base's revision
    assert not [one for one in families if re.match(rf"{cluster.family}-\d+-", one)]
    assert sorted(pulled(template)) == sorted(
        {
            *(one for one in pulled(template) if "ImageRepository" in one),
            *(one for one in pulled(template) if "repository/team/gpu" in one),
            *(one for one in pulled(template) if "repository/runner" in one),
            "*",
        }
    )
    assert len(pulled(template)) == 4


def test_tags_reach_the_tasks_definition_beside_the_fleets_name() -> None:
    app = cdk.App(analytics_reporting=False)
    stack = cdk.Stack(app, "Ci")
    RunnerFleet(stack, "Runners", github=GitHub.repository("octo-org/octo-repo"))
    cdk.Tags.of(app).add("team", "a")
    [definition] = of_type(template_of(stack), "AWS::ECS::TaskDefinition")
    tags = {tag["Key"]: tag["Value"] for tag in definition["Tags"]}
    assert tags.pop("team") == "a"
    assert tags.keys() == {"runner-fleet:fleet"}
    assert re.fullmatch(r"Ci-Runners-[0-9A-F]{8}", tags["runner-fleet:fleet"])


def test_tags_are_given_by_who_makes_a_thing_and_only_while_it_does(minimal: Template) -> None:
    found = [s for s in statements(minimal) if s["Action"] == "ecs:TagResource"]
    by = {s["Condition"]["StringEquals"]["ecs:CreateAction"]: str(s["Resource"]) for s in found}
    assert len(found) == len(by) == 2
    assert ":task/" in by["RunTask"]
    assert by["RegisterTaskDefinition"] == "*"  # as registering itself


def test_the_first_cluster_of_an_account_is_made_before_it_gets_its_providers(
    minimal: Template,
) -> None:
    [cluster] = of_type(minimal, "AWS::ECS::Cluster")
    assert "CapacityProviders" not in cluster
    [association] = of_type(minimal, "AWS::ECS::ClusterCapacityProviderAssociations")
    assert association["CapacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
    assert "FleetPlatformCluster" in association["Cluster"]["Ref"]


def test_nothing_is_launched_before_the_cluster_has_its_providers(minimal: Template) -> None:
    resources = minimal["Resources"]
    [machine] = [one for one in resources.values() if "StateMachine" in one["Type"]]
    [providers] = [name for name, one in resources.items() if "Associations" in one["Type"]]
    assert providers in machine["DependsOn"]


def test_a_family_may_be_launched_whichever_way_ecs_asks_for_it(minimal: Template) -> None:
    allowed = policy_of(minimal, "StateMachineRole")["ecs:RunTask"]
    patterns = [re.search(r"task-definition/([^\"]+)", each) for each in allowed]
    globs = [found[1] for found in patterns if found]
    [task] = of_type(minimal, "AWS::ECS::TaskDefinition")
    family = task["Family"]
    for asked in (
        f"{family}-7-node-20-0123456789ab",
        f"{family}-7-node-20-0123456789ab:1",
        f"{family}-7-node-20-0123456789ab:*",
        f"{family}:7",
    ):
        assert any(fnmatch.fnmatchcase(asked, glob) for glob in globs), (asked, globs)
    assert not any(fnmatch.fnmatchcase("somebody-elses:1", glob) for glob in globs)


def test_only_fargates_families_may_be_registered_and_on_whatever_resource(
    minimal: Template,
) -> None:
    [registering] = [
        s for s in statements(minimal) if "ecs:RegisterTaskDefinition" in as_list(s["Action"])
    ]
    assert registering["Resource"] == "*"
    # true as well for a request that has no such key
    assert registering["Condition"] == {
        "ForAllValues:StringEquals": {"ecs:compute-compatibility": ["FARGATE"]}
    }


def test_tasks_run_in_a_cluster_that_is_given(everything: Template) -> None:
    [(logical_id, _)] = [
        (name, one)
        for name, one in everything["Resources"].items()
        if one["Type"] == "AWS::ECS::Cluster"
    ]
    assert logical_id.startswith("Shared")
    [machine] = of_type(everything, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["ClusterArn"] == {"Fn::GetAtt": [logical_id, "Arn"]}
    [providers] = of_type(everything, "AWS::ECS::ClusterCapacityProviderAssociations")
    assert providers["Cluster"] == {"Ref": logical_id}
    assert set(providers["CapacityProviders"]) == {"FARGATE", "FARGATE_SPOT"}
    [vpc] = [n for n, one in everything["Resources"].items() if one["Type"] == "AWS::EC2::VPC"]
    [group] = of_type(everything, "AWS::EC2::SecurityGroup")
    assert group["VpcId"] == {"Ref": vpc}


def _imported(stack: cdk.Stack, arn: str) -> ecs.ICluster:
    return ecs.Cluster.from_cluster_arn(stack, "Theirs", arn)


CLUSTER_ARN = "arn:aws:ecs:eu-west-3:123456789012:cluster/theirs"


def test_whether_an_imported_cluster_has_capacity_providers_is_its_owners_to_know() -> None:
    here = cdk.Environment(account="123456789012", region="eu-west-3")
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=here)
    made = RunnerCluster(
        stack,
        "Cluster",
        images=pipeline(stack, RunnerImage.ready(READY)),
        at_rest=DataAtRest(stack),
        cluster=_imported(stack, CLUSTER_ARN),
    )
    assert (made.cluster_arn, made.cluster_name) == (CLUSTER_ARN, "theirs")
    assert made.capacity_providers is None
    [warning] = [one.data for one in made.node.metadata if one.type == "aws:cdk:warning"]
    assert "is imported, and whether it has the capacity providers FARGATE and FARGATE_S" in warning


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        (
            CLUSTER_ARN.replace("eu-west-3", "us-east-1"),
            "is in region us-east-1 and the fleet in e",
        ),
        (CLUSTER_ARN.replace("123456789012", "999999999999"), "is in account 999999999999 and the"),
        (CLUSTER_ARN, "is imported without a vpc, and none is given: name the vpc of the runners"),
    ],
)
def test_a_cluster_in_which_no_task_could_be_launched_is_refused(arn: str, message: str) -> None:
    here = cdk.Environment(account="123456789012", region="eu-west-3")
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=here)
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="v", availability_zones=["a"], public_subnet_ids=["s"]
    )
    with pytest.raises(ValueError, match=f"^cluster Test/Theirs {message}"):
        RunnerFleet(
            stack,
            "Fleet",
            github=GitHub.repository("o/r"),
            cluster=_imported(stack, arn),
            vpc=None if "without a vpc" in message else vpc,
        )


# --- an execution role that was there before


def launched_by(role: iam.IRole, *, stack: cdk.Stack) -> RunnerCluster:
    at_rest = DataAtRest(stack)
    images = pipeline(stack, RunnerImage.built())
    return RunnerCluster(stack, "Cluster", images=images, at_rest=at_rest, execution_role=role)


def test_an_execution_role_that_is_given_gets_what_it_needs_in_the_fleets_own_stack() -> None:
    app = cdk.App(analytics_reporting=False)
    theirs, stack = cdk.Stack(app, "Theirs"), cdk.Stack(app, "Test")
    service = iam.ServicePrincipal("ecs-tasks.amazonaws.com")
    role = iam.Role(theirs, "Execution", assumed_by=service, role_name="execution")
    launcher = iam.Role(stack, "Launcher", assumed_by=iam.AccountRootPrincipal())
    made = launched_by(role, stack=stack)
    made.grant_run(launcher)
    template = template_of(stack)
    [definition] = of_type(template, "AWS::ECS::TaskDefinition")
    assert "Theirs:" in parts(definition["ExecutionRoleArn"])
    [policy] = [
        one for one in of_type(template, "AWS::IAM::Policy") if "Theirs:" in parts(one["Roles"])
    ]
    assert policy["PolicyName"] == fleet_name(made), "no other fleet's writes over it"
    allowed = {
        action for one in policy["PolicyDocument"]["Statement"] for action in as_list(one["Action"])
    }
    assert {"logs:PutLogEvents", "ecr:BatchGetImage", "ecr:GetAuthorizationToken"} <= allowed
    passed = [s for s in statements(template) if s["Action"] == "iam:PassRole"]
    assert definition["ExecutionRoleArn"] in [each["Resource"] for each in passed]
    roles = [n for n, one in template["Resources"].items() if one["Type"] == "AWS::IAM::Role"]
    assert not any("ExecutionRole" in name for name in roles)


def test_an_execution_role_that_may_not_be_changed_is_not_and_what_it_needs_is_said(
    stack: cdk.Stack,
) -> None:
    arn = "arn:aws:iam::123456789012:role/theirs"
    role = iam.Role.from_role_arn(stack, "Theirs", arn, mutable=False)
    launched_by(role, stack=stack)
    policies = of_type(template_of(stack), "AWS::IAM::Policy")
    assert not any("theirs" in parts(one["Roles"]) for one in policies)
    told = cdk.assertions.Annotations.from_stack(stack).find_warning(
        "*", cdk.assertions.Match.string_like_regexp("execution_role Test/Theirs .*PutLogEvents")
    )
    assert len(told) == 1


def test_an_execution_role_of_another_account_is_refused() -> None:
    here = cdk.Environment(account="123456789012", region="eu-west-3")
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=here)
    role = iam.Role.from_role_arn(stack, "Theirs", "arn:aws:iam::222222222222:role/theirs")
    with pytest.raises(ValueError, match=r"^execution_role Test/Theirs is in account 222222222222"):
        launched_by(role, stack=stack)
