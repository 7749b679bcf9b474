"""An updated stack: what stays, what is changed, what is replaced, what is refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet.local.emulator.updates import _TYPES
from tests.local.emulator.harness import Emulator, eventually

SNAPSHOTS = Path(__file__).parents[2] / "constructs" / "__snapshots__" / "test_snapshots"
Resources = dict[str, dict[str, Any]]


def resource(kind: str, /, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::{kind}", "Properties": properties}


def table(*, key: str = "id", indexes: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    keys = {name: [{"AttributeName": name, "KeyType": "HASH"}] for name in (key, *indexes)}
    return resource(
        "DynamoDB::GlobalTable",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        KeySchema=keys[key],
        BillingMode="PAY_PER_REQUEST",
        Replicas=[{"Region": "us-east-1"}],
        **(
            {
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": name,
                        "KeySchema": keys[name],
                        "Projection": {"ProjectionType": "ALL"},
                    }
                    for name in indexes
                ]
            }
            if indexes
            else {}
        ),
        **changes,
    )


def role() -> dict[str, Any]:
    return resource(
        "IAM::Role",
        AssumeRolePolicyDocument={
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "sts:AssumeRole",
                    "Principal": {"Service": ["states.amazonaws.com", "lambda.amazonaws.com"]},
                }
            ]
        },
    )


def function(**changes: Any) -> dict[str, Any]:
    code = "import os\ndef handler(event, context):\n    return os.environ['SAYS']"
    properties = {
        "Code": {"ZipFile": code},
        "Handler": "index.handler",
        "Runtime": "python3.14",
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Environment": {"Variables": {"SAYS": "first"}},
    }
    return resource("Lambda::Function", **properties | changes)


def machine(*, seconds: int, says: str) -> dict[str, Any]:
    states = {
        "Wait": {"Type": "Wait", "Seconds": seconds, "Next": "Say"},
        "Say": {"Type": "Pass", "Output": {"says": says}, "End": True},
    }
    definition = {"QueryLanguage": "JSONata", "StartAt": "Wait", "States": states}
    return resource(
        "StepFunctions::StateMachine",
        DefinitionString=json.dumps(definition),
        RoleArn={"Fn::GetAtt": ["Role", "Arn"]},
    )


class Stack:
    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.name = f"stack-{uuid.uuid4().hex[:8]}"
        self.cloudformation = emulator.client("cloudformation")

    def create(self, resources: Resources) -> None:
        assert self._put(self.cloudformation.create_stack, resources) == "CREATE_COMPLETE"

    def update(self, resources: Resources) -> str:
        return self._put(self.cloudformation.update_stack, resources)

    def _put(self, operation: Any, resources: Resources) -> str:
        operation(StackName=self.name, TemplateBody=json.dumps({"Resources": resources}),
                  Capabilities=["CAPABILITY_NAMED_IAM"])  # fmt: skip

        def status() -> str | None:
            stack = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
            found: str = stack["StackStatus"]
            return None if found.endswith("IN_PROGRESS") else found

        return str(eventually(status))

    def physical(self) -> dict[str, str]:
        listed = self.cloudformation.describe_stack_resources(StackName=self.name)
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in listed["StackResources"]
        }

    def reasons(self) -> list[str]:
        """Why resources failed, the last one first."""
        events = self.cloudformation.describe_stack_events(StackName=self.name)["StackEvents"]
        return [
            event["ResourceStatusReason"]
            for event in events
            if event["ResourceStatus"] == "UPDATE_FAILED"
            and event["LogicalResourceId"] != self.name
        ]


@pytest.fixture
def stack(emulator: Emulator) -> Iterator[Stack]:
    made = Stack(emulator)
    yield made
    made.cloudformation.delete_stack(StackName=made.name)


def test_rows_messages_and_values_stay_while_their_resources_change(stack: Stack) -> None:
    secret = {"GenerateSecretString": {"PasswordLength": 20, "ExcludePunctuation": True}}
    before = {
        "Rows": table(),
        "Failed": resource("SQS::Queue", MessageRetentionPeriod=60),
        "Sizes": resource("SSM::Parameter", Type="String", Value="{}"),
        "Token": resource("SecretsManager::Secret", **secret),
        "Bus": resource("Events::EventBus", Name=f"{stack.name}-bus"),
        "Archive": resource(
            "Events::Archive", SourceArn={"Fn::GetAtt": ["Bus", "Arn"]}, RetentionDays=1
        ),
        "Left": resource("SQS::Queue"),
    }
    stack.create(before)
    names = stack.physical()
    dynamodb, sqs, ssm, secrets, events = (
        stack.emulator.client(name)
        for name in ("dynamodb", "sqs", "ssm", "secretsmanager", "events")
    )
    dynamodb.put_item(TableName=names["Rows"], Item={"id": {"S": "a"}, "status": {"S": "RUNNING"}})
    sqs.send_message(QueueUrl=names["Failed"], MessageBody="m")
    ssm.put_parameter(Name=names["Sizes"], Value='{"by": "hand"}', Overwrite=True)
    value = secrets.get_secret_value(SecretId=names["Token"])["SecretString"]

    after = {
        **before,
        "Rows": table(indexes=("status",)),
        "Failed": resource("SQS::Queue", MessageRetentionPeriod=120),
        "Token": resource("SecretsManager::Secret", Description="of the fleet", **secret),
        "Sizes": resource("SSM::Parameter", Type="String", Value="{}", Description="classes"),
        "Archive": resource(
            "Events::Archive", SourceArn={"Fn::GetAtt": ["Bus", "Arn"]}, RetentionDays=7
        ),
        "More": resource("SQS::Queue"),
    }
    del after["Left"]
    assert stack.update(after) == "UPDATE_COMPLETE", stack.reasons()

    kept = stack.physical()
    gone = names.pop("Left")
    assert kept.pop("More")
    assert kept == names
    found = dynamodb.query(
        TableName=names["Rows"], IndexName="status", KeyConditionExpression="#s = :s",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": "RUNNING"}},
    )  # fmt: skip
    assert [row["id"]["S"] for row in found["Items"]] == ["a"]
    queue = sqs.get_queue_attributes(QueueUrl=names["Failed"], AttributeNames=["All"])["Attributes"]
    assert queue["MessageRetentionPeriod"] == "120"
    assert sqs.receive_message(QueueUrl=names["Failed"])["Messages"][0]["Body"] == "m"
    assert secrets.describe_secret(SecretId=names["Token"])["Description"] == "of the fleet"
    assert secrets.get_secret_value(SecretId=names["Token"])["SecretString"] == value
    assert events.describe_archive(ArchiveName=names["Archive"])["RetentionDays"] == 7
    assert gone not in sqs.list_queues()["QueueUrls"]
    # a changed property puts the whole parameter as the template has it
    assert ssm.get_parameter(Name=names["Sizes"])["Parameter"]["Value"] == "{}"


def test_what_was_edited_by_hand_stays_as_long_as_its_resource_does_not_change(
    stack: Stack,
) -> None:
    sizes = resource("SSM::Parameter", Type="String", Value="{}")
    stack.create({"Sizes": sizes})
    ssm, name = stack.emulator.client("ssm"), stack.physical()["Sizes"]
    ssm.put_parameter(Name=name, Value="by hand", Overwrite=True)
    assert stack.update({"Sizes": sizes, "More": resource("SQS::Queue")}) == "UPDATE_COMPLETE"
    assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == "by hand"


def test_an_execution_goes_on_by_the_definition_that_it_began_with(stack: Stack) -> None:
    stack.create({"Role": role(), "Machine": machine(seconds=1, says="old")})
    arn, states = stack.physical()["Machine"], stack.emulator.client("stepfunctions")

    def result(execution: str) -> Any:
        def output() -> Any:
            return states.describe_execution(executionArn=execution).get("output")

        return json.loads(eventually(output))

    begun = states.start_execution(stateMachineArn=arn)["executionArn"]
    changed = {"Role": role(), "Machine": machine(seconds=0, says="new")}
    assert stack.update(changed) == "UPDATE_COMPLETE", stack.reasons()
    assert stack.physical()["Machine"] == arn
    then = states.start_execution(stateMachineArn=arn)["executionArn"]
    assert result(then) == {"says": "new"}
    assert result(begun) == {"says": "old"}

    broken = resource(
        "StepFunctions::StateMachine",
        DefinitionString='{"StartAt": "No", "States": {}}',
        RoleArn={"Fn::GetAtt": ["Role", "Arn"]},
    )
    assert stack.update({"Role": role(), "Machine": broken}) == "UPDATE_ROLLBACK_COMPLETE"
    assert "Invalid State Machine Definition" in stack.reasons()[0]
    last = states.start_execution(stateMachineArn=arn)["executionArn"]
    assert result(last) == {"says": "new"}


def test_a_function_runs_its_new_code_with_its_new_environment(stack: Stack) -> None:
    stack.create({"Role": role(), "Function": function()})
    name, client = stack.physical()["Function"], stack.emulator.client("lambda")

    def says() -> Any:
        return json.load(client.invoke(FunctionName=name)["Payload"])

    assert says() == "first"
    changed = function(Environment={"Variables": {"SAYS": "second"}})
    assert stack.update({"Role": role(), "Function": changed}) == "UPDATE_COMPLETE"
    assert (stack.physical()["Function"], says()) == (name, "second")
    code = {"ZipFile": "def handler(event, context):\n    return 'third'"}
    assert stack.update({"Role": role(), "Function": function(Code=code)}) == "UPDATE_COMPLETE"
    assert (stack.physical()["Function"], says()) == (name, "third")


def test_a_changed_task_definition_is_another_revision_and_the_old_one_launches_no_more(
    stack: Stack,
) -> None:
    def definition(memory: str) -> Resources:
        container = {"Name": "runner", "Image": "busybox", "Essential": True}
        return {
            "Task": resource(
                "ECS::TaskDefinition",
                Family=stack.name,
                Cpu="256",
                Memory=memory,
                NetworkMode="awsvpc",
                RequiresCompatibilities=["FARGATE"],
                ContainerDefinitions=[container],
            )
        }

    stack.create(definition("512"))
    first = stack.physical()["Task"]
    assert stack.update(definition("1024")) == "UPDATE_COMPLETE", stack.reasons()
    second = stack.physical()["Task"]
    assert (first[-2:], second[-2:]) == (":1", ":2")
    ecs = stack.emulator.client("ecs")
    status = {
        arn: ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]["status"]
        for arn in (first, second)
    }
    assert status == {first: "INACTIVE", second: "ACTIVE"}


def test_a_table_with_another_key_is_another_table(stack: Stack) -> None:
    stack.create({"Rows": table()})
    before = stack.physical()["Rows"]
    assert stack.update({"Rows": table(key="runner_id")}) == "UPDATE_COMPLETE", stack.reasons()
    after = stack.physical()["Rows"]
    assert after != before
    assert before not in stack.emulator.client("dynamodb").list_tables()["TableNames"]


def named(*, key: str = "id") -> Resources:
    return {"Rows": table(key=key, TableName="rows-of-their-own")}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (
            named(),
            named(key="other"),
            "CloudFormation cannot update a stack when a custom-named resource requires replacing. "
            "Rename rows-of-their-own and update the stack again.",
        ),
        (
            {"Rows": table()},
            {"Rows": table(indexes=("a", "b"))},
            "Cannot perform more than one GSI creation or deletion in a single update: ['a', 'b']",
        ),
        (
            {"Failed": resource("SQS::Queue")},
            {"Failed": resource("SQS::Queue", DelaySeconds=5, MaximumMessageSize=1024)},
            "the emulator does not know what an update of DelaySeconds, MaximumMessageSize does to "
            "a resource of type AWS::SQS::Queue; it knows those in local/emulator/updates.py",
        ),
        (
            {"Topic": resource("SNS::Topic")},
            {"Topic": resource("SNS::Topic", DisplayName="other")},
            "the emulator does not know what an update of DisplayName does to a resource of type "
            "AWS::SNS::Topic; it knows those in local/emulator/updates.py",
        ),
    ],
    ids=["a custom name", "two indexes at once", "an unknown property", "an unknown type"],
)
def test_what_is_refused_is_named_and_changes_nothing(
    stack: Stack, before: Resources, after: Resources, reason: str
) -> None:
    stack.create(before)
    names = stack.physical()
    assert stack.update({"First": resource("SQS::Queue"), **after}) == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.reasons()[0] == reason
    assert stack.physical() == names


def test_all_that_a_fleet_has_can_be_updated_but_its_network() -> None:
    least, most = (
        json.loads((SNAPSHOTS / f"{name}.json").read_text(encoding="utf-8"))["Resources"].values()
        for name in ("test_minimal", "test_everything")
    )
    kinds = {one["Type"] for one in least}
    assert {kind.rpartition("::")[0] for kind in kinds - _TYPES.keys()} == {"AWS::EC2"}
    unknown = {
        f"{one['Type']}.{name}"
        for one in (*least, *most)
        if one["Type"] in _TYPES
        for name in _TYPES[one["Type"]].unknown(set(one.get("Properties", {})))
    }
    assert not unknown
