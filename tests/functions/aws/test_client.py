"""Clients: each is made once, and of a service that the type lists."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

from fleet_runtime.aws.client import Service, client

from ..conftest import Account, Aws

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


def test_each_test_has_an_account_that_no_other_has_used(aws: Aws, account: Account) -> None:
    aws.put_row(status="RUNNING")
    aws.put_image(image_tag="left")
    aws.hold_turn("left")
    client("ssm").put_parameter(Name="/left", Type="String", Value="left")
    account.restore()
    assert (aws.row(), aws.image("left"), aws.holders) == (None, None, [])
    assert client("ssm").describe_parameters()["Parameters"] == []
