"""Runner classes: what can be given, and that the functions read what is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import CfnParameter, Duration, Stack

from cdk_runner_fleet.values import timeouts
from cdk_runner_fleet.values.runner_class import (
    ARCHITECTURES,
    EPHEMERAL_STORAGE_GIB,
    RunnerClass,
)
from fleet_runtime.job import catalog
from fleet_runtime.job.catalog import Catalog


def small(**more: Any) -> RunnerClass:
    return RunnerClass(cpu=512, memory=1024, **more)


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({}, {"linux", "x64"}),
        ({"architecture": "ARM64"}, {"linux", "arm64"}),
        ({"labels": ["GPU"]}, {"gpu"}),
        ({"labels": []}, set()),
        ({"architecture": "ARM64", "labels": ("mine",)}, {"mine"}),
        ({"capabilities": ["Python", "c++"], "max_runners": 2}, {"linux", "x64"}),
        ({"ephemeral_storage": 200}, {"linux", "x64"}),
        (
            {
                "boot_timeout": Duration.minutes(15),
                "idle_timeout": Duration.seconds(60),
                "job_timeout": Duration.hours(2),
            },
            {"linux", "x64"},
        ),
    ],
)
def test_the_functions_read_what_a_class_writes(given: dict[str, Any], labels: set[str]) -> None:
    entry = small(**given).to_catalog()
    found = Catalog.parse(json.dumps({"a": entry})).find("a")
    assert isinstance(found, catalog.RunnerClass), found
    assert found.labels == labels
    assert found.architecture == given.get("architecture", "X86_64")
    assert found.capabilities == tuple(map(str.lower, given.get("capabilities", ())))
    assert found.max_runners == given.get("max_runners")
    assert found.ephemeral_storage == given.get("ephemeral_storage", 20)
    assert found.timeouts == (
        {"boot": 900, "idle": 60, "job": 7200} if "job_timeout" in given else {}
    )


def test_both_sides_have_the_same_defaults() -> None:
    assert EPHEMERAL_STORAGE_GIB[0] == catalog.DEFAULT_STORAGE_GIB + 1
    assert EPHEMERAL_STORAGE_GIB[-1] == catalog.LARGEST_STORAGE_GIB
    assert ARCHITECTURES == catalog.ARCHITECTURES
    for architecture in ARCHITECTURES:
        written = small(architecture=architecture).to_catalog()
        shortest = {"cpu": 512, "memory": 1024, "architecture": architecture}
        classes = Catalog.parse(json.dumps({"written": written, "shortest": shortest})).classes
        written_class, shortest_class = classes.values()
        assert isinstance(written_class, catalog.RunnerClass)
        assert isinstance(shortest_class, catalog.RunnerClass)
        assert written_class.labels == shortest_class.labels


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"architecture": "arm64"}, r"architecture 'arm64' is not Fargate's, use one of \['X86_64"),
        ({"labels": ["a,b"]}, "label 'a,b' of labels of a class is none that a job can ask for"),
        ({"labels": ["größe"]}, "use 1 to 256 letters, digits, spaces and"),
        ({"labels": [""]}, "none that a job can ask for"),
        ({"labels": ["Class:x"]}, "class: and image: choose a size and an image"),
        ({"labels": ["GPU", "gpu"]}, "'GPU' and 'gpu', which are one label to GitHub: name it on"),
        ({"capabilities": []}, "capabilities of a class are none, .* or leave it out"),
        ({"capabilities": ["a,b"]}, "capability 'a,b' of a class cannot be a label"),
        ({"capabilities": ["ok", "class:x"]}, "capability 'class:x'"),
        ({"capabilities": ["x" * 64]}, "cannot be a label"),
        ({"environment": {"1A": ""}}, "environment of a class has '1A', which is no variable's na"),
        *(
            ({"environment": {name: ""}}, f"has '{name}', by which the fleet tells a runner what")
            for name in (
                "RUNNER_ID",
                "FLEET_URL",
                "JOBS_HOLD_TASK_ROLE",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "ACTIONS_RUNNER_INPUT_JITCONFIG",
            )
        ),
        ({"environment": {"A": "x" * 4096}}, "is 4104 characters of JSON, and a task can be told"),
        ({"tags": {"aws:x": ""}}, "'aws:x', and names that begin with aws: are AWS's"),
        ({"tags": {"Runner-Fleet:class": ""}}, "with runner-fleet: the fleet's"),
        ({"tags": {"": "x"}}, "which ECS does not take"),
        ({"tags": {"x" * 129: ""}}, "up to 128 in a name"),
        ({"tags": {"a": "x" * 257}}, "256 in a value"),
        ({"tags": {"a": "b?"}}, r"tags of a class have 'a': 'b\?', which ECS does not take"),
        ({"tags": {str(n): "" for n in range(48)}}, "are 48, and ECS takes 47 .* leave out 1"),
        (
            {"runner_group": "g"},
            "runner_group 'g' of a class would not hold, .* allow_images=False",
        ),
        ({"runner_group": "", "allow_images": False}, "runner_group '' .* give its name"),
    ],
)
def test_a_class_is_checked_when_it_is_made(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**given)


@pytest.mark.parametrize(
    ("cpu", "memory", "message"),
    [(300, 512, "256, 512, 1024"), (256, 4096, "512, 1024, 2048"), (256, 1536, "512, 1024, 2048")],
)
def test_illegal_sizes_are_refused(cpu: int, memory: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerClass(cpu=cpu, memory=memory)


@pytest.mark.parametrize("storage", [20, 201, 0, -1])
def test_a_disk_that_fargate_does_not_have_is_refused(storage: int) -> None:
    with pytest.raises(ValueError, match=f"ephemeral_storage {storage} of a class .* 21 to 200"):
        small(ephemeral_storage=storage)


@pytest.mark.parametrize(
    ("name", "duration", "most"),
    [
        ("boot", Duration.hours(2), 3600),
        ("idle", Duration.days(2), 86400),
        ("job", Duration.days(6), 432000),
        ("job", Duration.seconds(0), 432000),
    ],
)
def test_a_timeout_of_a_class_has_the_fleets_bounds(
    name: str, duration: Duration, most: int
) -> None:
    with pytest.raises(
        ValueError, match=f"^{name} timeout of .* of a class cannot be kept, use 1 to {most}"
    ):
        small(**{f"{name}_timeout": duration})
    assert catalog.LONGEST_SECONDS[name] == most == timeouts.LONGEST_SECONDS[name]


def test_what_is_known_at_deployment_is_written_then() -> None:
    stack = Stack()
    number = {
        name: CfnParameter(stack, name, type="Number").value_as_number for name in ("Gib", "Ttl")
    }
    given = small(
        ephemeral_storage=number["Gib"], job_timeout=Duration.seconds(number["Ttl"])
    ).to_catalog()
    written = stack.resolve(stack.to_json_string(given))["Fn::Join"][1]
    assert [part["Ref"] for part in written if isinstance(part, dict)] == ["Gib", "Ttl"]


def test_unknown_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="FARGATE_SPOT"):
        small(capacity=["SPOT"])


@pytest.mark.parametrize("most", [0, -1])
def test_a_class_that_could_have_no_runner_is_refused(most: Any) -> None:
    with pytest.raises(ValueError, match=r"max_runners .* use a whole number from 1 to 1000"):
        small(max_runners=most)
