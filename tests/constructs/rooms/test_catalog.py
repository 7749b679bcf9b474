"""The sizes that jobs can ask for, as the functions read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import RunnerClass
from cdk_runner_fleet.rooms.catalog import RunnerCatalog

from ..templates import Template, of_type, template_of


def test_classes_reach_the_catalog(everything: Template, beside_ready: Template) -> None:
    [parameter] = of_type(beside_ready, "AWS::SSM::Parameter")
    assert json.loads(parameter["Value"])["small"] == {
        "cpu": 256,
        "memory": 512,
        "architecture": "X86_64",
        "labels": ["linux", "x64"],
        "capacity": ["FARGATE"],
    }
    [parameter] = of_type(everything, "AWS::SSM::Parameter")
    assert json.loads(parameter["Value"])["spot"]["max_runners"] == 5


def test_there_are_three_sizes_unless_some_are_given(minimal: Template) -> None:
    [parameter] = of_type(minimal, "AWS::SSM::Parameter")
    sizes = {n: (c["cpu"], c["memory"]) for n, c in json.loads(parameter["Value"]).items()}
    assert sizes == {"small": (512, 1024), "medium": (1024, 2048), "large": (2048, 4096)}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "at least one class"),
        ({"XL": RunnerClass(cpu=256, memory=512)}, "'XL', which cannot be a label, use lower-case"),
    ],
)
def test_a_catalog_that_nobody_could_ask_is_refused(
    classes: Mapping[str, RunnerClass], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerCatalog(stack, "Catalog", classes=classes)


def many(count: int) -> dict[str, RunnerClass]:
    return {f"size-{n}": RunnerClass(cpu=512, memory=1024) for n in range(count)}


def test_a_catalog_that_a_standard_parameter_does_not_hold_becomes_an_advanced_one(
    stack: cdk.Stack,
) -> None:
    RunnerCatalog(stack, "Catalog", classes=many(60))
    [parameter] = of_type(template_of(stack), "AWS::SSM::Parameter")
    assert 4096 < len(parameter["Value"]) <= 8192
    assert parameter["Tier"] == "Intelligent-Tiering"
    assert len(json.loads(parameter["Value"])) == 60


def test_a_catalog_that_no_parameter_holds_is_refused_with_the_remedy(stack: cdk.Stack) -> None:
    with pytest.raises(
        ValueError, match=r"classes has 100, which are \d+ bytes .* holds 8192: name"
    ):
        RunnerCatalog(stack, "Catalog", classes=many(100))


def test_a_number_of_a_parameter_is_known_at_deployment(stack: cdk.Stack) -> None:
    cpu = cdk.CfnParameter(stack, "Cpu", type="Number").value_as_number
    most: Any = cdk.CfnParameter(stack, "Most", type="Number").value_as_number
    sizes: Any = {"small": RunnerClass(cpu=cpu, memory=1024, max_runners=most)}
    RunnerCatalog(stack, "Catalog", classes=sizes)
    [parameter] = of_type(template_of(stack), "AWS::SSM::Parameter")
    assert {"Ref": "Cpu"} in parameter["Value"]["Fn::Join"][1]
    assert {"Ref": "Most"} in parameter["Value"]["Fn::Join"][1]
