"""A fleet of another stack: what is made for it here is what would be made beside it."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import (
    FleetAlarms,
    FleetDashboard,
    FleetLogQueries,
    IRunnerFleet,
    RunnerFleet,
    RunnerFleetStack,
)

from .templates import of_type, template_of

NAMES: dict[str, Any] = {
    "fleet_name": "Ci-Runners-1234ABCD",
    "state_machine_arn": "arn:aws:states:eu-west-3:123456789012:stateMachine:Runners",
    "failed_events_queue_arn": "arn:aws:sqs:eu-west-3:123456789012:Failed",
    "function_log_group_name": "functions",
    "lifecycle_log_group_name": "/aws/vendedlogs/states/runners",
}


def imported(stack: cdk.Stack, **given: Any) -> IRunnerFleet:
    return RunnerFleet.from_runner_fleet_attributes(stack, "Fleet", **NAMES | given)


def test_every_metric_has_the_name_and_dimensions_that_the_fleet_itself_gives_it(
    minimal_fleet: RunnerFleet, stack: cdk.Stack
) -> None:
    same = imported(stack, fleet_name=minimal_fleet.fleet_name)
    found = [name for name in dir(IRunnerFleet) if name.startswith("metric_")]
    assert len(found) > 20
    for name in ("metric_jobs_refused", "metric_queue_time", "metric_budget_spent"):
        theirs, ours = getattr(minimal_fleet, name)(), getattr(same, name)()
        assert (ours.metric_name, ours.dimensions) == (theirs.metric_name, theirs.dimensions)


def test_what_is_made_for_a_fleet_is_made_for_an_imported_one(stack: cdk.Stack) -> None:
    fleet = imported(stack, daily_budget_usd=20, github_callers=["app-1", "app-2"])
    unlimited = RunnerFleet.from_runner_fleet_attributes(stack, "Other", **NAMES)
    alarms = FleetAlarms(stack, "Alarms", fleet=fleet)
    assert alarms.budget is not None
    assert FleetAlarms(stack, "Free", fleet=unlimited).budget is None
    FleetDashboard(stack, "Dashboard", fleet=fleet)
    FleetLogQueries(stack, "Queries", fleet=fleet)
    template = template_of(stack)
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    dimensions = {
        (one["Name"], one["Value"]) for alarm in alarms for one in alarm.get("Dimensions", [])
    }
    assert {("fleet", NAMES["fleet_name"]), ("QueueName", "Failed")} <= dimensions
    assert ("StateMachineArn", NAMES["state_machine_arn"]) in dimensions
    assert {value for name, value in dimensions if name == "who"} == {"app-1", "app-2", "token"}
    assert len(of_type(template, "AWS::CloudWatch::Dashboard")) == 1
    groups = {
        tuple(one["LogGroupNames"]) for one in of_type(template, "AWS::Logs::QueryDefinition")
    }
    assert groups == {("functions",), ("/aws/vendedlogs/states/runners",)}


def test_without_its_log_groups_there_are_no_queries(stack: cdk.Stack) -> None:
    fleet = imported(stack, function_log_group_name=None)
    with pytest.raises(ValueError, match="is imported without its log groups"):
        FleetLogQueries(stack, "Queries", fleet=fleet)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"state_machine_arn": "Runners"}, "^state_machine_arn 'Runners' is none, give the ARN"),
        (
            {"failed_events_queue_arn": NAMES["state_machine_arn"]},
            "^failed_events_queue_arn 'arn:aws:states:.* is none, .* arn:aws:sqs:<region>",
        ),
        ({"fleet_name": ""}, "^fleet_name is empty: give the output FleetName of the fleet's"),
        ({"github_callers": ["11"]}, "^github_callers has '11', and a fleet asks GitHub as 'token"),
    ],
)
def test_a_name_of_something_else_is_refused(
    given: dict[str, Any], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=message):
        imported(stack, **given)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_another_kind_is_refused(name: str, stack: cdk.Stack) -> None:
    with pytest.raises(TypeError, match=f"^{name} is a int, give a str"):
        imported(stack, **{name: 5})


def test_a_fleets_stack_names_all_that_it_takes() -> None:
    app = cdk.App(context={"github_repo": "o/r", "daily_budget_usd": 5}, analytics_reporting=False)
    stack = RunnerFleetStack(app, "Runners")
    outputs = template_of(stack)["Outputs"]
    given = {
        "fleet_name": "FleetName",
        "state_machine_arn": "StateMachineArn",
        "failed_events_queue_arn": "FailedEventsQueueArn",
        "function_log_group_name": "FunctionLogGroupName",
        "lifecycle_log_group_name": "LifecycleLogGroupName",
    }
    assert set(given) == set(NAMES)
    assert {*given.values(), "DailyBudgetUsd"} <= set(outputs)
    assert outputs["FleetName"]["Value"] == stack.fleet.fleet_name
    values: dict[str, Any] = {
        name: stack.resolve(stack.node.find_child(output).value)  # type: ignore[attr-defined]
        for name, output in given.items()
    }
    other = cdk.Stack(app, "Watch")
    fleet = imported(other, **{name: cdk.Token.as_string(value) for name, value in values.items()})
    assert fleet.fleet_name == stack.fleet.fleet_name


def test_a_fleet_of_another_region_is_refused() -> None:
    here = cdk.Environment(account="123456789012", region="us-east-1")
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Watch", env=here)
    with pytest.raises(
        ValueError, match=r"^state_machine_arn .* is in region eu-west-3 and the fl"
    ):
        imported(stack)
