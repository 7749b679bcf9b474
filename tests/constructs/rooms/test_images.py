"""Who has images built and watches their runner's version: what each is told, and may do."""

from __future__ import annotations

import json

import botocore.session
import pytest

from ..fleets import READY
from ..templates import (
    Template,
    as_list,
    environment,
    heard_by,
    of_type,
    parts,
    patterns_of,
    policy_of,
    statements_by_role,
)

STARTING = ("dispatch_event", "reconcile_demand")


def test_build_image_knows_its_projects_and_hears_of_their_builds(beside_ready: Template) -> None:
    projects = environment(beside_ready, "build_image")["IMAGE_BUILD_PROJECTS"]
    text = "".join(p if isinstance(p, str) else p["Ref"] for p in projects["Fn::Join"][1])
    named = json.loads(text)
    assert set(named) == {"X86_64", "ARM64"}
    [pattern] = [
        one
        for rule in of_type(beside_ready, "AWS::Events::Rule")
        for one in patterns_of(rule)
        if one["source"] == ["aws.codebuild"]
    ]
    heard = pattern["detail"]["project-name"]
    assert [{"Ref": named["X86_64"]}, {"Ref": named["ARM64"]}] == heard


def test_a_class_for_arm_alone_builds_for_arm_alone(enterprise: Template) -> None:
    [project] = of_type(enterprise, "AWS::CodeBuild::Project")
    assert project["Environment"]["Type"] == "ARM_CONTAINER"
    assert environment(enterprise, "dispatch_event")["ARCHITECTURES"] == '["ARM64"]'
    for task in of_type(enterprise, "AWS::ECS::TaskDefinition"):
        assert task["RuntimePlatform"]["CpuArchitecture"] == "ARM64"


def test_build_image_may_do_what_its_work_takes_and_no_more(minimal: Template) -> None:
    allowed = policy_of(minimal, "BuildImageRole")
    work = {
        "codebuild:StartBuild": "ImageBuilder",
        "codebuild:BatchGetBuilds": "ImageBuilder",
        "ecr:DescribeImages": "ImageRepository",
        "ecr:BatchDeleteImage": "ImageRepository",
        "lambda:InvokeFunction": "DefineTask",
        "dynamodb:GetItem": "RegistryImages",
        "dynamodb:UpdateItem": "RegistryRunners",
        "dynamodb:DeleteItem": "RegistryImages",
        "dynamodb:Scan": "RegistryImages",
    }
    for action, resource in work.items():
        assert any(resource in each for each in allowed[action]), action
    assert any("RegistryLedger" in each for each in allowed["dynamodb:UpdateItem"])
    assert not any("RegistryRunners" in each for each in allowed["dynamodb:Scan"])
    others = {a for a in allowed if not a.startswith(("logs:", "xray:", "sqs:", "states:"))}
    assert others == set(work)


def test_one_function_defines_tasks_and_may_do_nothing_else(
    minimal: Template, organization: Template
) -> None:
    """ECS lets nobody do it to some families alone: who may, reads nothing that others write."""
    defining = {
        role
        for role, statement in statements_by_role(minimal)
        for action in as_list(statement["Action"])
        if action in ("ecs:RegisterTaskDefinition", "ecs:DeregisterTaskDefinition", "iam:PassRole")
    }
    assert defining == {"DefineTask"}
    allowed = policy_of(minimal, "DefineTaskRole")
    assert {action for action in allowed if not action.startswith("logs:")} == {
        "ecs:RegisterTaskDefinition",
        "ecs:TagResource",
        "ecs:DescribeTaskDefinition",
        "ecs:DeregisterTaskDefinition",
        "ecs:ListTaskDefinitions",
        "iam:PassRole",
    }
    callers = {
        role
        for role, statement in statements_by_role(minimal)
        if "lambda:InvokeFunction" in as_list(statement["Action"])
    }
    assert callers == {"BuildImage"}
    [task] = of_type(minimal, "AWS::ECS::TaskDefinition")
    assert environment(minimal, "define_task")["FAMILY_PREFIX"] == task["Family"]
    handlers = {each["Handler"] for each in of_type(organization, "AWS::Lambda::Function")}
    assert "define_task.handler" not in handlers


# --- what a build can be told


