"""What ``app.py`` deploys: the names that the command line needs are its outputs."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import jsii
import pytest
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns

from cdk_runner_fleet.stack import RunnerFleetStack

from .fleets import READY
from .templates import Template, environment, of_type, template_of

IN_PARIS = cdk.Environment(account="123456789012", region="eu-west-3")
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


def test_the_stack_takes_every_prop_that_stacks_take() -> None:
    own = inspect.signature(RunnerFleetStack.__init__).parameters
    theirs = inspect.signature(cdk.Stack.__init__)
    deprecated = set(
        re.findall(r":param (\w+): \(deprecated\)", inspect.getdoc(cdk.Stack.__init__))
    )
    wanted = {
        name
        for name, parameter in theirs.parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in deprecated
    }
    assert "termination_protection" in wanted
    assert {
        name for name, parameter in own.items() if parameter.kind is parameter.KEYWORD_ONLY
    } == {*wanted, "settings"}
    assert not [name for name, each in own.items() if each.kind is each.VAR_KEYWORD]


@jsii.implements(cdk.IPropertyInjector)
class _ShortLogs:
    """An injector: log groups of the stack keep a day."""

    @property
    def construct_unique_id(self) -> str:
        return logs.LogGroup.PROPERTY_INJECTION_ID

    def inject(self, original_props: Any, *, id: str, scope: Any) -> Any:
        return {**original_props, "retention": logs.RetentionDays.ONE_DAY}


TOPIC_ARN = "arn:aws:sns:eu-west-3:123456789012:deployments"
ASKED_OF_CLOUDFORMATION = {
    "notificationArns": [TOPIC_ARN],
    "stackName": "runners",
    "tags": {"team": "a"},
    "terminationProtection": True,
}


def test_what_the_stack_takes_is_handed_on(tmp_path: Path) -> None:
    app = cdk.App(
        context={"github_repo": "o/r"}, analytics_reporting=False, outdir=str(tmp_path / "out")
    )
    stack = RunnerFleetStack(
        app,
        "Ci",
        analytics_reporting=True,
        cross_region_references=True,
        description="ours",
        env=IN_PARIS,
        notification_arns=[TOPIC_ARN],
        permissions_boundary=cdk.PermissionsBoundary.from_name("boundary"),
        property_injectors=[_ShortLogs()],
        stack_name="runners",
        suppress_template_indentation=True,
        synthesizer=cdk.DefaultStackSynthesizer(qualifier="mine"),
        tags={"team": "a"},
        termination_protection=True,
    )
    far = cdk.Stack(
        app,
        "Far",
        env=cdk.Environment(account=IN_PARIS.account, region="us-east-1"),
        cross_region_references=True,
    )
    # refused unless the stack that asks allows it
    cdk.CfnOutput(stack, "Topic", value=sns.Topic(far, "Topic").topic_arn)
    folder = Path(app.synth().directory)
    deployed = json.loads((folder / "manifest.json").read_text())["artifacts"]["Ci"]
    assert deployed["environment"] == "aws://123456789012/eu-west-3"
    given = {name: deployed["properties"][name] for name in ASKED_OF_CLOUDFORMATION}
    assert given == ASKED_OF_CLOUDFORMATION
    written = (folder / "Ci.template.json").read_text()
    assert "\n" not in written.strip()
    template = json.loads(written)
    assert template["Description"] == "ours"
    assert of_type(template, "AWS::CDK::Metadata")
    roles = {
        logical_id: one["Properties"]
        for logical_id, one in template["Resources"].items()
        # aws-cdk makes one for references across regions once boundaries are settled
        if one["Type"] == "AWS::IAM::Role" and logical_id.startswith("Fleet")
    }
    assert len(roles) > 10
    assert all("boundary" in str(role["PermissionsBoundary"]) for role in roles.values())
    assert {each["RetentionInDays"] for each in of_type(template, "AWS::Logs::LogGroup")} == {1}
    assert "/cdk-bootstrap/mine/version" in str(template["Parameters"])
