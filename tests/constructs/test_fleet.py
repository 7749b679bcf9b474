"""What the fleet promises, whatever room keeps it."""

from __future__ import annotations

import inspect

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import RunnerFleet
from cdk_runner_fleet._name import fleet_name

from .templates import Template, of_type, template_of

OWN = {
    "jobs_refused": "JobRefused",
    "jobs_in_line": "JobInLine",
    "jobs_unserved": "JobUnserved",
    "demand_missing": "DemandMissing",
    "surplus_released": "SurplusReleased",
    "deliveries_redelivered": "DeliveriesRedelivered",
    "runners_swept": "RunnersSwept",
    "jobs_lost": "JobLost",
    "image_builds_started": "ImageBuildStarted",
    "image_builds_failed": "ImageBuildFailed",
    "runner_version_days_left": "RunnerVersionDaysLeft",
}


def test_secrets_are_named_never_held(minimal: Template) -> None:
    for function in of_type(minimal, "AWS::Lambda::Function"):
        for key, value in function["Environment"]["Variables"].items():
            if "SECRET" in key:
                assert key.endswith("_ARN"), key
                assert "Ref" in value, key


@pytest.mark.parametrize("noun", OWN)
def test_a_metric_of_a_functions_own_names_what_it_emits(
    noun: str, minimal_fleet: RunnerFleet
) -> None:
    metric = getattr(minimal_fleet, f"metric_{noun}")()
    assert (metric.namespace, metric.metric_name) == ("RunnerFleet", OWN[noun])
    assert metric.dimensions == {"fleet": fleet_name(minimal_fleet.cluster)}


def test_metrics_and_alarms_of_two_fleets_are_two() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Ci")
    both = [RunnerFleet(stack, name, github_repo="octo-org/octo-repo") for name in ("One", "Two")]
    for name in dir(RunnerFleet):
        if name.startswith("metric_"):
            more = {"who": "token"} if name == "metric_github_quota_left" else {}
            one, two = (stack.resolve(getattr(each, name)(**more).dimensions) for each in both)
            assert one != two, name
    template = template_of(stack)
    alarms = [
        (alarm["MetricName"], str(alarm["Dimensions"]))
        for alarm in of_type(template, "AWS::CloudWatch::Alarm")
    ]
    assert len(set(alarms)) == len(alarms) == 10
    functions = [
        each
        for each in of_type(template, "AWS::Lambda::Function")
        if each["Description"].startswith("cdk-runner-fleet: ")
    ]
    names = {each["Environment"]["Variables"]["FLEET_NAME"] for each in functions}
    assert names == {fleet_name(each.cluster) for each in both}


def test_aws_own_metrics_are_named_by_what_they_mean_here(minimal_fleet: RunnerFleet) -> None:
    assert minimal_fleet.metric_runners_started().metric_name == "ExecutionsStarted"
    assert minimal_fleet.metric_runners_failed().metric_name == "ExecutionsFailed"
    assert minimal_fleet.metric_events_failed().namespace == "AWS/SQS"


def test_what_was_spent_is_the_fleets_and_at_its_highest(minimal_fleet: RunnerFleet) -> None:
    spent = minimal_fleet.metric_budget_spent()
    assert (spent.metric_name, spent.statistic) == ("BudgetSpentUsd", "Maximum")
    assert set(spent.dimensions or {}) == {"fleet"}


def test_a_metric_is_of_the_period_and_the_statistic_that_are_asked_for(
    minimal_fleet: RunnerFleet,
) -> None:
    period = cdk.Duration.minutes(1)
    metric = minimal_fleet.metric_jobs_refused(period=period, statistic="Maximum")
    assert (metric.period.to_seconds(), metric.statistic) == (60, "Maximum")
    left = minimal_fleet.metric_runner_version_days_left()
    assert (left.period.to_seconds(), left.statistic) == (86400, "Minimum")


def test_every_metric_says_what_it_is_and_takes_the_same(minimal_fleet: RunnerFleet) -> None:
    found = [name for name in dir(RunnerFleet) if name.startswith("metric_")]
    assert len(found) > len(OWN)
    for name in found:
        method = getattr(minimal_fleet, name)
        assert "period" in inspect.signature(method).parameters, name
        assert "statistic" in inspect.signature(method).parameters, name
        assert inspect.getdoc(method), name
