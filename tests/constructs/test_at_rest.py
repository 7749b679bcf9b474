"""What a fleet keeps: encrypted with its owner's key, and decrypted by nobody but who has to."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms

from cdk_runner_fleet import GitHub, RunnerFleet
from cdk_runner_fleet._at_rest import DataAtRest

from . import fleets
from .fleets import KEY_ARN
from .templates import Template, as_list, of_type, policies

ROOT = Path(__file__).parent.parent.parent
KEYS = {
    "AWS::CodeBuild::Project": "EncryptionKey",
    "AWS::DynamoDB::GlobalTable": "Replicas/0/SSESpecification/KMSMasterKeyId",
    "AWS::ECR::Repository": "EncryptionConfiguration/KmsKey",
    "AWS::ECS::Cluster": (
        "Configuration/ManagedStorageConfiguration/FargateEphemeralStorageKmsKeyId"
    ),
    "AWS::Events::Archive": "KmsKeyIdentifier",
    "AWS::Events::EventBus": "KmsKeyIdentifier",
    "AWS::Lambda::Function": "KmsKeyArn",
    "AWS::Logs::LogGroup": "KmsKeyId",
    "AWS::SQS::Queue": "KmsMasterKeyId",
    "AWS::SecretsManager::Secret": "KmsKeyId",
    "AWS::StepFunctions::StateMachine": "EncryptionConfiguration/KmsKeyId",
}
"""Where each type has its key."""
KEYLESS = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route",
    "AWS::ApiGatewayV2::Stage",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::ECS::TaskDefinition",
    "AWS::Events::Rule",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::KMS::Key",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Permission",
    "AWS::SQS::QueuePolicy",
    # a SecureString alone is encrypted with a key, and CloudFormation makes none
    "AWS::SSM::Parameter",
}
"""Types that hold nothing that a key could encrypt."""


def key_of(template: Template) -> dict[str, Any]:
    [logical_id] = [
        name for name, one in template["Resources"].items() if one["Type"] == "AWS::KMS::Key"
    ]
    return {"Fn::GetAtt": [logical_id, "Arn"]}


def found_at(properties: Any, path: str) -> Any:
    for name in path.split("/"):
        if properties is None:
            return None
        properties = properties[int(name)] if name.isdigit() else properties.get(name)
    return properties


def test_all_that_takes_a_key_has_it(encrypted: Template) -> None:
    for kind, path in KEYS.items():
        every = of_type(encrypted, kind)
        assert every, kind
        for properties in every:
            assert found_at(properties, path) == key_of(encrypted), (kind, properties)
    tables = of_type(encrypted, "AWS::DynamoDB::GlobalTable")
    assert {json.dumps(one["SSESpecification"]) for one in tables} == {
        '{"SSEEnabled": true, "SSEType": "KMS"}'
    }


def test_of_each_type_is_known_whether_it_takes_a_key(encrypted: Template) -> None:
    assert {one["Type"] for one in encrypted["Resources"].values()} == KEYS.keys() | KEYLESS


def test_all_logs_are_kept_as_long_as_is_said(encrypted: Template, minimal: Template) -> None:
    for template, days in ((encrypted, 365), (minimal, 30)):
        groups = of_type(template, "AWS::Logs::LogGroup")
        assert {one["RetentionInDays"] for one in groups} == {days}


def test_cloudformation_finds_an_order_in_which_it_is_made(encrypted: Template) -> None:
    """A key whose policy names what has the key could never be made."""
    graph = {
        name: {ref for ref in _references(one) if ref in encrypted["Resources"]}
        for name, one in encrypted["Resources"].items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from as_list(value.get("DependsOn", []))
        if isinstance(value.get("Ref"), str):
            yield value["Ref"]
        if "Fn::GetAtt" in value:
            yield value["Fn::GetAtt"][0]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


NEEDS: Mapping[str, Callable[[str], bool]] = {
    "dynamodb": lambda action: action.startswith("dynamodb:"),
    "secretsmanager": lambda action: action == "secretsmanager:GetSecretValue",
    "s3": lambda action: action == "ecr:PutImage",  # the builder's
    "sqs": lambda action: action == "sqs:SendMessage",
    "states": lambda action: action == "states:DescribeExecution",
}
"""What of a service's a role may that the service decrypts something for."""