SENT = {
    "projectName",
    "environmentVariablesOverride",
    "timeoutInMinutesOverride",
    "idempotencyToken",
}
REFUSED = {
    "buildspecOverride": "codebuild:source.buildspec",
    "sourceLocationOverride": "codebuild:source.location",
    "imageOverride": "codebuild:environment.image",
}
HARMLESS = {
    "serviceRoleOverride": "takes iam:PassRole, which is given for ecs-tasks alone",
    "debugSessionEnabled": "takes ssmmessages in the builder's role, and ssm:StartSession",
    "sourceVersion": "a version of the same object, whose name has its content's sum",
    "sourceTypeOverride": "nothing without a location",
    "sourceAuthOverride": "nothing without a location",
    "secondarySourcesOverride": "no step of the buildspec reads them",
    "secondarySourcesVersionOverride": "no step of the buildspec reads them",
    "gitCloneDepthOverride": "the source is no repository",
    "gitSubmodulesConfigOverride": "the source is no repository",
    "insecureSslOverride": "the source is no repository",
    "reportBuildStatusOverride": "the source is no repository",
    "buildStatusConfigOverride": "the source is no repository",
    "artifactsOverride": "the buildspec has none",
    "secondaryArtifactsOverride": "the buildspec has none",
    "cacheOverride": "the buildspec has none",
    "encryptionKeyOverride": "encrypts artifacts and caches, of which there are none",
    "certificateOverride": "for a source at a server of one's own",
    "registryCredentialOverride": "for an image of one's own",
    "imagePullCredentialsTypeOverride": "for an image of one's own",
    "privilegedModeOverride": "on already",
    "environmentTypeOverride": "costs: another machine for the same build",
    "computeTypeOverride": "costs: another machine for the same build",
    "fleetOverride": "costs: another machine for the same build",
    "hostKernelOverride": "another kernel for the same build",
    "queuedTimeoutInMinutesOverride": "costs nothing: a queued build has no machine",
    "autoRetryLimitOverride": "costs: the same build again, ten times at the most",
    "logsConfigOverride": "takes rights on a bucket or another group in the builder's role",
}


def test_whoever_starts_builds_can_say_what_is_built_and_not_how(minimal: Template) -> None:
    """A new override of CodeBuild's is in one of the three tables, or this fails."""
    shape = botocore.session.get_session().get_service_model("codebuild")
    known = set(shape.operation_model("StartBuild").input_shape.members)
    assert known == SENT | set(REFUSED) | set(HARMLESS)
    [statement] = [
        statement
        for _, statement in statements_by_role(minimal)
        if "codebuild:StartBuild" in as_list(statement["Action"])
    ]
    assert statement["Condition"] == {
        "ForAllValues:StringEquals": {
            "codebuild:environment.environmentVariables.name": [
                "BASE_IMAGE",
                "IMAGE_TAG",
                "RECIPE_DIGEST",
                "RUNNER_SHA256",
                "RUNNER_VERSION",
            ]
        },
        "Null": dict.fromkeys(REFUSED.values(), "true"),
    }
    assert statement["Action"] == "codebuild:StartBuild"


def test_build_image_hears_of_retired_versions_and_of_each_day(minimal: Template) -> None:
    assert heard_by(minimal, "build_image") == [
        "CloudFormation Stack Status Change",
        "CodeBuild Build State Change",
        "rate(1 day)",
        "retired_runner_found",
        "runner_release_taken_over",
        "runner_version_retired",
    ]


def test_watch_release_looks_at_once_where_a_version_may_be_dead(minimal: Template) -> None:
    assert heard_by(minimal, "watch_release") == [
        "CloudFormation Stack Status Change",
        "rate(1 hour)",
        "retired_runner_found",
    ]


def test_the_watch_reads_images_and_writes_the_ledger_alone(minimal: Template) -> None:
    tables = {
        action: resources
        for action, resources in policy_of(minimal, "WatchReleaseRole").items()
        if action.startswith("dynamodb:")
    }
    assert set(tables) == {"dynamodb:Scan", "dynamodb:GetItem", "dynamodb:UpdateItem"}
    [scanned] = tables.pop("dynamodb:Scan")
    assert "RegistryImages" in scanned
    for resources in tables.values():
        assert all("RegistryLedger" in where for where in resources)
    permissions = json.loads(environment(minimal, "watch_release")["GITHUB_PERMISSIONS"])
    assert permissions == {"administration": "read"}


# --- what jobs may choose, and what there is to choose from


