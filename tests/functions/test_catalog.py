from __future__ import annotations

import json
from typing import Any

import pytest

from fleet_runtime import labels
from fleet_runtime.catalog import FARGATE_SIZES, Catalog, CatalogError, CatalogReader, RunnerClass
from fleet_runtime.labels import Refusal, RunnerRequest
from fleet_runtime.pricing import usd_per_second


def serve(catalog: dict[str, Any], *job_labels: str) -> RunnerClass | Refusal:
    request = labels.read(["self-hosted", *job_labels])
    assert isinstance(request, RunnerRequest)
    return Catalog.parse(json.dumps(catalog)).serve(request)


def refused(catalog: dict[str, Any], *job_labels: str) -> str:
    answer = serve(catalog, *job_labels)
    assert isinstance(answer, Refusal), answer
    return answer.reason


SIZES = {"small": {"cpu": 512, "memory": 1024}, "Large": {"cpu": 2048, "memory": 4096}}


def test_the_first_class_is_the_default() -> None:
    assert serve(SIZES) == RunnerClass(
        name="small",
        cpu=512,
        memory=1024,
        labels=frozenset({"linux", "x64"}),
        capacity=("FARGATE",),
        max_runners=None,
    )


def test_a_class_may_have_a_limit_of_its_own() -> None:
    found = serve({"small": {"cpu": 512, "memory": 1024, "max_runners": 3}})
    assert isinstance(found, RunnerClass)
    assert found.max_runners == 3


def test_classes_and_labels_are_found_in_any_case() -> None:
    found = serve(SIZES, "class:LARGE", "LINUX", "X64")
    assert isinstance(found, RunnerClass)
    assert found.name == "Large"


def test_an_unknown_class_is_refused_with_those_there_are() -> None:
    assert "class 'huge' is not in the catalog, use one of small, large" in refused(
        SIZES, "class:huge"
    )


def test_a_label_that_the_class_lacks_is_refused() -> None:
    assert "label 'gpu' is none of class small, use linux, x64" in refused(SIZES, "linux", "gpu")


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
        ({"cpu": 512, "memory": 1024, "capacity": []}, "capacity is []"),
        ({"cpu": 512, "memory": 1024, "capacity": ["EC2"]}, "FARGATE and FARGATE_SPOT"),
    ],
)
def test_an_unusable_class_refuses_only_its_own_jobs(entry: object, reason: str) -> None:
    catalog = {**SIZES, "odd": entry}
    assert reason in refused(catalog, "class:odd")
    assert isinstance(serve(catalog, "class:small"), RunnerClass)


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


def test_the_catalog_is_read_again_after_a_minute() -> None:
    class Ssm:
        reads = 0

        def get_parameter(self, **_: object) -> dict[str, Any]:
            self.reads += 1
            return {"Parameter": {"Value": json.dumps(SIZES)}}

    ssm, now = Ssm(), [1000.0]
    reader = CatalogReader(ssm=ssm, parameter="p", clock=lambda: now[0])
    reader.catalog()
    now[0] += 59.9
    reader.catalog()
    assert ssm.reads == 1
    now[0] += 0.1
    reader.catalog()
    assert ssm.reads == 2


def test_a_catalog_that_cannot_be_read_leaves_the_last_one_in_use() -> None:
    class Ssm:
        value = json.dumps(SIZES)

        def get_parameter(self, **_: object) -> dict[str, Any]:
            return {"Parameter": {"Value": self.value}}

    ssm, now = Ssm(), [1000.0]
    reader = CatalogReader(ssm=ssm, parameter="p", clock=lambda: now[0])
    good = reader.catalog()
    ssm.value = "{ being edited"
    now[0] += 60
    assert reader.catalog() == good
    ssm.value = '{"tiny": {"cpu": 256, "memory": 512}}'
    now[0] += 60
    assert list(reader.catalog().classes) == ["tiny"]


def test_prices_are_aws_own() -> None:
    hour = usd_per_second(cpu=1024, memory=2048, capacity="FARGATE") * 3600
    assert hour == pytest.approx(0.04048 + 2 * 0.004445, rel=1e-5)
    spot = usd_per_second(cpu=1024, memory=2048, capacity="FARGATE_SPOT") * 3600
    assert spot == pytest.approx(0.3 * hour, rel=1e-5)