def test_each_role_has_decrypted_what_it_may_read_and_nothing_else(encrypted: Template) -> None:
    functions = {
        one["Role"]["Fn::GetAtt"][0]
        for one in of_type(encrypted, "AWS::Lambda::Function")
        if "Role" in one
    }
    granted: dict[str, set[str]] = defaultdict(set)
    needed: dict[str, set[str]] = defaultdict(set)
    for role, document in policies(encrypted):
        needed[role] |= {"lambda"} if role in functions else set()
        for statement in document["Statement"]:
            actions = as_list(statement["Action"])
            needed[role] |= {
                name for name, needs in NEEDS.items() if any(needs(one) for one in actions)
            }
            if any(one.startswith("kms:") for one in actions):
                assert statement["Resource"] == key_of(encrypted)
                assert set(actions) <= {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"}
                via = statement["Condition"].get("StringEquals", {}).get("kms:ViaService", [])
                granted[role] |= {re.findall(r'"(\w+)\.', json.dumps(one))[0] for one in via}
    assert any("secretsmanager" in each for each in needed.values())
    for role, services in needed.items():
        assert granted[role] == services, role


def test_the_machines_own_role_encrypts_its_executions_and_their_logs(encrypted: Template) -> None:
    contexts = {
        name: as_list(statement["Action"])
        for role, document in policies(encrypted)
        if "StateMachineRole" in role
        for statement in document["Statement"]
        for condition in statement.get("Condition", {}).values()
        for name in condition
        if name.startswith("kms:EncryptionContext")
    }
    assert contexts == {
        "kms:EncryptionContext:aws:states:stateMachineArn": ["kms:Decrypt", "kms:GenerateDataKey"],
        "kms:EncryptionContext:SourceArn": ["kms:GenerateDataKey"],
    }


def test_services_use_the_key_for_this_account_alone(encrypted: Template) -> None:
    [key] = of_type(encrypted, "AWS::KMS::Key")
    of_services = [
        one for one in key["KeyPolicy"]["Statement"] if "Service" in one.get("Principal", {})
    ]
    assert {json.dumps(one["Principal"]["Service"]) for one in of_services} == {
        '"delivery.logs.amazonaws.com"',
        '"events.amazonaws.com"',
        '"fargate.amazonaws.com"',
        json.dumps(
            {"Fn::Join": ["", ["logs.", {"Ref": "AWS::Region"}, ".", {"Ref": "AWS::URLSuffix"}]]}
        ),
    }
    for statement in of_services:
        if statement["Action"] != "kms:DescribeKey":
            assert "AWS::AccountId" in json.dumps(statement["Condition"]), statement


def test_what_cannot_be_encrypted_on_the_bus_waits_in_the_queue(encrypted: Template) -> None:
    [bus] = of_type(encrypted, "AWS::Events::EventBus")
    [policy] = of_type(encrypted, "AWS::SQS::QueuePolicy")
    [logical_id] = [
        name for name, one in encrypted["Resources"].items() if one["Type"] == "AWS::SQS::Queue"
    ]
    assert bus["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": [logical_id, "Arn"]}}
    senders = [
        json.dumps(one["Condition"])
        for one in policy["PolicyDocument"]["Statement"]
        if one["Action"] == "sqs:SendMessage"
    ]
    assert [one for one in senders if "FleetPlatformEventBus" in one and "Rule" not in one]


