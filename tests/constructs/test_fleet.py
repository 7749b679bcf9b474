"""What the fleet promises, whatever room keeps it."""

from __future__ import annotations

import inspect

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import RunnerFleet

from .templates import Template, of_type

OWN = {
    "jobs_refused": ("JobRefused", "dispatch_event"),
    "jobs_in_line": ("JobInLine", "dispatch_event"),
    "jobs_unserved": ("JobUnserved", "explain_job"),
    "demand_missing": ("DemandMissing", "reconcile_demand"),
    "surplus_released": ("SurplusReleased", "reconcile_demand"),
    "deliveries_redelivered": ("DeliveriesRedelivered", "reconcile_demand"),
    "runners_swept": ("RunnersSwept", "reconcile_demand"),
    "jobs_lost": ("JobLost", "reconcile_demand"),
    "image_builds_started": ("ImageBuildStarted", "build_image"),
    "image_builds_failed": ("ImageBuildFailed", "build_image"),
    "runner_version_days_left": ("RunnerVersionDaysLeft", "watch_release"),
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
    name, service = OWN[noun]
    metric = getattr(minimal_fleet, f"metric_{noun}")()
    assert (metric.namespace, metric.metric_name) == ("RunnerFleet", name)
    assert metric.dimensions == {"service": service}


def test_aws_own_metrics_are_named_by_what_they_mean_here(minimal_fleet: RunnerFleet) -> None:
    assert minimal_fleet.metric_runners_started().metric_name == "ExecutionsStarted"
    assert minimal_fleet.metric_runners_failed().metric_name == "ExecutionsFailed"
    assert minimal_fleet.metric_events_failed().namespace == "AWS/SQS"


def test_what_was_spent_is_the_machines_and_at_its_highest(minimal_fleet: RunnerFleet) -> None:
    spent = minimal_fleet.metric_budget_spent()
    assert (spent.metric_name, spent.statistic) == ("BudgetSpentUsd", "Maximum")
    assert set(spent.dimensions or {}) == {"who"}


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
