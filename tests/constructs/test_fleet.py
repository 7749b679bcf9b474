"""What the fleet promises, seen in its template."""

from __future__ import annotations

import json
import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2

from cdk_runner_fleet import LifecycleTimeouts, RunnerClass, RunnerFleet
from cdk_runner_fleet.context import FleetSettings

from .conftest import synthesize

Template = dict[str, Any]


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
    rules = of_type(minimal, "AWS::Events::Rule")
    assert len(rules) == 4
    assert all("DeadLetterConfig" in target for rule in rules for target in rule["Targets"])
    targeted = {json.dumps(t["Arn"]) for rule in rules for t in rule["Targets"]}
    configured = of_type(minimal, "AWS::Lambda::EventInvokeConfig")
    assert len(configured) == len(targeted)
    assert all("OnFailure" in c["DestinationConfig"] for c in configured)


def test_images_are_immutable_and_scanned(minimal: Template) -> None:
    [repository] = of_type(minimal, "AWS::ECR::Repository")
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}


def test_building_off_leaves_no_builder() -> None:
    template = fleet(image_building=False, runner_image="public.ecr.aws/me/runner:1")
    assert of_type(template, "AWS::CodeBuild::Project") == []
    assert of_type(template, "AWS::ECR::Repository") == []
    assert environment(template, "dispatch_event")["IMAGE_BUILDING"] == "off"
    [machine] = of_type(template, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["Building"] == "off"


def test_a_ready_image_is_launched_as_it_is() -> None:
    template = fleet(runner_image="public.ecr.aws/me/runner:1")
    [task] = of_type(template, "AWS::ECS::TaskDefinition")
    assert task["ContainerDefinitions"][0]["Image"] == "public.ecr.aws/me/runner:1"
    assert environment(template, "dispatch_event")["DEFAULT_TASK_DEFINITION"] != ""


def test_classes_reach_the_catalog() -> None:
    template = fleet(runner_classes={"tiny": RunnerClass(cpu=256, memory=512)})
    [parameter] = of_type(template, "AWS::SSM::Parameter")
    assert json.loads(parameter["Value"]) == {
        "tiny": {"cpu": 256, "memory": 512, "labels": ["linux", "x64"], "capacity": ["FARGATE"]}
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
        ({"runner_image_tag": "a b"}, "letters"),
        ({"image_building": False}, "runner_image"),
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
    assert environment(template, "receive_webhook")["GITHUB_REPO"] == {"Ref": "Repo"}


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


def test_context_takes_json_and_command_line_strings() -> None:
    read = settings(
        github_repo="o/r",
        subnet_ids="subnet-1, subnet-2",
        security_groups=["sg-1"],
        image_build_project="false",
        boot_timeout_seconds="2",
        runner_class_sizes='{"small": {"cpu": 256, "memory": 512}}',
    )
    assert read.subnet_ids == ["subnet-1", "subnet-2"]
    assert read.security_groups == ["sg-1"]
    assert read.image_build_project is False
    assert read.boot_timeout_seconds == 2
    assert read.runner_class_sizes == {"small": {"cpu": 256, "memory": 512}}


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "github_repo is not set"),
        ({"github_repo": "o/r", "boot_timeout_seconds": "soon"}, "whole number of seconds"),
        ({"github_repo": "o/r", "image_build_project": "perhaps"}, "true or false"),
        ({"github_repo": "o/r", "subnet_ids": [1]}, "list of strings"),
        ({"github_repo": "o/r", "runner_class_sizes": "[]"}, "an object"),
        ({"github_repo": 7}, "a string"),
    ],
)
def test_bad_context_is_refused_with_the_remedy(context: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**context)


def test_metrics_name_what_is_emitted() -> None:
    app = cdk.App(analytics_reporting=False)
    made = RunnerFleet(cdk.Stack(app, "Test"), "Fleet", github_repo="o/r")
    assert made.metric_runners_started().metric_name == "ExecutionsStarted"
    assert made.metric_runners_failed().metric_name == "ExecutionsFailed"
    assert made.metric_jobs_refused(period=cdk.Duration.minutes(1)).namespace == "RunnerFleet"
    assert made.metric_events_failed().namespace == "AWS/SQS"