def test_a_key_of_another_stack_is_taken() -> None:
    app = cdk.App(analytics_reporting=False)
    key = kms.Key(cdk.Stack(app, "Keys"), "Key")
    stack = cdk.Stack(app, "Test")
    RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), encryption_key=key)
    assembly = app.synth()
    keys, fleet = (assembly.get_stack_by_name(name) for name in ("Keys", "Test"))
    assert [one.id for one in fleet.dependencies if one.id == "Keys"]
    [policy] = [
        one["Properties"]["KeyPolicy"]
        for one in keys.template["Resources"].values()
        if one["Type"] == "AWS::KMS::Key"
    ]
    assert "fargate.amazonaws.com" in json.dumps(policy)


def _imported(stack: cdk.Stack, arn: str) -> kms.IKey:
    return kms.Key.from_key_arn(stack, "Key", arn)


def _own(stack: cdk.Stack, **props: Any) -> kms.IKey:
    return kms.Key(stack, "Key", **props)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda stack: kms.Alias.from_alias_name(stack, "Key", "alias/ours"),
            "encryption_key is an alias, .*: give the key that it stands for, such as kms.Key.from",
        ),
        (
            lambda stack: _own(stack, key_spec=kms.KeySpec.RSA_2048),
            "encryption_key is a key of RSA_2048, .*: leave key_spec out",
        ),
        (
            lambda stack: _imported(stack, KEY_ARN.replace("eu-west-3", "us-east-1")),
            f"encryption_key {KEY_ARN.replace('eu-west-3', 'us-east-1')} is in us-east-1 and the",
        ),
        (
            lambda stack: _imported(stack, KEY_ARN.replace("key/", "key/mrk-")),
            "encryption_key Test/Key is a multi-Region key, .*: give a key of this region alone",
        ),
        (
            lambda stack: _own(stack, multi_region=True),
            "encryption_key Test/Key is a multi-Region key",
        ),
    ],
)
def test_a_key_that_cannot_encrypt_it_all_is_refused(
    make: Callable[[cdk.Stack], kms.IKey], message: str
) -> None:
    stack = cdk.Stack(
        cdk.App(analytics_reporting=False), "Test", env=cdk.Environment(region="eu-west-3")
    )
    with pytest.raises(ValueError, match=f"^{message}"):
        RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), encryption_key=make(stack))


def test_an_imported_keys_policy_is_its_owners_to_write(stack: cdk.Stack) -> None:
    DataAtRest(stack, encryption_key=kms.Key(stack, "Own"))
    assert not _warnings(stack)
    DataAtRest(stack, encryption_key=kms.Key.from_key_arn(stack, "Imported", KEY_ARN))
    [warning] = _warnings(stack)
    assert "lets CloudWatch Logs, EventBridge and Fargate use the key" in warning


def _warnings(stack: cdk.Stack) -> list[str]:
    return [str(one.data) for one in stack.node.metadata if one.type == "aws:cdk:warning"]


def test_the_page_has_what_the_policy_of_an_imported_key_has_to_say() -> None:
    page = (ROOT / "docs" / "own-resources.md").read_text(encoding="utf-8")
    [written] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    here = cdk.Environment(account="123456789012", region="eu-west-3")
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test", env=here)
    fleets.encrypted(stack)
    key = stack.node.find_child("Key").node.default_child
    assert isinstance(key, kms.CfnKey)
    made = json.dumps(stack.resolve(key.key_policy))
    made = made.replace('{"Ref": "AWS::Partition"}', '"aws"')
    policy = json.loads(made)["Statement"]
    said = [_plain(one) for one in policy if "Service" in one["Principal"]]
    assert json.loads(written) == said


def _plain(value: Any) -> Any:
    """With joins of texts as texts."""
    if isinstance(value, dict):
        if "Fn::Join" in value:
            parts = [
                "amazonaws.com" if isinstance(one, dict) else one for one in value["Fn::Join"][1]
            ]
            return "".join(parts)
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
