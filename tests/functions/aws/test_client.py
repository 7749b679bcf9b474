"""Clients: each is made once, and of a service that the type lists."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from fleet_runtime.aws.client import Service, client

from ..aws_stand_in import Account, Aws

FUNCTIONS = Path(__file__).parents[3] / "functions"


def test_a_client_is_made_once(aws: Aws) -> None:
    assert client("dynamodb") is client("dynamodb")
    assert client("dynamodb") is not client("ecs")


def test_the_services_are_those_that_functions_ask_for() -> None:
    asked = {
        node.args[0].value
        for path in FUNCTIONS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "client"
        and isinstance(node.args[0], ast.Constant)
    }
    assert asked == set(get_args(Service))


def test_each_test_has_an_account_that_no_other_has_used(
    environment: pytest.MonkeyPatch, account: Account, request: pytest.FixtureRequest
) -> None:
    account.restore()
    client("dynamodb").put_item(TableName="images", Item={"image_tag": {"S": "left"}})
    client("ssm").put_parameter(Name="/left", Type="String", Value="left")
    client("secretsmanager").create_secret(Name="left", SecretString="left")
    aws = request.getfixturevalue("aws")
    assert aws.image("left") is None
    (parameter,) = client("ssm").describe_parameters()["Parameters"]
    (secret,) = client("secretsmanager").list_secrets()["SecretList"]
    assert (parameter["Name"], secret["Name"]) == ("/fleet/class-sizes", "github-token")
