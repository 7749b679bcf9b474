"""What each public construct deploys: with the least and the most that can be set.

The flags that ``cdk init`` gives to new apps change nothing of it but how statements of policies
are put together: what roles may is the same.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from syrupy.assertion import SnapshotAssertion

from cdk_runner_fleet import (
    FleetAlarms,
    FleetDashboard,
    FleetLogQueries,
    FunctionOptions,
    ImageBuilds,
    IRunnerFleet,
    LifecycleTimeouts,
    RunnerClass,
    RunnerFleetStack,
    RunnerImage,
    RunnerLimits,
    RunnerPlatform,
)
from cdk_runner_fleet.context import FleetSettings

from . import fleets
from .conftest import made
from .templates import Template, as_list, normalise, recommended_flags, template_of
from .test_imported import imported

SMALL = {"cpu": 256, "memory": 512}
TOPIC_ARN = "arn:aws:sns:eu-west-3:123456789012:ops"
LAYER_ARN = "arn:aws:lambda:eu-west-3:123456789012:layer:powertools:3"
CONTEXT = {
    "github_org": "octo-org",
    "github_apps": [{"app_id": 11, "kms_key_arn": fleets.KEY_ARN, "installation_id": 7}],
    "github_api_url": "https://ghes.example.com/api/v3",
    "github_ca": "/github/ca",
    "runner_group": "builders",
    "image_runner_group": "images",
    "required_labels": ["octo-prod"],
    "single_labels": {"dependabot": "small"},
    "explain_at_github": False,
    "webhook_allowed_cidrs": ["192.30.252.0/22"],
    "reserved_concurrency": 50,
    "subnet_ids": ["subnet-1", "subnet-2"],
    "security_groups": ["sg-1"],
    "assign_public_ip": False,
    "runner_image_tag": "house",
    "runner_image_variant": "full",
    "runner_image_capabilities": ["postgres"],
    "apt_packages": ["libpq-dev"],
    "pip_packages": ["awscli>=1,<2"],
    "image_soci": True,
    "allowed_images": ["ghcr.io/octo-org/*"],
    "max_image_builds": 3,
    "max_images_per_repository": 8,
    "runner_class_sizes": {"small": SMALL, "arm": {**SMALL, "architecture": "ARM64"}},
    "runner_name_prefix": "octo",
    "encryption_key_arn": fleets.KEY_ARN,
    "log_retention_days": 365,
    "reconcile_minutes": 5,
    "reconcile_grace_seconds": 30,
    "rerun_lost_jobs": True,
    "max_runners": 50,
    "max_runners_per_repository": 10,
    "daily_budget_usd": 25.5,
    "tracing": True,
    "powertools_layer_arn": LAYER_ARN,
    "alarm_topic_arn": TOPIC_ARN,
    "dashboard": True,
    "runner_ttl_seconds": 3600,
    "boot_timeout_seconds": 120,
    "idle_timeout_seconds": 180,
    "image_build_timeout_seconds": 1200,
}
INSTEAD = {
    *("github_repo", "github_enterprise", "register_for", "availability_zones"),
    *("runner_image", "image_build_project", "webhook_only_from_github"),
}
"""Keys that do not go with others of the most."""


def _platform_settings(stack: cdk.Stack) -> dict[str, Any]:
    key = kms.Key.from_key_arn(stack, "Key", fleets.KEY_ARN)
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-0a1b2c3d",
        availability_zones=["a", "b"],
        private_subnet_ids=["subnet-8", "subnet-9"],
    )
    return {
        "classes": {
            "spot": RunnerClass(cpu=256, memory=512, capacity=["FARGATE_SPOT", "FARGATE"]),
            "arm": RunnerClass(cpu=256, memory=512, architecture="ARM64", ephemeral_storage=100),
        },
        "image": RunnerImage.built(variant="full", name="house", soci=True),
        "images": ImageBuilds(
            allowed_bases=["ghcr.io/octo-org/*"],
            repository=ecr.Repository.from_repository_name(stack, "Ours", "ours/runners"),
            max_concurrent_builds=3,
        ),
        "cluster": ecs.Cluster.from_cluster_attributes(
            stack, "Shared", cluster_name="shared", vpc=vpc
        ),
        "execution_role": iam.Role.from_role_name(stack, "Execution", "execution"),
        "event_bus": events.EventBus.from_event_bus_name(stack, "Bus", "shared"),
        "vpc": vpc,
        "vpc_subnets": ec2.SubnetSelection(one_per_az=True),
        "security_groups": [ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-1")],
        "assign_public_ip": False,
        "encryption_key": key,
        "log_retention": logs.RetentionDays.ONE_YEAR,
        "limits": RunnerLimits(max_runners=50, daily_budget_usd=25.5),
        "timeouts": LifecycleTimeouts(boot=cdk.Duration.minutes(2), job=cdk.Duration.hours(1)),
        "functions": FunctionOptions(tracing=lambda_.Tracing.ACTIVE, vpc=vpc),
        "reserved_concurrency": 50,
    }


def _watched(stack: cdk.Stack) -> IRunnerFleet:
    return imported(stack, daily_budget_usd=20, github_callers=["app-1", "app-2"])


def _all_alarms(stack: cdk.Stack) -> None:
    FleetAlarms(
        stack,
        "Alarms",
        fleet=_watched(stack),
        topic=sns.Topic.from_topic_arn(stack, "Topic", TOPIC_ARN),
        alarm_actions=[actions.SsmAction(actions.OpsItemSeverity.HIGH)],
        longest_wait=cdk.Duration.minutes(10),
        failed_runners=2,
    )


def _whole_dashboard(stack: cdk.Stack) -> None:
    fleet = _watched(stack)
    alarms = FleetAlarms(stack, "Alarms", fleet=fleet)
    FleetDashboard(stack, "Dashboard", fleet=fleet, dashboard_name="Runners", alarms=alarms)


MADE: Mapping[str, Callable[[cdk.Stack], object]] = {
    "minimal": fleets.minimal,
    "everything": fleets.everything,
    "platform_least": lambda stack: RunnerPlatform(stack, "Platform"),
    "platform_most": lambda stack: RunnerPlatform(stack, "Platform", **_platform_settings(stack)),
    "alarms_least": lambda stack: FleetAlarms(stack, "Alarms", fleet=imported(stack)),
    "alarms_most": _all_alarms,
    "dashboard_least": lambda stack: FleetDashboard(stack, "Dashboard", fleet=imported(stack)),
    "dashboard_most": _whole_dashboard,
    # they take a fleet, and nothing else
    "log_queries": lambda stack: FleetLogQueries(stack, "Queries", fleet=imported(stack)),
}
STACKS: Mapping[str, Mapping[str, Any]] = {
    "stack_least": {"github_repo": "octo-org/octo-repo"},
    "stack_most": CONTEXT,
}
PARTS = {"platform_least", "platform_most", "stack_most"}
SMALL_PARTS = [name for name in MADE if name not in PARTS | {"minimal", "everything"}]


@functools.cache
def deployed(name: str, *, flags: bool = False) -> Template:
    if name in fleets.FLEETS and not flags:
        return normalised(cdk.Stack.of(made(name)))
    context = {**(recommended_flags() if flags else {}), **STACKS.get(name, {})}
    app = cdk.App(analytics_reporting=False, context=context)
    if name in STACKS:
        return normalised(RunnerFleetStack(app, "Test"))
    stack = cdk.Stack(app, "Test")
    MADE[name](stack)
    return normalised(stack)


def normalised(stack: cdk.Stack) -> Template:
    template: Template = normalise(template_of(stack))
    return template


def without_machine(template: Template) -> tuple[Template, Any]:
    """A template, and beside it the definition of its state machine."""
    [(logical_id, machine)] = [
        (logical_id, each)
        for logical_id, each in template["Resources"].items()
        if each["Type"] == "AWS::StepFunctions::StateMachine"
    ]
    properties = dict(machine["Properties"])
    definition = properties.pop("DefinitionString")
    resources = template["Resources"] | {logical_id: machine | {"Properties": properties}}
    return template | {"Resources": resources}, definition


def test_minimal(minimal: Template, template_snapshot: SnapshotAssertion) -> None:
    assert normalise(minimal) == template_snapshot


def test_everything(everything: Template, template_snapshot: SnapshotAssertion) -> None:
    assert normalise(everything) == template_snapshot


@pytest.mark.parametrize("name", sorted(PARTS))
def test_others(name: str, minimal: Template, template_snapshot: SnapshotAssertion) -> None:
    _, same = without_machine(normalise(minimal))
    template, machine = without_machine(deployed(name))
    assert machine == same, "its definition stands in that of the minimal fleet"
    assert template == template_snapshot


@pytest.mark.parametrize("name", SMALL_PARTS)
def test_what_is_made_for_a_fleet(name: str, template_snapshot: SnapshotAssertion) -> None:
    assert deployed(name) == template_snapshot


def test_a_stack_is_a_fleet_with_outputs(
    minimal: Template, template_snapshot: SnapshotAssertion
) -> None:
    stack = deployed("stack_least")
    assert stack["Resources"] == normalise(minimal["Resources"])
    assert {key: part for key, part in stack.items() if key != "Resources"} == template_snapshot


@pytest.mark.parametrize("name", [*MADE, *STACKS])
def test_flags_of_new_apps_change_nothing_of_it(name: str) -> None:
    plain, flagged = (ours(deployed(name, flags=flags)) for flags in (False, True))
    has_roles = any(each["Type"] == "AWS::IAM::Role" for each in plain["Resources"].values())
    assert (plain != flagged) == has_roles, "statements are put together, by a flag of these"
    assert single_statements(flagged) == single_statements(plain)


def ours(template: Template) -> Template:
    """A template without the VPC that ``everything`` makes for its fleet."""
    resources = {
        logical_id: each
        for logical_id, each in template["Resources"].items()
        if not logical_id.startswith(("Vpc", "CustomVpc"))
    }
    return template | {"Resources": resources}


def single_statements(value: Any) -> Any:
    """``value`` with one statement in its policies for each thing that may be done."""
    if isinstance(value, list):
        return [single_statements(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: sorted({single for each in part for single in _singles(each)})
        if key == "Statement"
        else single_statements(part)
        for key, part in value.items()
    }


def _singles(statement: Mapping[str, Any]) -> Iterator[str]:
    principals: Any = statement.get("Principal", [None])
    if isinstance(principals, dict):
        principals = [{kind: one} for kind, given in principals.items() for one in as_list(given)]
    for action, resource, principal in itertools.product(
        as_list(statement["Action"]), as_list(statement.get("Resource")), as_list(principals)
    ):
        each = {"Action": action, "Resource": resource, "Principal": principal}
        yield json.dumps({**statement, **each}, sort_keys=True)


def test_the_most_of_a_platform_is_all_that_it_takes_but_github(stack: cdk.Stack) -> None:
    takes = set(inspect.signature(RunnerPlatform.__init__).parameters)
    assert set(_platform_settings(stack)) == takes - {"self", "scope", "construct_id", "github"}


def test_the_most_of_a_stack_is_all_of_its_context() -> None:
    assert CONTEXT.keys() | INSTEAD == {field.name for field in fields(FleetSettings)}
    assert not CONTEXT.keys() & INSTEAD


def test_flags_of_another_kind_would_be_seen() -> None:
    """Two statements that become one are the same; one that may more is not."""
    may = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "a"},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "b"},
    ]
    merged = [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["b", "a"]}]
    more = [{"Effect": "Allow", "Action": "s3:*", "Resource": ["a", "b"]}]
    one, same, other = (single_statements({"Statement": each}) for each in (may, merged, more))
    assert one == same
    assert one != other
