"""The alarms: each rings for what the runbook has a section about."""

from __future__ import annotations

import re
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn

from cdk_runner_fleet import FleetAlarms
from cdk_runner_fleet.metrics import IRunnerFleet

from .templates import Template, of_type, template_of

ROOT = Path(__file__).parents[2]


class Known(IRunnerFleet):
    """What alarms have to know of a fleet, without one."""

    def __init__(self, stack: cdk.Stack, *, budget: float | None = None) -> None:
        super().__init__(stack, "Fleet")
        self.fleet_name = "Ci-Runners"
        self.state_machine = sfn.StateMachine.from_state_machine_name(self, "Machine", "machine")
        self.dead_letter_queue = sqs.Queue.from_queue_arn(
            self, "Queue", cdk.Arn.format(cdk.ArnComponents(service="sqs", resource="q"), stack)
        )
        self.daily_budget_usd = budget
        self.github_callers = ["app-11", "app-22"]
        self.function_logs = None
        self.lifecycle_logs = None


def alarms_of(template: Template) -> dict[str, dict[str, object]]:
    return {
        re.search(r"#([\w-]+)$", each["AlarmDescription"])[1]: each  # type: ignore[index]
        for each in of_type(template, "AWS::CloudWatch::Alarm")
    }


def test_a_fleet_has_no_alarm_that_nobody_hears(minimal: Template) -> None:
    assert of_type(minimal, "AWS::CloudWatch::Alarm") == []


def test_each_alarm_names_its_section_of_the_runbook(everything: Template) -> None:
    runbook = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    titles = re.findall(r"^### (.+)$", runbook, re.MULTILINE)
    described = [each["AlarmDescription"] for each in of_type(everything, "AWS::CloudWatch::Alarm")]
    named = [re.search(r"docs/runbook\.md#([\w-]+)$", each) for each in described]
    assert all(named), described
    assert {each[1] for each in named if each} == {
        title.lower().replace(" ", "-") for title in titles
    }


def test_everyone_is_told(everything: Template) -> None:
    alarms = of_type(everything, "AWS::CloudWatch::Alarm")
    assert len(alarms) > 10
    for alarm in alarms:
        assert len(alarm["AlarmActions"]) == 1, alarm["AlarmDescription"]
        assert alarm["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("failed-events", (1, "GreaterThanOrEqualToThreshold", "Maximum", 300)),
        ("scope-not-found", (1, "GreaterThanOrEqualToThreshold", "Sum", 300)),
        ("claims-repeated", (1, "GreaterThanOrEqualToThreshold", "Sum", 300)),
        ("foreign-job", (1, "GreaterThanOrEqualToThreshold", "Sum", 300)),
        ("webhooks-rejected", (10, "GreaterThanOrEqualToThreshold", "Sum", 3600)),
        ("waiting-jobs", (1800, "GreaterThanOrEqualToThreshold", "Maximum", 300)),
        ("runners-failing", (5, "GreaterThanOrEqualToThreshold", "Sum", 900)),
        ("runner-version", (14, "LessThanOrEqualToThreshold", "Minimum", 86400)),
        ("quota", (500, "LessThanOrEqualToThreshold", "Minimum", 300)),
    ],
)
def test_an_alarm_rings_at(section: str, wanted: tuple[object, ...], everything: Template) -> None:
    alarm = alarms_of(everything)[section]
    keys = ("Threshold", "ComparisonOperator", "Statistic", "Period")
    assert tuple(alarm[key] for key in keys) == wanted


def test_what_an_alarm_has_to_know_of_a_fleet_can_be_known_of_another_stacks() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Watch")
    topic = sns.Topic(stack, "Topic")
    alarms = FleetAlarms(
        stack,
        "Alarms",
        fleet=Known(stack, budget=25),
        alarm_actions=[actions.SnsAction(topic)],
        failed_runners=2,
    )
    found = of_type(template_of(stack), "AWS::CloudWatch::Alarm")
    assert len(found) == len(alarms.alarms)
    assert set(alarms.github_quota) == {"app-11", "app-22"}
    [budget] = [each for each in found if "#budget" in each["AlarmDescription"]]
    assert budget["Threshold"] == 25
    assert "spent / 0.8" in str(budget["Metrics"])
    [failing] = [each for each in found if "#runners-failing" in each["AlarmDescription"]]
    assert failing["Threshold"] == 2


def test_no_budget_is_no_alarm(stack: cdk.Stack) -> None:
    assert FleetAlarms(stack, "Alarms", fleet=Known(stack)).budget is None


def test_an_alarm_that_always_rings_is_refused(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match="failed_runners is 0, and an alarm"):
        FleetAlarms(stack, "Alarms", fleet=Known(stack), failed_runners=0)


def test_an_alarm_that_rings_while_no_job_waits_is_refused(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match=r"^longest_wait is 0 seconds, and an alarm that rings"):
        FleetAlarms(stack, "Alarms", fleet=Known(stack), longest_wait=cdk.Duration.seconds(0))
