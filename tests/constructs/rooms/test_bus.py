"""How events travel: none is dropped in silence."""

from __future__ import annotations

import aws_cdk as cdk
import pytest
from aws_cdk import aws_events as events
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet.rooms.bus import FleetBus
from fleet_runtime.explanation import unserved
from fleet_runtime.images import release_news

from ..templates import (
    Template,
    as_list,
    environment,
    of_type,
    parts,
    patterns_of,
    statements_by_role,
)

EVENT_SOURCE = "cdk-runner-fleet/Test-Fleet-72ECBEB0"
"""Of the one fleet of a template."""


def test_every_rule_and_every_asynchronous_function_has_a_dead_letter_queue(
    minimal: Template,
) -> None:
    [queue] = [
        {"Fn::GetAtt": [name, "Arn"]}
        for name, resource in minimal["Resources"].items()
        if resource["Type"] == "AWS::SQS::Queue"
    ]
    rules = of_type(minimal, "AWS::Events::Rule")
    hops = [target for rule in rules for target in rule["Targets"]]
    hops += [schedule["Target"] for schedule in of_type(minimal, "AWS::Scheduler::Schedule")]
    assert {EVENT_SOURCE, "aws.ecs", "aws.states", "aws.codebuild"} <= {
        source for rule in rules for one in patterns_of(rule) for source in one["source"]
    }
    for hop in hops:
        assert hop["DeadLetterConfig"] == {"Arn": queue}, hop["Arn"]
    # and what Lambda has taken over: a function that fails three times
    kept = {
        config["FunctionName"]["Ref"]: config["DestinationConfig"]["OnFailure"]["Destination"]
        for config in of_type(minimal, "AWS::Lambda::EventInvokeConfig")
    }
    assert kept == {hop["Arn"]["Fn::GetAtt"][0]: queue for hop in hops}
    attempts = {
        config["MaximumRetryAttempts"]
        for config in of_type(minimal, "AWS::Lambda::EventInvokeConfig")
    }
    assert attempts == {2}


def test_every_kind_of_the_fleets_own_events_has_a_rule(minimal: Template) -> None:
    kinds = [
        kind
        for rule in of_type(minimal, "AWS::Events::Rule")
        for one in patterns_of(rule)
        if one["source"] == [EVENT_SOURCE]
        for kind in one["detail-type"]
    ]
    assert sorted(set(kinds)) == [
        "job_served",
        "job_unserved",
        "retired_runner_found",
        "runner_release_taken_over",
        "runner_version_retired",
        "workflow_job",
    ]


PUTS = {
    "ReceiveWebhook": {"workflow_job"},
    "DispatchEvent": {unserved.DETAIL_TYPE, unserved.SERVED_DETAIL_TYPE, release_news.FOUND},
    "ReconcileDemand": {unserved.DETAIL_TYPE, unserved.SERVED_DETAIL_TYPE, release_news.FOUND},
    "WatchRelease": {release_news.RETIRED, release_news.TAKEN_OVER},
}
"""What each function says on the fleet's bus; the others say nothing."""


def test_each_function_puts_the_events_that_it_has_to_and_no_other(
    minimal: Template, everything: Template, organization: Template
) -> None:
    """One that could put any event could have all images retired."""
    for template in (minimal, everything, organization):
        found = {
            role: statement
            for role, statement in statements_by_role(template)
            if any(action.startswith("events:") for action in as_list(statement["Action"]))
        }
        assert set(found) == set(PUTS)
        for role, statement in found.items():
            assert statement["Action"] == "events:PutEvents"
            assert "EventBus" in parts(statement["Resource"])
            values = statement["Condition"]["ForAllValues:StringEquals"]
            assert as_list(values["events:source"]) == [EVENT_SOURCE]
            assert set(as_list(values["events:detail-type"])) == PUTS[role]
            assert statement["Condition"]["Null"] == dict.fromkeys(values, "false")


def test_aws_own_events_come_on_the_default_bus(minimal: Template) -> None:
    for rule in of_type(minimal, "AWS::Events::Rule"):
        own = {one["source"] == [EVENT_SOURCE] for one in patterns_of(rule)}
        assert own == {"EventBusName" in rule}


