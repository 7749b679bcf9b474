"""The dashboard: what an operator wants to see of a fleet stands on it, and all of it is there."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import FleetDashboard
from fleet_runtime import metrics

from .templates import Template, environment, of_type, template_of
from .test_alarms import Known


def widgets_of(template: Template) -> list[dict[str, Any]]:
    [dashboard] = of_type(template, "AWS::CloudWatch::Dashboard")
    body = dashboard["DashboardBody"]
    # what is known at deployment alone stands between the parts of a text
    text = (
        body
        if isinstance(body, str)
        else "".join(part if isinstance(part, str) else "token" for part in body["Fn::Join"][1])
    )
    return list(json.loads(text)["widgets"])


def titled(widgets: list[dict[str, Any]], title: str) -> dict[str, Any]:
    [found] = [each for each in widgets if each["properties"].get("title") == title]
    return dict(found["properties"])


@pytest.fixture(scope="module")
def widgets(everything: Template) -> list[dict[str, Any]]:
    return widgets_of(everything)


def test_it_has_what_an_operator_asks_for(widgets: list[dict[str, Any]]) -> None:
    shown = json.dumps(widgets)
    for name in (
        *("QueueSeconds", "RunnersWaiting", "RunnersIdle", "RunnersRunning", "JobEnded"),
        *("RunnerFailed", "BudgetSpentUsd", "RunnerUsd", "IdleUsd", "GitHubQuotaLeft"),
        *("ApproximateNumberOfMessagesVisible", "RunnerVersionDaysLeft", "WebhookRejected"),
    ):
        assert name in shown, name


def test_the_queue_time_is_shown_by_its_percentiles(widgets: list[dict[str, Any]]) -> None:
    drawn = [each[-1] for each in titled(widgets, "Queue time, s")["metrics"]]
    assert [each["stat"] for each in drawn] == ["p50", "p95", "Maximum"]


def test_every_metric_that_is_drawn_is_written(widgets: list[dict[str, Any]]) -> None:
    drawn = [each for widget in widgets for each in widget["properties"].get("metrics", [])]
    own = [each for each in drawn if each[0] == metrics.NAMESPACE]
    assert len(own) > 40
    for _, name, *dimensions in own:
        pairs = dimensions[:-1]
        by = metrics.METRICS[name].by
        assert set(pairs[::2]) == {"fleet", by} - {""}, name


def test_failures_are_searched_for_by_the_fleet(
    widgets: list[dict[str, Any]], everything: Template
) -> None:
    fleet = environment(everything, "dispatch_event")["FLEET_NAME"]
    [[found]] = titled(widgets, "Failures by cause")["metrics"]
    assert found["expression"] == (
        'SEARCH(\'{RunnerFleet,fleet,error} MetricName="RunnerFailed" '
        f"fleet=\"{fleet}\"', 'Sum', 300)"
    )


def test_the_budget_is_a_line(widgets: list[dict[str, Any]]) -> None:
    [line] = titled(widgets, "Spent today, USD")["annotations"]["horizontal"]
    assert line["value"] == 25.5


def test_the_alarms_stand_on_top(widgets: list[dict[str, Any]], everything: Template) -> None:
    assert widgets[0]["type"] == "alarm"
    alarms = of_type(everything, "AWS::CloudWatch::Alarm")
    assert len(widgets[0]["properties"]["alarms"]) == len(alarms)


def test_the_rows_are_full(widgets: list[dict[str, Any]]) -> None:
    rows: dict[int, int] = {}
    for each in widgets:
        rows[each["y"]] = rows.get(each["y"], 0) + each["width"]
    assert set(rows.values()) == {24}


def test_a_dashboard_of_a_fleet_elsewhere_has_no_budget_and_no_logs() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Watch")
    budget = cdk.CfnParameter(stack, "Usd", type="Number").value_as_number
    FleetDashboard(stack, "Dashboard", fleet=Known(stack, budget=budget), dashboard_name="ci")
    template = template_of(stack)
    [dashboard] = of_type(template, "AWS::CloudWatch::Dashboard")
    assert dashboard["DashboardName"] == "ci"
    widgets = widgets_of(template)
    assert {each["type"] for each in widgets} == {"metric"}
    assert "annotations" not in titled(widgets, "Spent today, USD")
    quota = titled(widgets, "GitHub: requests left")["metrics"]
    assert [each[5] for each in quota] == ["app-11", "app-22"]
