"""The sizes that jobs can ask for, as the functions read them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import RunnerClass
from cdk_runner_fleet.rooms.catalog import RunnerCatalog

from ..templates import Template, of_type


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
        ({"XL": RunnerClass(cpu=256, memory=512)}, "'XL' cannot be a label, use lower-case"),
    ],
)
def test_a_catalog_that_nobody_could_ask_is_refused(
    classes: Mapping[str, RunnerClass], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerCatalog(stack, "Catalog", classes=classes)
