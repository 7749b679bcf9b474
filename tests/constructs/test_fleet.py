"""What the fleet promises, seen in its template."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2

from cdk_runner_fleet import LifecycleTimeouts, RunnerClass, RunnerFleet
from cdk_runner_fleet.context import FleetSettings
from cdk_runner_fleet.stack import RunnerFleetStack

from .conftest import synthesize

Template = dict[str, Any]

CLI = Path(__file__).parents[2] / "cdk_runner_fleet" / "cli"


def of_type(template: Template, kind: str) -> list[dict[str, Any]]:
    return [r.get("Properties", {}) for r in template["Resources"].values() if r["Type"] == kind]


def fleet(**props: Any) -> Template:
    return synthesize(lambda stack: RunnerFleet(stack, "Fleet", **{"github_repo": "o/r", **props}))


def environment(template: Template, handler: str) -> dict[str, Any]:
    functions = of_type(template, "AWS::Lambda::Function")
    [found] = [f for f in functions if f["Handler"] == f"{handler}.handler"]
    variables: dict[str, Any] = found["Environment"]["Variables"]
    return variables


def test_default_network_has_no_nat_and_no_inbound_rule(minimal: Template) -> None:
    assert len(of_type(minimal, "AWS::EC2::Subnet")) == 2
    assert of_type(minimal, "AWS::EC2::NatGateway") == []
    [group] = of_type(minimal, "AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in group
    assert of_type(minimal, "AWS::EC2::SecurityGroupIngress") == []


def test_given_subnets_need_no_vpc() -> None:
    template = synthesize(
        lambda stack: RunnerFleet(
            stack,
            "Fleet",
            github_repo="o/r",
            subnets=[ec2.Subnet.from_subnet_id(stack, "S", "subnet-1")],
            security_groups=[ec2.SecurityGroup.from_security_group_id(stack, "G", "sg-1")],
        )
    )
    assert of_type(template, "AWS::EC2::VPC") == []
    [machine] = of_type(template, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["SubnetIds"] == "subnet-1"
    assert machine["DefinitionSubstitutions"]["SecurityGroupIds"] == "sg-1"


def test_subnets_alone_are_refused_with_the_remedy() -> None:
    with pytest.raises(Exception, match="security_groups"):
        synthesize(
            lambda stack: RunnerFleet(
                stack,
                "Fleet",
                github_repo="o/r",
                subnets=[ec2.Subnet.from_subnet_id(stack, "S", "subnet-1")],
            )
        )


def test_jobs_hold_no_credentials_until_something_is_granted(
    minimal: Template, everything: Template
) -> None:
    [plain] = of_type(minimal, "AWS::ECS::TaskDefinition")
    [granted] = of_type(everything, "AWS::ECS::TaskDefinition")
    assert "TaskRoleArn" not in plain
    assert "TaskRoleArn" in granted


def test_granting_lets_the_launchers_pass_the_new_role(everything: Template) -> None:
    role = of_type(everything, "AWS::ECS::TaskDefinition")[0]["TaskRoleArn"]
    statements = [
        s
        for policy in of_type(everything, "AWS::IAM::Policy")
        for s in policy["PolicyDocument"]["Statement"]
        if s["Action"] == "iam:PassRole" and role in _as_list(s["Resource"])
    ]
    assert len(statements) == 2  # the state machine's and build_image's
    for statement in statements:
        service = statement["Condition"]["StringEquals"]["iam:PassedToService"]
        assert service == "ecs-tasks.amazonaws.com"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_secrets_are_named_never_held(minimal: Template) -> None:
    for function in of_type(minimal, "AWS::Lambda::Function"):
        for key, value in function["Environment"]["Variables"].items():
            if "SECRET" in key:
                assert key.endswith("_ARN"), key
                assert "Ref" in value, key


def test_execution_data_stays_out_of_the_log(minimal: Template) -> None:
    [machine] = of_type(minimal, "AWS::StepFunctions::StateMachine")
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False
    assert machine["LoggingConfiguration"]["Level"] == "ALL"


def test_every_placeholder_is_substituted_and_every_substitution_used(minimal: Template) -> None:
    [machine] = of_type(minimal, "AWS::StepFunctions::StateMachine")
    placeholders = set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"]))
    assert placeholders == set(machine["DefinitionSubstitutions"])


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


def test_every_kind_of_the_fleets_own_events_has_a_rule(minimal: Template) -> None:
    kinds = [
        kind
        for rule in of_type(minimal, "AWS::Events::Rule")
        if rule.get("EventPattern", {}).get("source") == ["cdk-runner-fleet"]
        for kind in rule["EventPattern"]["detail-type"]
    ]
    assert sorted(kinds) == ["job_unserved", "runner_version_retired", "workflow_job"]


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


def test_a_topic_can_be_told_of_failed_events() -> None:
    def make(stack: cdk.Stack) -> None:
        made = RunnerFleet(stack, "Fleet", github_repo="o/r")
        topic = cdk.aws_sns.Topic(stack, "Topic")
        made.failed_events_alarm.add_alarm_action(cdk.aws_cloudwatch_actions.SnsAction(topic))

    actions = [a.get("AlarmActions") for a in of_type(synthesize(make), "AWS::CloudWatch::Alarm")]
    assert len([each for each in actions if each]) == 1


@pytest.mark.parametrize(("given", "switch"), [({}, "on"), ({"explain_at_github": False}, "off")])
def test_authors_are_told_unless_that_is_off(given: dict[str, Any], switch: str) -> None:
    template = fleet(**given)
    assert environment(template, "explain_job")["EXPLAIN_AT_GITHUB"] == switch


def test_the_stack_names_what_the_command_line_needs() -> None:
    app = cdk.App(context={"github_repo": "o/r"}, analytics_reporting=False)
    RunnerFleetStack(app, "RunnerFleet")
    outputs = app.synth().get_stack_by_name("RunnerFleet").template["Outputs"]
    source = "".join(path.read_text() for path in CLI.glob("*.py"))
    named = set(re.findall(r'output="(\w+)"', source))
    assert {"FailedEventsQueueUrl", "EventArchiveArn", "ExplainJobFunctionName"} <= named
    assert named <= set(outputs)


def test_classes_reach_the_catalog() -> None:
    template = fleet(runner_classes={"tiny": RunnerClass(cpu=256, memory=512)})
    [parameter] = of_type(template, "AWS::SSM::Parameter")
    assert json.loads(parameter["Value"]) == {
        "tiny": {
            "cpu": 256,
            "memory": 512,
            "architecture": "X86_64",
            "labels": ["linux", "x64"],
            "capacity": ["FARGATE"],
        }
    }


def test_job_time_defaults_to_githubs_own(minimal: Template) -> None:
    [machine] = of_type(minimal, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["RunnerTtlSeconds"] == str(6 * 3600)


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"github_repo": "octo"}, "owner/repo"),
        ({"github_repo": "octo/repo/more"}, "owner/repo"),
        ({"github_api_url": "api.github.com"}, "https://api.github.com"),
        ({"runner_name_prefix": "Fleet_"}, "lower-case"),
        ({"runner_name_prefix": "f" * 32}, "up to 31"),
        ({"reconcile_every": cdk.Duration.seconds(90)}, "whole minutes"),
        ({"reconcile_every": cdk.Duration.seconds(0)}, "whole minutes"),
        ({"reconcile_grace": cdk.Duration.seconds(0)}, "at least 1"),
        ({"runner_classes": {}}, "at least one class"),
        ({"runner_classes": {"XL": RunnerClass(cpu=256, memory=512)}}, "lower-case"),
    ],
)
def test_bad_settings_are_refused_with_the_remedy(props: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        fleet(**props)


def test_tokens_are_let_through() -> None:
    def make(stack: cdk.Stack) -> None:
        repository = cdk.CfnParameter(stack, "Repo")
        RunnerFleet(stack, "Fleet", github_repo=repository.value_as_string)

    template = synthesize(make)
    assert environment(template, "receive_webhook")["GITHUB_SCOPE"] == {
        "Fn::Join": ["", ["repos/", {"Ref": "Repo"}]]
    }


@pytest.mark.parametrize(
    ("cpu", "memory", "message"),
    [(300, 512, "256, 512, 1024"), (256, 4096, "512, 1024, 2048"), (256, 1536, "512, 1024, 2048")],
)
def test_illegal_sizes_are_refused(cpu: int, memory: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerClass(cpu=cpu, memory=memory)


def test_unknown_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="FARGATE_SPOT"):
        RunnerClass(cpu=256, memory=512, capacity=["SPOT"])


def test_impossible_timeouts_are_refused() -> None:
    with pytest.raises(ValueError, match="432000"):
        LifecycleTimeouts(job=cdk.Duration.days(6))


def settings(**context: Any) -> FleetSettings:
    return FleetSettings.from_context(cdk.App(context=context, analytics_reporting=False).node)


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"max_runners": 0}, "max_runners 0 cannot be kept, use a whole number from 1 to 1000"),
        ({"max_runners": 1001}, "several fleets"),
        ({"max_runners": True}, "max_runners True"),
        ({"max_runners_per_repository": 0}, "max_runners_per_repository 0"),
        ({"daily_budget_usd": 0}, "daily_budget_usd 0 is no budget"),
        ({"daily_budget_usd": float("inf")}, "leave it out for no limit"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(props: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fleet(**props)


@pytest.mark.parametrize("most", [0, -1, 2.5, True])
def test_a_class_that_could_have_no_runner_is_refused(most: Any) -> None:
    with pytest.raises(ValueError, match=r"max_runners .* use a whole number of at least 1"):
        RunnerClass(cpu=256, memory=512, max_runners=most)


def test_limits_reach_those_who_start_runners(minimal: Template) -> None:
    template = fleet(
        max_runners=7,
        max_runners_per_repository=3,
        daily_budget_usd=2.5,
        runner_classes={"small": RunnerClass(cpu=256, memory=512, max_runners=2)},
    )
    for handler in ("dispatch_event", "reconcile_demand"):
        given = environment(template, handler)
        assert given["MAX_RUNNERS"] == "7"
        assert given["MAX_RUNNERS_PER_REPOSITORY"] == "3"
        assert given["DAILY_BUDGET_USD"] == "2.5"
    default = environment(minimal, "dispatch_event")
    assert default["MAX_RUNNERS"] == "100"
    assert default["MAX_RUNNERS_PER_REPOSITORY"] == default["DAILY_BUDGET_USD"] == ""
    [parameter] = of_type(template, "AWS::SSM::Parameter")
    assert json.loads(parameter["Value"])["small"]["max_runners"] == 2


def test_limits_may_be_parameters_of_the_stack() -> None:
    def make(stack: cdk.Stack) -> None:
        numbers = {
            name: cdk.CfnParameter(stack, name, type="Number").value_as_number
            for name in ("Most", "Each", "Usd")
        }
        RunnerFleet(
            stack,
            "Fleet",
            github_repo="o/r",
            max_runners=numbers["Most"],  # type: ignore[arg-type]
            max_runners_per_repository=numbers["Each"],  # type: ignore[arg-type]
            daily_budget_usd=numbers["Usd"],
        )

    given = environment(synthesize(make), "dispatch_event")
    assert given["MAX_RUNNERS"] == {"Ref": "Most"}
    assert given["MAX_RUNNERS_PER_REPOSITORY"] == {"Ref": "Each"}
    assert given["DAILY_BUDGET_USD"] == {"Ref": "Usd"}


def test_every_end_of_an_execution_is_told_with_a_dead_letter_queue(minimal: Template) -> None:
    ends = [
        rule
        for rule in of_type(minimal, "AWS::Events::Rule")
        if rule.get("EventPattern", {}).get("source") == ["aws.states"]
        and "SUCCEEDED" in rule["EventPattern"]["detail"]["status"]
    ]
    [rule] = ends
    assert set(rule["EventPattern"]["detail"]["status"]) == {
        "SUCCEEDED",
        "FAILED",
    }
    [target] = rule["Targets"]
    assert target["DeadLetterConfig"]
    assert "EventBusName" not in rule, "AWS's own events come on the default bus"


def test_context_takes_json_and_command_line_strings() -> None:
    read = settings(
        github_repo="o/r",
        subnet_ids="subnet-1, subnet-2",
        security_groups=["sg-1"],
        image_build_project="false",
        apt_packages="jq, libpq-dev",
        pip_packages=["awscli>=1,<2"],
        runner_image_variant="full",
        runner_image_capabilities='["python"]',
        image_soci="on",
        max_image_builds="2",
        boot_timeout_seconds="2",
        max_runners="5",
        daily_budget_usd="2.5",
        runner_class_sizes='{"small": {"cpu": 256, "memory": 512}}',
    )
    assert read.subnet_ids == ["subnet-1", "subnet-2"]
    assert read.security_groups == ["sg-1"]
    assert read.image_build_project is False
    assert (read.runner_image_variant, read.runner_image_capabilities) == ("full", ["python"])
    assert read.apt_packages == ["jq", "libpq-dev"]
    assert read.pip_packages == ["awscli>=1,<2"]
    assert (read.image_soci, read.max_image_builds) == (True, 2)
    assert read.boot_timeout_seconds == 2
    assert (read.max_runners, read.daily_budget_usd) == (5, 2.5)
    assert read.max_runners_per_repository is None
    assert read.runner_class_sizes == {"small": {"cpu": 256, "memory": 512}}


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "github_repo is not set"),
        ({"github_repo": "o/r", "boot_timeout_seconds": "soon"}, "whole number of seconds"),
        (
            {"github_repo": "o/r", "max_runners": "2.5"},
            "max_runners is '2.5', give a whole number$",
        ),
        ({"github_repo": "o/r", "daily_budget_usd": "much"}, "an amount such as 25"),
        ({"github_repo": "o/r", "image_build_project": "perhaps"}, "true or false"),
        ({"github_repo": "o/r", "subnet_ids": [1]}, "list of strings"),
        ({"github_repo": "o/r", "runner_class_sizes": "[]"}, "an object"),
        ({"github_repo": 7}, "a string"),
    ],
)
def test_bad_context_is_refused_with_the_remedy(context: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**context)


def schedule_of(template: Template, handler: str) -> str:
    [function] = [
        name
        for name, resource in template["Resources"].items()
        if resource.get("Properties", {}).get("Handler") == f"{handler}.handler"
    ]
    [rule] = [
        rule
        for rule in of_type(template, "AWS::Events::Rule")
        if "ScheduleExpression" in rule
        and rule["Targets"][0]["Arn"] == {"Fn::GetAtt": [function, "Arn"]}
    ]
    expression: str = rule["ScheduleExpression"]
    return expression


def test_reconciliation_runs_on_a_schedule(minimal: Template) -> None:
    assert schedule_of(minimal, "reconcile_demand") == "rate(2 minutes)"
    settings_of = environment(minimal, "reconcile_demand")
    assert settings_of["RECONCILE_GRACE_SECONDS"] == "60"
    assert settings_of["RERUN_LOST_JOBS"] == "off"
    assert json.loads(settings_of["GITHUB_PERMISSIONS"])["actions"] == "read"


def test_reconciliation_can_be_set() -> None:
    template = fleet(
        reconcile_every=cdk.Duration.minutes(5),
        reconcile_grace=cdk.Duration.seconds(30),
        rerun_lost_jobs=True,
    )
    assert schedule_of(template, "reconcile_demand") == "rate(5 minutes)"
    settings_of = environment(template, "reconcile_demand")
    assert settings_of["RECONCILE_GRACE_SECONDS"] == "30"
    assert settings_of["RERUN_LOST_JOBS"] == "on"
    assert json.loads(settings_of["GITHUB_PERMISSIONS"])["actions"] == "write"


def test_reconciliation_hears_of_executions_that_ended_badly(minimal: Template) -> None:
    [rule] = [
        r
        for r in of_type(minimal, "AWS::Events::Rule")
        if r.get("EventPattern", {}).get("detail", {}).get("status") == ["ABORTED", "TIMED_OUT"]
    ]
    assert rule["EventPattern"]["source"] == ["aws.states"]


def test_tasks_of_other_clusters_are_out_of_reach(minimal: Template) -> None:
    found = [
        statement
        for policy in of_type(minimal, "AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        if set(_as_list(statement["Action"])) & {"ecs:ListTasks", "ecs:StopTask"}
    ]
    assert len(found) == 3  # the state machine's one, and reconciliation's two
    assert all("ecs:cluster" in s["Condition"]["ArnEquals"] for s in found)


def test_metrics_name_what_is_emitted() -> None:
    app = cdk.App(analytics_reporting=False)
    made = RunnerFleet(cdk.Stack(app, "Test"), "Fleet", github_repo="o/r")
    assert made.metric_runners_started().metric_name == "ExecutionsStarted"
    assert made.metric_runners_failed().metric_name == "ExecutionsFailed"
    assert made.metric_jobs_refused(period=cdk.Duration.minutes(1)).namespace == "RunnerFleet"
    for metric, name in (
        (made.metric_demand_missing(), "DemandMissing"),
        (made.metric_surplus_released(), "SurplusReleased"),
        (made.metric_deliveries_redelivered(), "DeliveriesRedelivered"),
        (made.metric_runners_swept(), "RunnersSwept"),
        (made.metric_jobs_lost(), "JobLost"),
    ):
        assert metric.metric_name == name
        assert metric.dimensions == {"service": "reconcile_demand"}
    assert made.metric_events_failed().namespace == "AWS/SQS"
    assert made.metric_jobs_in_line().metric_name == "JobInLine"
    spent = made.metric_budget_spent()
    assert spent.metric_name == "BudgetSpentUsd"
    assert set(spent.dimensions or {}) == {"who"}
    for metric, name in (
        (made.metric_image_builds_started(), "ImageBuildStarted"),
        (made.metric_image_builds_failed(), "ImageBuildFailed"),
    ):
        assert metric.metric_name == name
        assert metric.dimensions == {"service": "build_image"}
    left = made.metric_runner_version_days_left()
    assert left.metric_name == "RunnerVersionDaysLeft"
    assert left.dimensions == {"service": "watch_release"}
    assert left.statistic == "Minimum"
