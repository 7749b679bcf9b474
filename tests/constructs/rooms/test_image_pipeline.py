"""Where images come from: what is built and kept of which values, and who may touch it."""

from __future__ import annotations

import json

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_s3_assets as s3_assets

from cdk_runner_fleet import ImageBuilds, RunnerClass, RunnerFleet, RunnerImage
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet.rooms.image_pipeline import ImagePipeline
from cdk_runner_fleet.values.fleet_images import FleetImages

from ..fleets import OWN_IMAGE, READY
from ..templates import Template, as_list, environment, of_type, parts, policy_of, template_of


def pipeline(
    stack: cdk.Stack,
    image: RunnerImage | None = None,
    builds: ImageBuilds | None = None,
    *,
    of_class: RunnerImage | None = None,
    construct_id: str = "Image",
) -> ImagePipeline:
    classes = {"small": RunnerClass(cpu=512, memory=1024, image=of_class)}
    return ImagePipeline(
        stack,
        construct_id,
        images=FleetImages.of(image or RunnerImage.built(), classes),
        builds=builds or ImageBuilds(),
        architectures=["X86_64"],
        at_rest=DataAtRest(stack),
    )


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
    [pulled] = policy_of(everything, "ExecutionRole")["ecr:BatchGetImage"]
    assert "repository/ours/runners" in pulled


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
        # the repository is somebody else's, so the tags are to be this fleet's own
        stack_id, address = given["IMAGES_OF"]["Fn::Join"][1]
        assert stack_id == {"Ref": "AWS::StackId"}
        assert len(address) > 8
        assert given["RUNNER_REPOSITORY_URL"]
    settings = environment(everything, "build_image")
    [image] = json.loads(settings["IMAGES"])
    assert settings["IMAGE_RECIPE"] == image["recipe"]
    assert len(image["recipe"]) == 64
    assert settings["MAX_BUILDS"] == "3"
    assert settings["MAX_IMAGES_PER_REPOSITORY"] == "8"


def test_tags_in_a_repository_of_its_own_are_made_of_content_alone(minimal: Template) -> None:
    [project] = of_type(minimal, "AWS::CodeBuild::Project")
    given = {v["Name"]: v["Value"] for v in project["Environment"]["EnvironmentVariables"]}
    assert set(given) == {"RUNNER_REPOSITORY_URL", "ARCHITECTURE"}


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
    [own] = [actions for where, actions in seen.items() if "FleetPlatformImageRepository" in where]
    assert own == pushing | pulling | {"ecr:DescribeImages"}
    assert seen['"*"'] == {"ecr:GetAuthorizationToken"}
    # whoever may name a base reads what builds may pull
    assert len(seen) == 2


def test_builds_may_pull_from_other_accounts_and_regions_that_are_named(stack: cdk.Stack) -> None:
    base = "210987654321.dkr.ecr.eu-north-1.amazonaws.com/house/debian:13"
    builds = ImageBuilds(
        allowed_bases=[
            "210987654321.dkr.ecr.eu-north-1.amazonaws.com/team/*:*",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/python:3.*",
            "210987654321.dkr.ecr.eu-*.amazonaws.com/all/*",
            f"{cdk.Aws.ACCOUNT_ID}.dkr.ecr.us-west-2.amazonaws.com/own/python:3.*",
            "ghcr.io/octo-org/*",
        ],
    )
    pipeline(stack, RunnerImage.built(base=base), builds)
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
    pipeline(stack, RunnerImage.built(base=base), ImageBuilds(allowed_bases=["ghcr.io/o/*"]))
    known = [f"{cdk.Aws.ACCOUNT_ID}.dkr.ecr.a.amazonaws.com/b:1"]
    pipeline(stack, builds=ImageBuilds(allowed_bases=known), construct_id="Known")
    unknown = assertions.Match.string_like_regexp("unknownBase")
    found = assertions.Annotations.from_stack(stack).find_warning("*", unknown)
    assert [warning.id for warning in found] == ["/Test/Image"]


def test_builds_may_be_let_into_what_a_dockerfile_takes_besides_its_base(stack: cdk.Stack) -> None:
    tools = ecr.Repository.from_repository_name(stack, "Tools", "house/tools")
    images = pipeline(stack, RunnerImage.built(dockerfile_directory=OWN_IMAGE))
    for project in images.projects.values():
        tools.grant_pull(project)
    allowed = policy_of(template_of(stack), "ImageBuilderRole")
    assert [each for each in allowed["ecr:BatchGetImage"] if "repository/house/tools" in each]


def test_builds_may_push_to_another_accounts_repository(stack: cdk.Stack) -> None:
    arn = "arn:aws:ecr:eu-west-1:999999999999:repository/my/runners"
    theirs = ecr.Repository.from_repository_arn(stack, "Theirs", arn)
    pipeline(stack, builds=ImageBuilds(repository=theirs))
    allowed = policy_of(template_of(stack), "ImageBuilderRole")
    assert f'"{arn}"' in allowed["ecr:PutImage"]
    assert f'"{arn}"' in allowed["ecr:DescribeImages"]


