"""cdk-nag's packs find in a fleet what docs/compliance.md says, and what a setting ends it ends."""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import re
import runpy
from pathlib import Path
from types import ModuleType
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_sns as sns

import cdk_runner_fleet
from cdk_runner_fleet import (
    FleetAlarms,
    FleetDashboard,
    FleetLogQueries,
    RunnerFleet,
    RunnerPlatform,
)
from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet.rooms.bus import FleetBus

from . import fleets
from .conftest import made
from .templates import Template, as_list, of_type, template_of
from .test_imported import imported

ROOT = Path(__file__).parents[2]
IN_A_VPC = {
    "VPCDefaultSecurityGroupClosed",
    "VPCFlowLogsEnabled",
    "VPCNoUnrestrictedRouteToIGW",
}
TRACED = {"LambdaTracing", "StepFunctionStateMachineXray"}
KEPT = {"CloudWatchLogGroupEncrypted", "SecretsManagerUsingKMSKey"}
ENDED = {
    "minimal": set(),
    "encrypted": KEPT,
    "organization": IN_A_VPC | {"LambdaInsideVPC"},
    "enterprise": set(),
    "beside_ready": TRACED,
    "parameters": set(),
    # its token and its webhook's secret are not the fleet's
    "everything": IN_A_VPC | TRACED | {"LambdaConcurrency", "SecretsManagerUsingKMSKey"},
}
"""The findings that each fleet's own settings end."""
GRANTED = re.compile(r"IAM5\[(Action::s3:\w+\*|Resource::<(Cache|Results)\w+\.Arn>/\*)\]")
"""What ``everything`` grants to its jobs: whoever grants it acknowledges it."""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = ROOT / "tools" / "draw_compliance.py"
    spec = importlib.util.spec_from_file_location("draw_compliance", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_the_packs_find_and_why_the_rest_is_acknowledged(
    tool: ModuleType,
) -> None:
    page = (ROOT / "docs" / "compliance.md").read_text(encoding="utf-8")
    drawn = tool.drawn_page({name: made(name) for name in fleets.FLEETS})
    assert drawn == page, "python tools/draw_compliance.py"


@pytest.mark.parametrize("name", fleets.FLEETS)
def test_what_a_setting_ends_is_all_that_is_found(name: str, tool: ModuleType) -> None:
    fleet = made(name)
    found = {rule for rule in tool.findings(fleet) if not GRANTED.fullmatch(rule)}
    assert found == tool.ENDED_BY.keys() - ENDED[name]


def test_a_platform_alone_has_nothing_else(tool: ModuleType, stack: cdk.Stack) -> None:
    found = tool.findings(RunnerPlatform(stack, "Platform"))
    assert found.keys() == tool.ENDED_BY.keys() - {
        # nothing of it asks GitHub, knows a secret or can be called
        *("LambdaInsideVPC", "SecretsManagerUsingKMSKey", "LambdaConcurrency")
    }


def test_alarms_that_nobody_hears_are_found(tool: ModuleType, stack: cdk.Stack) -> None:
    fleet = imported(stack)
    silent = FleetAlarms(stack, "Silent", fleet=fleet)
    heard = FleetAlarms(stack, "Heard", fleet=fleet, topic=sns.Topic(stack, "Topic"))
    assert tool.findings(silent).keys() == {"CloudWatchAlarmAction"}
    assert tool.findings(heard) == {}
    assert tool.findings(FleetDashboard(stack, "Dashboard", fleet=fleet)) == {}
    assert tool.findings(FleetLogQueries(stack, "Queries", fleet=fleet)) == {}


def test_each_setting_is_seen_to_end_its_finding() -> None:
    assert set().union(*ENDED.values()) == {
        *IN_A_VPC,
        *TRACED,
        *KEPT,
        "LambdaConcurrency",
        "LambdaInsideVPC",
    }


@pytest.fixture(scope="module")
def hardened() -> RunnerFleet:
    """The fleet of ``examples/hardened``."""
    folder = ROOT / "examples" / "hardened"
    context = json.loads((folder / "cdk.json").read_text(encoding="utf-8"))["context"]
    app = functools.partial(cdk.App, context=context, analytics_reporting=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cdk, "App", app)
        found = runpy.run_path(str(folder / "app.py"))["fleet"]
    assert isinstance(found, RunnerFleet)
    return found


def test_nothing_is_found_with_the_strictest_settings(
    tool: ModuleType, hardened: RunnerFleet
) -> None:
    assert tool.findings(hardened.node.root) == {}


def test_its_alarms_are_heard_all_the_same(hardened: RunnerFleet) -> None:
    """A topic that has a policy lets nobody in by itself, and its key neither."""
    template = template_of(cdk.Stack.of(hardened))
    [topic] = of_type(template, "AWS::SNS::TopicPolicy")
    [key] = of_type(template, "AWS::KMS::Key")
    for document, action in (
        (topic["PolicyDocument"], "sns:Publish"),
        (key["KeyPolicy"], "kms:GenerateDataKey*"),
    ):
        assert [
            each
            for each in document["Statement"]
            if each["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
            and each["Effect"] == "Allow"
            and action in as_list(each["Action"])
        ]


def test_a_finding_without_words_is_an_error(tool: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"findings and words differ: .*'LambdaTracing'"):
        list(tool._findings({"Another": {"AwsSolutions": ["Test"]}}))


def test_another_statement_on_everything_is_an_error(tool: ModuleType, minimal: Template) -> None:
    changed = copy.deepcopy(minimal)
    role = next(
        each["Properties"]
        for each in changed["Resources"].values()
        if each["Type"] == "AWS::IAM::Role" and "Policies" in each["Properties"]
    )
    statement: dict[str, Any] = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
    role["Policies"][0]["PolicyDocument"]["Statement"].append(statement)
    with pytest.raises(ValueError, match=r"actions and words differ: .*'s3:PutObject'"):
        list(tool._on_everything(iter([changed])))


def test_an_app_that_checks_itself_finds_the_same(tool: ModuleType, tmp_path: Path) -> None:
    app = cdk.App(analytics_reporting=False, outdir=str(tmp_path))
    # account and region are known, so that ARNs have them and no tokens
    located = cdk.Environment(account="123456789012", region="eu-west-3")
    fleet = fleets.minimal(cdk.Stack(app, "Located", env=located))
    cdk.Validations.of(app).add_plugins(*(checks() for _, checks in tool.PACKS.values()))
    with pytest.raises(RuntimeError, match=r"(?s)^ValidationFailed: .*LambdaInsideVPC.*report"):
        app.synth()
    report = json.loads((tmp_path / "validation-report.json").read_text(encoding="utf-8"))
    found = {
        violation["ruleName"]
        for plugin in report["pluginReports"]
        for violation in plugin["violations"]
    }
    assert found == {
        f"{pack}-{rule}" for rule, packs in tool.findings(fleet).items() for pack in packs
    }


def test_cdk_nag_would_fail_on_what_is_not_acknowledged() -> None:
    app = cdk.App(analytics_reporting=False)
    stack = cdk.Stack(app, "Test")
    FleetBus(stack, "Bus", at_rest=DataAtRest(stack))
    cdk.aws_sqs.Queue(stack, "Plain")
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()


def test_the_evidence_of_each_acknowledgement_exists() -> None:
    package = Path(cdk_runner_fleet.__file__).parent
    named = {
        name
        for path in (*package.glob("*.py"), *package.glob("rooms/*.py"))
        for name in re.findall(r"tests/[\w/]+\.py", path.read_text(encoding="utf-8"))
    }
    assert "tests/constructs/test_compliance.py" in named
    assert {name for name in named if not (package.parent / name).is_file()} == set()