def test_a_function_has_one_rule_and_one_permission_for_each_bus(minimal: Template) -> None:
    rules = {
        name: each["Properties"]
        for name, each in minimal["Resources"].items()
        if each["Type"] == "AWS::Events::Rule"
    }
    hearing = [
        (target["Arn"]["Fn::GetAtt"][0], "EventBusName" in rule)
        for rule in rules.values()
        for target in rule["Targets"]
    ]
    assert len(hearing) == len(set(hearing)) == len(rules)
    allowed = {
        each["SourceArn"]["Fn::GetAtt"][0]: each["FunctionName"]["Fn::GetAtt"][0]
        for each in of_type(minimal, "AWS::Lambda::Permission")
        if each["Principal"] == "events.amazonaws.com"
    }
    assert allowed == {
        name: rule["Targets"][0]["Arn"]["Fn::GetAtt"][0] for name, rule in rules.items()
    }


def test_these_rules_and_no_others_leave_events_in_the_dead_letter_queue(
    minimal: Template,
) -> None:
    [policy] = of_type(minimal, "AWS::SQS::QueuePolicy")
    [leaving] = [
        each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"
    ]
    assert leaving["Principal"] == {"Service": "events.amazonaws.com"}
    assert leaving["Action"] == "sqs:SendMessage"
    sources = [arn["Fn::GetAtt"][0] for arn in leaving["Condition"]["ArnEquals"]["aws:SourceArn"]]
    rules = [
        name for name, each in minimal["Resources"].items() if each["Type"] == "AWS::Events::Rule"
    ]
    assert sorted(sources) == sorted(rules)


def test_events_travel_on_a_bus_that_is_given(everything: Template) -> None:
    [logical_id] = [
        name
        for name, one in everything["Resources"].items()
        if one["Type"] == "AWS::Events::EventBus"
    ]
    assert logical_id.startswith("OurEventBus")
    [archive] = of_type(everything, "AWS::Events::Archive")
    assert archive["SourceArn"] == {"Fn::GetAtt": [logical_id, "Arn"]}
    assert archive["EventPattern"] == {"source": [EVENT_SOURCE]}
    own = [
        parts(rule["EventBusName"])
        for rule in of_type(everything, "AWS::Events::Rule")
        if rule.get("EventPattern", {}).get("source") == [EVENT_SOURCE]
    ]
    assert own
    assert all(logical_id in each for each in own)


BUS_ARN = "arn:aws:events:eu-west-3:123456789012:event-bus/theirs"


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        (
            BUS_ARN.replace("eu-west-3", "us-east-1"),
            "is in region us-east-1 and the fleet in eu-we",
        ),
        (
            BUS_ARN.replace("123456789012", "999999999999"),
            "is in account 999999999999 and the fleet",
        ),
    ],
)
def test_a_bus_on_which_no_rule_could_listen_is_refused(arn: str, message: str) -> None:
    here = cdk.Environment(account="123456789012", region="eu-west-3")
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=here)
    theirs = events.EventBus.from_event_bus_arn(stack, "Theirs", arn)
    with pytest.raises(ValueError, match=f"^event_bus Test/Theirs {message}"):
        FleetBus(stack, "Bus", at_rest=DataAtRest(stack), event_bus=theirs)


def test_fleets_on_one_bus_do_not_hear_each_other(stack: cdk.Stack) -> None:
    theirs = events.EventBus(stack, "Theirs")
    one, two = (
        FleetBus(Construct(stack, name), "Bus", at_rest=DataAtRest(stack), event_bus=theirs)
        for name in ("One", "Two")
    )
    assert one.event_source != two.event_source


def test_who_puts_events_says_whose_they_are_as_rules_archive_and_roles_do(
    minimal: Template,
) -> None:
    for handler in ("receive_webhook", "dispatch_event", "reconcile_demand", "watch_release"):
        assert environment(minimal, handler)["EVENT_SOURCE"] == EVENT_SOURCE
    [archive] = of_type(minimal, "AWS::Events::Archive")
    assert archive["EventPattern"] == {"source": [EVENT_SOURCE]}