def test_builds_are_handed_what_was_staged(minimal_fleet: RunnerFleet, minimal: Template) -> None:
    asset = minimal_fleet.platform.image_pipeline.node.find_child("Recipe")
    assert isinstance(asset, s3_assets.Asset)
    [project] = of_type(minimal, "AWS::CodeBuild::Project")
    assert project["Source"]["Type"] == "S3"
    assert asset.asset_hash in parts(project["Source"]["Location"])


# --- what stays when the image is another one

KEPT = {"AWS::ECR::Repository", "AWS::Logs::LogGroup", "AWS::CodeBuild::Project"}


def kept(
    image: RunnerImage | None,
    builds: ImageBuilds | None = None,
    *,
    of_class: RunnerImage | None = None,
) -> dict[str, str]:
    """What has images, their builds or their logs: each one's kind by its logical id."""
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test")
    pipeline(stack, image, builds, of_class=of_class)
    resources = template_of(stack).get("Resources", {})
    return {name: one["Type"] for name, one in resources.items() if one["Type"] in KEPT}


@pytest.mark.parametrize(
    ("image", "builds"),
    [
        (RunnerImage.built(), None),
        (RunnerImage.built(variant="full", name="house", soci=True), None),
        (RunnerImage.built(base="ghcr.io/o/b:1", dockerfile_directory=OWN_IMAGE), None),
        (RunnerImage.ready(READY), None),
        (RunnerImage.built(), ImageBuilds(allowed_bases=(), max_concurrent_builds=1)),
    ],
    ids=["named", "other", "dockerfile", "ready", "no choice"],
)
def test_another_image_replaces_nothing_that_holds_images_or_logs(
    image: RunnerImage, builds: ImageBuilds | None
) -> None:
    before = kept(None)
    assert set(before.values()) == KEPT
    assert kept(image, builds) == before


def test_a_repository_of_ones_own_replaces_none_but_the_fleets(stack: cdk.Stack) -> None:
    ours = ecr.Repository.from_repository_name(stack, "Ours", "ours")
    gone = kept(None).items() - kept(None, ImageBuilds(repository=ours)).items()
    assert [kind for _, kind in gone] == ["AWS::ECR::Repository"]


def test_where_nothing_is_built_there_is_nothing() -> None:
    assert kept(RunnerImage.ready(READY), ImageBuilds(allowed_bases=())) == {}


def test_a_repository_for_nothing_is_refused(stack: cdk.Stack) -> None:
    ours = ecr.Repository.from_repository_name(stack, "Ours", "ours")
    with pytest.raises(ValueError, match="images has a repository, and nothing is built: leave it"):
        pipeline(
            stack,
            RunnerImage.ready(READY),
            ImageBuilds(allowed_bases=(), repository=ours),
        )


def test_a_repository_that_no_build_of_this_partition_reaches_is_refused() -> None:
    env = cdk.Environment(account="111111111111", region="us-gov-west-1")
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=env)
    arn = "arn:aws:ecr:eu-west-1:999999999999:repository/my/runners"
    theirs = ecr.Repository.from_repository_arn(stack, "Theirs", arn)
    with pytest.raises(ValueError, match=r"is in eu-west-1, .* give one of aws-us-gov$"):
        pipeline(stack, builds=ImageBuilds(repository=theirs))


def test_two_fleets_take_the_same_image(stack: cdk.Stack) -> None:
    image = RunnerImage.built(variant="python")
    one, other = (pipeline(stack, image, construct_id=name) for name in ("One", "Other"))
    assert one.recipes == other.recipes
    assert one.repository != other.repository


# --- images of classes


@pytest.mark.parametrize("image", [RunnerImage.built(variant="node"), RunnerImage.ready(READY)])
def test_an_image_of_a_class_replaces_nothing_either(image: RunnerImage) -> None:
    assert kept(None, of_class=image) == kept(None)


def test_builds_beside_ready_images_are_for_classes_too() -> None:
    none = ImageBuilds(allowed_bases=())
    built = kept(RunnerImage.ready(READY), none, of_class=RunnerImage.built())
    assert built == kept(None)


def test_the_recipe_of_what_jobs_choose_is_the_default_images(stack: cdk.Stack) -> None:
    node, house = RunnerImage.built(variant="node"), RunnerImage.ready(READY)
    images = pipeline(stack, of_class=node)
    assert images.recipes.keys() == {"default", "small"}
    assert images.recipe_of_choices == images.recipes["default"] != images.recipes["small"]
    plain = pipeline(stack, house, of_class=node, construct_id="Plain")
    # with nothing added beside a ready image, whatever a class adds to its own
    assert plain.recipes == {"small": images.recipes["small"]}
    assert plain.recipe_of_choices == images.recipes["default"]
    none = pipeline(stack, house, ImageBuilds(allowed_bases=()), of_class=node, construct_id="None")
    assert none.recipe_of_choices == ""


def test_builds_may_pull_the_bases_of_classes(stack: cdk.Stack) -> None:
    base = "210987654321.dkr.ecr.eu-north-1.amazonaws.com/house/debian:13"
    pipeline(stack, of_class=RunnerImage.built(base=base))
    allowed = policy_of(template_of(stack), "ImageBuilderRole")
    assert any(
        "210987654321:repository/house/debian" in one for one in allowed["ecr:BatchGetImage"]
    )
