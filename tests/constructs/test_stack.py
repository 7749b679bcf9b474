"""What ``app.py`` deploys: the names that the command line needs are its outputs."""

from __future__ import annotations

import re
from pathlib import Path

import aws_cdk as cdk
import pytest

from cdk_runner_fleet.stack import RunnerFleetStack

from .fleets import READY
from .templates import Template, environment, of_type, template_of

CLI = Path(__file__).parents[2] / "cdk_runner_fleet" / "cli"


@pytest.fixture(scope="module")
def deployed() -> Template:
    small = {"cpu": 256, "memory": 512}
    context = {
        "github_enterprise": "acme",
        "runner_image": READY,
        "runner_class_sizes": {"small": small, "arm": {**small, "architecture": "ARM64"}},
        "daily_budget_usd": 2.5,
        "tracing": True,
    }
    app = cdk.App(context=context, analytics_reporting=False)
    return template_of(RunnerFleetStack(app, "RunnerFleet"))


def test_the_stack_names_what_the_command_line_needs(deployed: Template) -> None:
    source = "".join(path.read_text() for path in CLI.glob("*.py"))
    named = set(re.findall(r'output="(\w+)"', source))
    assert {"FailedEventsQueueUrl", "EventArchiveArn", "ExplainJobFunctionName"} <= named
    assert named <= set(deployed["Outputs"])


def test_the_stack_names_the_projects_and_where_images_are(deployed: Template) -> None:
    assert {
        "ImageBuildProjectName",
        "Arm64ImageBuildProjectName",
        "RepositoryUri",
    } <= set(deployed["Outputs"])


def test_a_token_is_a_secret_that_the_stack_names(deployed: Template) -> None:
    assert "GithubTokenSecretArn" in deployed["Outputs"]
    assert len(of_type(deployed, "AWS::SecretsManager::Secret")) == 2


def test_its_settings_reach_the_functions(deployed: Template) -> None:
    given = environment(deployed, "dispatch_event")
    assert (given["TRACING"], given["DAILY_BUDGET_USD"]) == ("on", "2.5")


def test_what_is_not_there_has_no_name() -> None:
    context = {
        "github_org": "o",
        "github_apps": [{"app_id": 11, "private_key_secret": "pem"}],
        "runner_image": READY,
        "image_build_project": False,
    }
    stack = RunnerFleetStack(cdk.App(context=context, analytics_reporting=False), "RunnerFleet")
    assert stack.node.try_find_child("WebhookUrl")
    for name in ("GithubTokenSecretArn", "RepositoryUri", "ImageBuildProjectName"):
        assert stack.node.try_find_child(name) is None


def test_the_stack_takes_what_stacks_take() -> None:
    app = cdk.App(context={"github_repo": "o/r"}, analytics_reporting=False)
    stack = RunnerFleetStack(
        app,
        "Ci",
        stack_name="runners",
        description="ours",
        termination_protection=True,
        permissions_boundary=cdk.PermissionsBoundary.from_name("boundary"),
        synthesizer=cdk.DefaultStackSynthesizer(qualifier="mine"),
    )
    template = template_of(stack)
    assert (stack.stack_name, stack.termination_protection) == ("runners", True)
    assert template["Description"] == "ours"
    roles = of_type(template, "AWS::IAM::Role")
    assert all("boundary" in str(role["PermissionsBoundary"]) for role in roles)
    assert "/cdk-bootstrap/mine/version" in str(template["Parameters"])
