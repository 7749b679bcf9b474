"""Conditions of permissions, as AWS's own reference lists them for each action."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cdk_runner_fleet.local.emulator.access import Keys, role_session

from .harness import Emulator


@pytest.fixture
def bus(emulator: Emulator) -> Iterator[str]:
    name = f"bus-{uuid.uuid4().hex[:8]}"
    yield emulator.client("events").create_event_bus(Name=name)["EventBusArn"]
    emulator.client("events").delete_event_bus(Name=name)


def user(emulator: Emulator, service: str, statement: dict[str, Any]) -> Any:
    """A client of a user who may do that alone."""
    iam, name = emulator.client("iam"), f"user-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return emulator.client(service, keys=(key["AccessKeyId"], key["SecretAccessKey"]))


def is_let(call: Any, **request: Any) -> bool:
    try:
        call(**request)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDeniedException"
        return False
    return True


def test_several_parameters_are_read_by_who_may_read_each(emulator: Emulator) -> None:
    """Service Authorization Reference: ``GetParameters`` is allowed on parameters."""
    own = emulator.client("ssm")
    for name in ("/access/one", "/access/two", "CFN-plain"):
        own.put_parameter(Name=name, Type="String", Value=name, Overwrite=True)
    arns = [
        own.get_parameter(Name=name)["Parameter"]["ARN"] for name in ("/access/one", "CFN-plain")
    ]
    ssm = user(emulator, "ssm", {"Action": "ssm:GetParameter*", "Resource": arns})
    assert is_let(ssm.get_parameters, Names=["/access/one", "CFN-plain"])
    assert is_let(ssm.get_parameter_history, Name="CFN-plain")
    for names in (["/access/two"], ["/access/one", "/access/two"]):
        assert not is_let(ssm.get_parameters, Names=names)


def test_events_are_put_by_source_and_detail_type(emulator: Emulator, bus: str) -> None:
    """Service Authorization Reference, "Condition keys for Amazon EventBridge": lists both."""
    events = user(
        emulator,
        "events",
        {
            "Action": "events:PutEvents",
            "Resource": bus,
            "Condition": {
                "ForAllValues:StringEquals": {
                    "events:source": ["ours"],
                    "events:detail-type": ["a", "b"],
                },
                "Null": {"events:source": "false", "events:detail-type": "false"},
            },
        },
    )

    def put(*kinds: tuple[str, str]) -> bool:
        entries = [
            {"EventBusName": bus, "Source": source, "DetailType": kind, "Detail": "{}"}
            for source, kind in kinds
        ]
        return is_let(events.put_events, Entries=entries)

    assert put(("ours", "a"))
    assert put(("ours", "a"), ("ours", "b"))
    assert not put(("ours", "c"))
    assert not put(("theirs", "a"))
    assert not put(("ours", "a"), ("ours", "c"))


def test_builds_are_started_without_the_overrides_that_are_refused(emulator: Emulator) -> None:
    """Service Authorization Reference, "Condition keys for AWS CodeBuild"."""
    codebuild = user(
        emulator,
        "codebuild",
        {
            "Action": "codebuild:StartBuild",
            "Resource": "*",
            "Condition": {
                "ForAllValues:StringEquals": {
                    "codebuild:environment.environmentVariables.name": ["TAG"]
                },
                "Null": {
                    "codebuild:source.buildspec": "true",
                    "codebuild:source.location": "true",
                    "codebuild:environment.image": "true",
                },
            },
        },
    )

    def start(**overrides: Any) -> bool:
        try:
            codebuild.start_build(projectName="none", **overrides)
        except ClientError as error:
            # there is no such project: who may start builds is told so
            return error.response["Error"]["Code"] != "AccessDeniedException"
        return True

    def variables(*names: str) -> dict[str, Any]:
        return {
            "environmentVariablesOverride": [
                {"name": name, "value": "v", "type": "PLAINTEXT"} for name in names
            ]
        }

    assert start()
    assert start(**variables("TAG"), timeoutInMinutesOverride=30)
    assert not start(**variables("TAG", "PATH"))
    assert not start(buildspecOverride="version: 0.2")
    assert not start(sourceLocationOverride="bucket/key.zip")
    assert not start(imageOverride="evil.example/image")


def test_roles_are_assumed_by_many_at_once(emulator: Emulator) -> None:
    """Each task, build and invocation does, in a thread of its own."""

    def sessions_of(caller: int) -> list[Keys]:
        role = "arn:aws:iam::123456789012:role/many"
        return [role_session(role, session_name=f"{caller}-{turn}") for turn in range(200)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as callers:
            keys = [one for each in callers.map(sessions_of, range(8)) for one in each]
    finally:
        sys.setswitchinterval(interval)
    assert len({one.access_key_id for one in keys}) == 1600