def test_jobs_choose_among_dockers_official_images_unless_told_otherwise(
    minimal: Template, everything: Template
) -> None:
    for handler in (*STARTING, "build_image"):
        default = environment(minimal, handler)["ALLOWED_IMAGES"]
        # neither all of a registry that anybody can push to nor what the account keeps for itself
        assert default == '["public.ecr.aws/docker/library/*"]', handler
        assert environment(everything, handler)["ALLOWED_IMAGES"] == '["ghcr.io/octo-org/*"]'
    for handler in STARTING:
        assert environment(everything, handler)["IMAGE_BUILDING"] == "on"


def test_a_built_image_is_not_refused_where_jobs_may_not_choose(enterprise: Template) -> None:
    given = environment(enterprise, "dispatch_event")
    assert given["ALLOWED_IMAGES"] == "[]"
    assert given["IMAGE_BUILDING"] == "on"


def test_a_ready_image_alone_leaves_no_builder(organization: Template) -> None:
    assert of_type(organization, "AWS::CodeBuild::Project") == []
    assert of_type(organization, "AWS::ECR::Repository") == []
    assert environment(organization, "dispatch_event")["IMAGE_BUILDING"] == "off"
    handlers = {each["Handler"] for each in of_type(organization, "AWS::Lambda::Function")}
    assert "build_image.handler" not in handlers
    # its runner grows old as well
    assert environment(organization, "watch_release")["RUNNER_RELEASE"]


def test_jobs_may_choose_beside_a_ready_image(beside_ready: Template) -> None:
    assert len(of_type(beside_ready, "AWS::CodeBuild::Project")) == 2
    assert "recipe" not in parts(environment(beside_ready, "build_image")["IMAGES"])
    assert len(environment(beside_ready, "build_image")["IMAGE_RECIPE"]) == 64
    assert environment(beside_ready, "dispatch_event")["IMAGE_BUILDING"] == "on"
    assert "CloudFormation Stack Status Change" not in heard_by(beside_ready, "build_image")


@pytest.mark.parametrize("handler", STARTING)
def test_those_who_start_runners_know_what_is_in_the_images(
    handler: str, minimal: Template, everything: Template
) -> None:
    [house] = json.loads(environment(everything, handler)["IMAGES"])
    assert house["declared"] == ["shell", "python", "postgres"]
    assert house["detected"] == ["shell", "python", "node", "native"]
    [default] = json.loads(environment(minimal, handler)["IMAGES"])
    assert "declared" not in default
    assert default["detected"] == ["shell"]


@pytest.mark.parametrize("handler", [*STARTING, "build_image"])
def test_images_of_classes_are_known_to_who_starts_and_builds(
    handler: str, enterprise: Template
) -> None:
    told = environment(enterprise, handler)["IMAGES"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else "its-family" for part in told)
    default, node, house = json.loads(text)
    assert (default["name"], default["architectures"]) == ("default", ["ARM64"])
    assert (node["name"], node["architectures"]) == ("node", ["ARM64"])
    assert node["base"] == "public.ecr.aws/docker/library/node:24-bookworm-slim"
    assert node["recipe"] != default["recipe"]
    assert house == {"name": "house", "task_definitions": {"ARM64": "its-family"}}
    [family] = [parts(part) for part in told if not isinstance(part, str)]
    [image] = [
        one["Properties"]["ContainerDefinitions"][0]["Image"]
        for name, one in enterprise["Resources"].items()
        if one["Type"] == "AWS::ECS::TaskDefinition" and f'{{"Ref": "{name}"}}' in family
    ]
    assert image == READY
    [parameter] = of_type(enterprise, "AWS::SSM::Parameter")
    catalog = json.loads(parameter["Value"])
    assert {name: entry.get("image") for name, entry in catalog.items()} == {
        "arm": None,
        "node": "node",
        "house": "house",
    }


def test_images_of_classes_are_built_right_after_a_deployment(enterprise: Template) -> None:
    assert "CloudFormation Stack Status Change" in heard_by(enterprise, "build_image")


def test_tokens_are_let_through(parameters: Template, beside_ready: Template) -> None:
    given = environment(parameters, "build_image")
    images = parts(given["IMAGES"])
    assert all(token in images for token in ('{"Ref": "Base"}', '{"Ref": "Name"}'))
    assert given["MAX_BUILDS"] == {"Ref": "Builds"}
    assert given["MAX_IMAGES_PER_REPOSITORY"] == {"Ref": "Images"}
    assert '{"Ref": "Glob"}' in parts(environment(parameters, "dispatch_event")["ALLOWED_IMAGES"])
    for task in of_type(beside_ready, "AWS::ECS::TaskDefinition"):
        assert task["ContainerDefinitions"][0]["Image"] == {"Ref": "Uri"}


# --- the watch over the runner's version
