"""How events travel: none is dropped in silence."""

from __future__ import annotations

from ..templates import Template, of_type


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
    assert {"cdk-runner-fleet", "aws.ecs", "aws.states", "aws.codebuild"} <= {
        source for rule in rules for source in rule.get("EventPattern", {}).get("source", [])
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
        if rule.get("EventPattern", {}).get("source") == ["cdk-runner-fleet"]
        for kind in rule["EventPattern"]["detail-type"]
    ]
    assert sorted(kinds) == [
        "job_served",
        "job_unserved",
        "retired_runner_found",
        "runner_release_taken_over",
        "runner_version_retired",
        "workflow_job",
    ]


def test_aws_own_events_come_on_the_default_bus(minimal: Template) -> None:
    for rule in of_type(minimal, "AWS::Events::Rule"):
        is_own = rule.get("EventPattern", {}).get("source") == ["cdk-runner-fleet"]
        assert ("EventBusName" in rule) is is_own


def test_an_alarm_rings_while_an_event_waits_in_the_dead_letter_queue(minimal: Template) -> None:
    [alarm] = [
        each
        for each in of_type(minimal, "AWS::CloudWatch::Alarm")
        if each["Namespace"] == "AWS/SQS"
    ]
    assert (alarm["Threshold"], alarm["ComparisonOperator"], alarm["Statistic"]) == (
        1,
        "GreaterThanOrEqualToThreshold",
        "Maximum",
    )
    assert alarm["TreatMissingData"] == "notBreaching"
    assert "AlarmActions" not in alarm


def test_a_topic_can_be_told_of_failed_events(everything: Template) -> None:
    [alarm] = [
        each
        for each in of_type(everything, "AWS::CloudWatch::Alarm")
        if each["Namespace"] == "AWS/SQS"
    ]
    assert len(alarm["AlarmActions"]) == 1
