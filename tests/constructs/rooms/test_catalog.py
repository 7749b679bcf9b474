"""The sizes that jobs can ask for, as the functions read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import assertions

from cdk_runner_fleet import RunnerClass, RunnerImage
from cdk_runner_fleet.rooms.catalog import RunnerCatalog
from cdk_runner_fleet.values.labels import LabelRules
from fleet_runtime.job import labels
from fleet_runtime.job.catalog import Catalog, Version
from fleet_runtime.job.labels import Refusal
from fleet_runtime.job.routing import ImageCapabilities, route

from ..templates import Template, of_type, template_of


def any_image(_: object) -> ImageCapabilities:
    return ImageCapabilities(declared=(), detected=["shell"], architectures=["X86_64", "ARM64"])


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


def sized(*labels: str, **more: Any) -> RunnerClass:
    return RunnerClass(cpu=512, memory=1024, **{"labels": labels} | more)


@pytest.mark.parametrize(
    "classes",
    [
        {"a": sized("gpu"), "b": sized("GPU")},
        {"a": sized("linux", "gpu"), "b": sized("gpu")},
        {"a": sized("gpu", "self-hosted"), "b": sized("self-hosted", "gpu", architecture="ARM64")},
        {"a": sized("gpu", capabilities=["python"]), "b": sized("gpu", "python")},
        {"a": sized("x"), "gpu": sized("gpu"), "b": sized("gpu", allow_images=False)},
        {"a": sized(labels=None), "b": sized("linux", "x64")},
    ],
    ids=["same", "fewer", "other-architecture", "by-capability", "third", "as-default"],
)
def test_labels_by_which_a_class_can_never_be_chosen_are_refused(
    classes: Mapping[str, RunnerClass], stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=r"^classes\['b'\] cannot be chosen by its labels \['"):
        RunnerCatalog(stack, "Catalog", classes=classes)
    # jobs agree, whatever they ask for: none of its labels leads to it
    catalog = Catalog.parse(json.dumps({name: c.to_catalog() for name, c in classes.items()}))
    named = sorted((classes["b"].choosable() or set()) | {"linux"})
    asked = [
        labels.read(["self-hosted", *some])
        for count in range(len(named) + 1)
        for some in combinations(named, count)
    ]
    for request in asked:
        found = route(request, catalog=catalog, image_of=any_image)
        assert isinstance(found, Refusal) or found.runner_class.name != "b"


@pytest.mark.parametrize(
    ("classes", "asked"),
    [
        ({"a": sized("gpu"), "b": sized("gpu", "big")}, ["big"]),
        ({"a": sized("gpu"), "b": sized("gpu", capabilities=["python"])}, ["gpu", "python"]),
        ({"a": sized("gpu", allow_images=False), "b": sized("gpu")}, ["gpu", "image:debian:13"]),
        ({"a": sized("gpu"), "b": sized("gpu", image=RunnerImage.built())}, ["class:b"]),
        ({"a": sized(labels=None), "b": sized(labels=None)}, ["class:b"]),
        ({"a": sized("gpu"), "b": sized()}, ["class:b"]),
        ({"a": sized("gpu"), "b": sized("self-hosted")}, ["class:b"]),
    ],
    ids=["own", "capability", "image", "own-image", "default", "none", "self-hosted"],
)
def test_a_class_that_a_job_can_choose_is_taken(
    classes: Mapping[str, RunnerClass], asked: list[str], stack: cdk.Stack
) -> None:
    RunnerCatalog(stack, "Catalog", classes=classes)
    catalog = Catalog.parse(json.dumps({name: c.to_catalog() for name, c in classes.items()}))
    found = route(labels.read(["self-hosted", *asked]), catalog=catalog, image_of=any_image)
    assert not isinstance(found, Refusal), found
    assert found.runner_class.name == "b"


def test_labels_of_githubs_own_runners_are_warned_of(stack: cdk.Stack) -> None:
    catalog = RunnerCatalog(stack, "Catalog", classes={"a": sized("Ubuntu-24.04", "ubuntu-house")})
    catalog.check_rules(LabelRules(single_labels={"macos-latest": "a", "dependabot": "a"}))
    warned = assertions.Annotations.from_stack(stack).find_warning(
        "*", assertions.Match.string_like_regexp("GitHub's own runners")
    )
    said = " ".join(str(each.entry.data) for each in warned)
    assert "label 'Ubuntu-24.04' of class 'a'" in said
    assert "single_labels 'macos-latest'" in said
    assert len(warned) == 2


def many(count: int) -> dict[str, RunnerClass]:
    return {f"size-{n}": RunnerClass(cpu=512, memory=1024) for n in range(count)}


def parts_of(stack: cdk.Stack) -> list[str]:
    parameters = of_type(template_of(stack), "AWS::SSM::Parameter")
    values = [parameter["Value"] for parameter in parameters]
    return sorted(values, key=lambda value: json.loads(value).get("$part", ""))


def test_a_catalog_that_a_standard_parameter_does_not_hold_becomes_an_advanced_one(
    stack: cdk.Stack,
) -> None:
    RunnerCatalog(stack, "Catalog", classes=many(60))
    [parameter] = of_type(template_of(stack), "AWS::SSM::Parameter")
    assert 4096 < len(parameter["Value"]) <= 8192
    assert parameter["Tier"] == "Intelligent-Tiering"
    assert len(json.loads(parameter["Value"])) == 60


def test_hundreds_of_classes_are_in_several_parameters_that_the_functions_read_as_one(
    stack: cdk.Stack,
) -> None:
    classes = many(300)
    room = RunnerCatalog(stack, "Catalog", classes=classes)
    parts = parts_of(stack)
    assert 1 < len(parts) <= 10
    assert len(room.parameters) == len(parts)
    for part in parts:
        assert len(part) <= 8192 - 1024, "there is room for what is added by hand"
    versions = [
        [Version(parameter=f"p{number}", number=1, text=text)] for number, text in enumerate(parts)
    ]
    catalog = Catalog.in_force(versions)
    assert list(catalog.classes) == list(classes), "in their order"
    assert catalog.faults == ()


def test_parts_say_which_classes_are_where_and_a_changed_size_moves_none() -> None:
    def layouts(classes: dict[str, RunnerClass]) -> set[str]:
        stack = cdk.Stack(cdk.App(analytics_reporting=False), "Test")
        RunnerCatalog(stack, "Catalog", classes=classes)
        marks = [json.loads(part)["$part"] for part in parts_of(stack)]
        assert [mark.split(",")[0] for mark in marks] == [
            f"{place} of {len(marks)}" for place in range(1, len(marks) + 1)
        ]
        return {mark.split(", ")[1] for mark in marks}

    before = layouts(many(100))
    changed = layouts(many(100) | {"size-3": RunnerClass(cpu=256, memory=512)})
    more = layouts({"first": RunnerClass(cpu=256, memory=512)} | many(100))
    assert len(before) == len(more) == 1
    assert changed == before
    assert more != before


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (many(600), r"classes has 600, which are \d+ bytes .* hold 6144 each: name fewer, or"),
        (
            {"long": RunnerClass(cpu=256, memory=512, labels=[f"{n:0250}" for n in range(40)])},
            r"classes\['long'\] is \d+ bytes of JSON, .* give it fewer or shorter values",
        ),
    ],
)
def test_a_catalog_that_the_parameters_do_not_hold_is_refused_with_the_remedy(
    stack: cdk.Stack, classes: dict[str, RunnerClass], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerCatalog(stack, "Catalog", classes=classes)


def test_a_number_of_a_parameter_is_known_at_deployment(stack: cdk.Stack) -> None:
    cpu = cdk.CfnParameter(stack, "Cpu", type="Number").value_as_number
    most: Any = cdk.CfnParameter(stack, "Most", type="Number").value_as_number
    sizes: Any = {"small": RunnerClass(cpu=cpu, memory=1024, max_runners=most)}
    RunnerCatalog(stack, "Catalog", classes=sizes)
    [parameter] = of_type(template_of(stack), "AWS::SSM::Parameter")
    assert {"Ref": "Cpu"} in parameter["Value"]["Fn::Join"][1]
    assert {"Ref": "Most"} in parameter["Value"]["Fn::Join"][1]
