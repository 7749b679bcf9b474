"""Who may do what: no wildcard without its reason, and cdk-nag agrees."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest

from cdk_runner_fleet import RunnerClass, RunnerFleet, RunnerImage
from cdk_runner_fleet.stack import RunnerFleetStack

# Actions without a resource level, by the Service Authorization Reference.
WITHOUT_RESOURCE_LEVEL = {
    "ecr:GetAuthorizationToken",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}


def statements(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        statement
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::IAM::Policy"
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]
    ]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_a_bare_wildcard_only_where_there_is_no_resource_level(
    minimal: dict[str, Any], everything: dict[str, Any]
) -> None:
    bare = [
        action
        for template in (minimal, everything)
        for statement in statements(template)
        if statement["Effect"] == "Allow" and "*" in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
    ]
    assert bare
    assert set(bare) <= WITHOUT_RESOURCE_LEVEL


def test_no_managed_policy(minimal: dict[str, Any]) -> None:
    roles = [r for r in minimal["Resources"].values() if r["Type"] == "AWS::IAM::Role"]
    assert roles
    assert [r for r in roles if "ManagedPolicyArns" in r["Properties"]] == []


def test_the_github_token_is_read_by_those_who_ask_github_alone(minimal: dict[str, Any]) -> None:
    [token] = [n for n, r in minimal["Resources"].items() if n.startswith("FleetGithubToken")]
    readers = [s for s in statements(minimal) if {"Ref": token} in as_list(s["Resource"])]
    # runner_api, deregister_runner, check_runner, explain_job, reconcile_demand, watch_release
    assert len(readers) == 6


def _make_minimal(app: cdk.App) -> None:
    RunnerFleetStack(app, "RunnerFleet")


def _make_located(app: cdk.App) -> None:
    env = cdk.Environment(account="123456789012", region="eu-west-3")
    RunnerFleetStack(app, "RunnerFleet", env=env)


def _make_ready_image(app: cdk.App) -> None:
    stack = cdk.Stack(app, "S")
    RunnerFleet(
        stack,
        "Fleet",
        github_repo="o/r",
        runner_image=RunnerImage(
            stack, "Image", image_uri="public.ecr.aws/me/runner:1", jobs_may_choose=False
        ),
    )


def _make_two_architectures(app: cdk.App) -> None:
    stack = cdk.Stack(app, "S")
    RunnerFleet(
        stack,
        "Fleet",
        github_repo="o/r",
        runner_image=RunnerImage(stack, "Image", capabilities=["python"]),
        runner_classes={
            "x64": RunnerClass(cpu=256, memory=512),
            "arm": RunnerClass(cpu=256, memory=512, architecture="ARM64"),
        },
    )


@pytest.mark.parametrize(
    "make", [_make_minimal, _make_located, _make_ready_image, _make_two_architectures]
)
def test_cdk_nag_aws_solutions_passes(make: Any) -> None:
    app = cdk.App(context={"github_repo": "o/r"}, analytics_reporting=False)
    make(app)
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
    app.synth()


def test_cdk_nag_would_fail_on_what_is_not_acknowledged() -> None:
    app = cdk.App(context={"github_repo": "o/r"}, analytics_reporting=False)
    stack = RunnerFleetStack(app, "RunnerFleet")
    cdk.aws_sqs.Queue(stack, "Plain")
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
    with pytest.raises(Exception, match="ValidationFailed"):
        app.synth()
