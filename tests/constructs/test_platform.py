"""What runners run on, under a fleet and by itself."""

from __future__ import annotations

import importlib
import inspect
import json
import re

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3

from cdk_runner_fleet import GitHub, RunnerClass, RunnerFleet, RunnerLimits, RunnerPlatform, _assets
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet._name import fleet_name
from fleet_runtime import environment as settings

from .templates import Template, environment, heard_by, of_type, parts, policy_of, template_of


@pytest.fixture(scope="module")
def platform() -> RunnerPlatform:
    return RunnerPlatform(cdk.Stack(cdk.App(analytics_reporting=False), "Test"), "Platform")


@pytest.fixture(scope="module")
def alone(platform: RunnerPlatform) -> Template:
    return template_of(cdk.Stack.of(platform))


def handlers(template: Template) -> set[str]:
    return {
        each["Handler"].removesuffix(".handler")
        for each in of_type(template, "AWS::Lambda::Function")
        if each["Description"].startswith("cdk-runner-fleet: ")
    }


def test_alone_it_knows_nothing_of_github(alone: Template) -> None:
    assert handlers(alone) == {"build_image", "define_task", "check_runner", "deregister_runner"}
    assert of_type(alone, "AWS::SecretsManager::Secret") == []
    assert of_type(alone, "AWS::ApiGatewayV2::Route") == []
    for handler in handlers(alone):
        given = environment(alone, handler)
        assert not [name for name in given if name.startswith("GITHUB")], handler


def test_every_placeholder_of_the_machine_is_filled_without_github(alone: Template) -> None:
    [machine] = of_type(alone, "AWS::StepFunctions::StateMachine")
    wanted = set(re.findall(r"\$\{(\w+)\}", _assets.STATE_MACHINE.read_text(encoding="utf-8")))
    filled = machine["DefinitionSubstitutions"]
    assert set(filled) == wanted
    assert all(filled.values())
    for name in ("CheckRunner", "DeregisterRunner", "BuildImage"):
        assert f"{name}" in parts(filled[f"{name}FunctionArn"])


@pytest.mark.parametrize("handler", ["build_image", "check_runner", "deregister_runner"])
def test_its_functions_read_what_they_are_given_without_github(
    handler: str, alone: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(alone, handler).items():
        monkeypatch.setenv(name, value if isinstance(value, str) else "x")
    # lists of what is known at deployment are no JSON here
    monkeypatch.setenv("IMAGE_BUILD_PROJECTS", "{}")
    read = settings.read(importlib.import_module(handler).Settings)
    assert getattr(read, "connection", None) is None


def test_alone_its_runners_are_nobodys_to_share(platform: RunnerPlatform) -> None:
    assert platform.limits.max_runners_per_repository is None
    assert platform.github_callers == ()


def test_images_are_built_with_the_librarys_runner_where_nobody_asks_github(
    alone: Template, minimal: Template
) -> None:
    release = environment(minimal, "build_image")["RUNNER_RELEASE"]
    assert environment(alone, "build_image")["RUNNER_RELEASE"] == release
    assert "CloudFormation Stack Status Change" in heard_by(alone, "build_image")


def test_a_fleet_is_one_with_its_platform(minimal_fleet: RunnerFleet, minimal: Template) -> None:
    platform = minimal_fleet.platform
    assert platform.node.scope is minimal_fleet
    assert platform.fleet_name == minimal_fleet.fleet_name == fleet_name(platform.cluster)
    names = {environment(minimal, handler)["FLEET_NAME"] for handler in handlers(minimal)}
    assert names == {minimal_fleet.fleet_name}
    assert platform.vpc is minimal_fleet.vpc
    assert platform.metric_runners_failed().dimensions == (
        minimal_fleet.metric_runners_failed().dimensions
    )


def test_alone_it_has_a_name_of_its_own(platform: RunnerPlatform, alone: Template) -> None:
    [definition] = of_type(alone, "AWS::ECS::TaskDefinition")
    assert {"Key": "runner-fleet:fleet", "Value": platform.fleet_name} in definition["Tags"]
    stack = cdk.Stack.of(platform)
    assert platform.fleet_name != RunnerPlatform(stack, "Other").fleet_name


def test_with_github_runners_are_registered_and_limits_shared(stack: cdk.Stack) -> None:
    platform = RunnerPlatform(
        stack, "P", github=GitHub.organization("o"), limits=RunnerLimits(max_runners=10)
    )
    assert platform.limits.max_runners_per_repository == 5
    assert platform.registration.runner_api is not None
    assert platform.images.watch_release is not None
    with pytest.raises(ValueError, match=r"'dependabot' the class 'huge', which is none of"):
        RunnerPlatform(
            stack, "Q", github=GitHub.repository("o/r", single_labels={"dependabot": "huge"})
        )


def test_who_starts_runners_is_given_all_that_it_takes() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test")
    platform = RunnerPlatform(
        stack, "P", classes={"one": RunnerClass(cpu=256, memory=512)}, assign_public_ip=True
    )
    function = FleetFunction(
        stack,
        "Start",
        handler="dispatch_event",
        environment=platform.admission.environment,
        options=platform.functions,
        at_rest=platform.at_rest,
    )
    platform.admission.grant_start(function)
    s3.Bucket(stack, "Bucket").grant_read(platform)
    template = template_of(stack)
    allowed = policy_of(template, "StartRole")
    assert {"states:StartExecution", "dynamodb:PutItem", "events:PutEvents"} <= set(allowed)
    given = environment(template, "dispatch_event")
    assert given["MAX_RUNNERS"] == "100"
    assert {"RUNNER_TABLE", "LEDGER_TABLE", "STATE_MACHINE_ARN", "TASK_FAMILY"} <= set(given)


def test_a_fleet_takes_what_its_platform_takes_and_what_is_githubs() -> None:
    own, under = (
        set(inspect.signature(kind.__init__).parameters) for kind in (RunnerFleet, RunnerPlatform)
    )
    assert own - under == {"webhook", "reconciliation", "runner_name_prefix"}
    assert under - own == {"reserved_concurrency"}


def test_what_all_runners_may_is_shared_with_a_class_that_had_its_role_before(
    stack: cdk.Stack,
) -> None:
    platform = RunnerPlatform(stack, "Platform", classes={"a": RunnerClass(cpu=256, memory=512)})
    bucket = s3.Bucket(stack, "Bucket")
    bucket.grant_read(platform.runner_class("a"))
    bucket.grant_put(platform)
    template = template_of(stack)
    [rights] = [
        each
        for each in of_type(template, "AWS::IAM::Policy")
        if "s3:PutObject" in json.dumps(each["PolicyDocument"])
    ]
    assert len(rights["Roles"]) == 2
