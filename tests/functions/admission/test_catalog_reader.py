"""Which catalog is in force: over the versions of real parameters, in processes new and old."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleet_runtime.admission.catalog_reader import CatalogReader
from fleet_runtime.aws.client import client
from fleet_runtime.job.catalog import CatalogError, RunnerClass

from ..aws_stand_in import Aws

NAME = "/fleet/class-sizes"
SIZES = {"small": {"cpu": 512, "memory": 1024}, "Large": {"cpu": 2048, "memory": 4096}}
Counted = Callable[[], list[str]]


@pytest.fixture
def counted(capsys: pytest.CaptureFixture[str]) -> Counted:
    """The metrics that were written."""

    def read() -> list[str]:
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return [
            metric["Name"]
            for line in lines
            for each in line.get("_aws", {}).get("CloudWatchMetrics", [])
            for metric in each["Metrics"]
        ]

    return read


def write(value: object, *, name: str = NAME) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    client("ssm").put_parameter(Name=name, Type="String", Value=text, Overwrite=True)


class Ssm:
    """SSM, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_parameters(self, **arguments: Any) -> Any:
        self.asked.append("now")
        return client("ssm").get_parameters(**arguments)

    def get_paginator(self, operation: str) -> Any:
        self.asked.append(operation)
        return client("ssm").get_paginator(operation)


def reader(
    ssm: Any = None, *, parameters: tuple[str, ...] = (NAME,), now: list[float] | None = None
) -> CatalogReader:
    clock = [1000.0] if now is None else now
    return CatalogReader(ssm=ssm or client("ssm"), parameters=parameters, clock=lambda: clock[0])


def cpu(of: CatalogReader, name: str) -> int | str:
    found = of.catalog().find(name)
    return found.cpu if isinstance(found, RunnerClass) else found.reason


def test_the_catalog_is_read_again_after_a_minute(aws: Aws) -> None:
    write(SIZES)
    ssm, now = Ssm(), [1000.0]
    read = reader(ssm, now=now)
    read.catalog()
    now[0] += 59.9
    read.catalog()
    assert ssm.asked == ["now"]
    now[0] += 0.1
    read.catalog()
    assert ssm.asked == ["now", "now"], "what was before is nobody's business"


@pytest.mark.parametrize("spoilt", ["{ being edited", '["small"]', '{"a": 1, "a": 2}'])
def test_an_edit_that_cannot_be_read_changes_nothing_in_any_process(
    aws: Aws, counted: Counted, spoilt: str
) -> None:
    write(SIZES)
    now = [1000.0]
    old = reader(now=now)
    good = old.catalog()
    write(spoilt)
    write(spoilt + " ")
    now[0] += 60
    for read in (old, reader()):
        assert read.catalog().classes == good.classes
        [fault] = read.catalog().faults
        number = client("ssm").get_parameter(Name=NAME)["Parameter"]["Version"]
        assert fault.startswith(f"version {number} of {NAME}: the class catalog ")
        assert fault.endswith(f"Version {number - 2} is in force")
    assert counted() == ["CatalogRefused"] * 2
    write({"tiny": {"cpu": 256, "memory": 512}})
    now[0] += 60
    assert list(old.catalog().classes) == ["tiny"]
    assert old.catalog().faults == ()


def test_an_edit_that_stays_wrong_is_counted_each_minute_and_what_was_before_is_asked_once(
    aws: Aws, counted: Counted
) -> None:
    write(SIZES)
    write("{")
    ssm, now = Ssm(), [1000.0]
    read = reader(ssm, now=now)
    for _ in range(3):
        read.catalog()
        now[0] += 60
    assert counted() == ["CatalogRefused"] * 3
    assert ssm.asked == ["now", "get_parameter_history", "now", "now"]


def test_a_class_that_an_edit_spoils_stays_as_it_was_and_the_others_are_as_edited(
    aws: Aws, counted: Counted
) -> None:
    write(SIZES)
    write({"small": {"cpu": 513, "memory": 1024}, "Large": {"cpu": 4096, "memory": 8192}})
    read = reader()
    assert (cpu(read, "small"), cpu(read, "large")) == (512, 4096)
    [fault] = read.catalog().faults
    assert "class 'small' cannot be used, cpu is 513, Fargate has 256, 512" in fault
    assert counted() == ["CatalogRefused"]


def test_a_class_that_never_could_be_used_is_refused(aws: Aws, counted: Counted) -> None:
    write({"odd": {"cpu": 1024, "memory": 2048}})
    write({"small": SIZES["small"]})
    write({"small": SIZES["small"], "odd": 7})
    read = reader()
    assert "class 'odd' cannot be used, it is 7" in str(cpu(read, "odd")), "it was taken out"
    assert cpu(read, "small") == 512
    assert read.catalog().faults[0].endswith("No earlier version of it can be used")
    assert counted() == ["CatalogRefused"]


def test_versions_of_more_than_a_page_are_looked_through(aws: Aws) -> None:
    for number in range(60):
        write("{" + " " * number)
    write({"small": {"cpu": 1024, "memory": 2048}})
    write("{")
    assert cpu(reader(), "small") == 1024


def test_a_catalog_of_which_no_version_can_be_read_is_an_error_each_time(
    aws: Aws, counted: Counted
) -> None:
    write("{", name="/never/good")
    read = reader(parameters=("/never/good",))
    for _ in range(2):
        with pytest.raises(CatalogError, match="class catalog is not JSON"):
            read.catalog()
    assert counted() == ["CatalogRefused"] * 2


def test_a_parameter_that_is_gone_is_named(aws: Aws) -> None:
    with pytest.raises(CatalogError, match="there is no SSM parameter /gone: deploy the stack"):
        reader(parameters=(NAME, "/gone")).catalog()


def test_what_aws_refuses_is_its_error(aws: Aws) -> None:
    class Refused:
        def get_parameters(self, **_: object) -> Any:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameters")

    with pytest.raises(ClientError, match="Throttling"):
        reader(Refused()).catalog()


# --- a catalog in several parameters ------------------------------------------------------------

PARTS = ("/fleet/one", "/fleet/two")


def write_parts(layout: str, *parts: dict[str, int], only: int | None = None) -> None:
    for place, sizes in enumerate(parts, start=1):
        classes = {name: {"cpu": units, "memory": units * 2} for name, units in sizes.items()}
        if only in (None, place):
            mark = {"$part": f"{place} of {len(parts)}, {layout}"}
            write(mark | classes, name=PARTS[place - 1])


def sizes(read: CatalogReader) -> dict[str, int | str]:
    return {name: cpu(read, name) for name in read.catalog().classes}


def test_parts_make_one_catalog_in_their_order(aws: Aws) -> None:
    write_parts("x", {"b": 512, "a": 1024}, {"c": 2048})
    ssm = Ssm()
    read = reader(ssm, parameters=PARTS)
    assert list(sizes(read).items()) == [("b", 512), ("a", 1024), ("c", 2048)]
    assert ssm.asked == ["now"], "they are read at once"


@pytest.mark.parametrize("written", [1, 2])
def test_parts_that_a_deployment_has_half_written_count_when_all_are(
    aws: Aws, counted: Counted, written: int
) -> None:
    """A class that goes to the other part would be in none, or in both."""
    write_parts("x", {"a": 512, "b": 1024}, {"c": 2048})
    write_parts("y", {"a": 4096}, {"b": 4096, "c": 4096}, only=written)
    half = reader(parameters=PARTS)
    assert sizes(half) == {"a": 512, "b": 1024, "c": 2048}
    assert "it is of another deployment than the other parts" in half.catalog().faults[0]
    assert counted() == ["CatalogRefused"]
    write_parts("y", {"a": 4096}, {"b": 4096, "c": 4096}, only=3 - written)
    assert sizes(reader(parameters=PARTS)) == {"a": 4096, "b": 4096, "c": 4096}


def test_a_part_can_be_edited_by_itself(aws: Aws) -> None:
    write_parts("x", {"a": 512}, {"c": 2048})
    write_parts("x", {"a": 512, "new": 1024}, {"c": 2048}, only=1)
    assert sizes(reader(parameters=PARTS)) == {"a": 512, "new": 1024, "c": 2048}


def test_an_edit_of_a_part_that_cannot_be_read_leaves_that_part_as_it_was(aws: Aws) -> None:
    write_parts("x", {"a": 512}, {"c": 2048})
    write_parts("x", {"a": 512}, {"c": 1024}, only=2)
    write({"a": {"cpu": 1024, "memory": 2048}}, name=PARTS[0])
    read = reader(parameters=PARTS)
    assert sizes(read) == {"a": 512, "c": 1024}
    assert "has $part '' and is number 1 of 2, leave that as" in read.catalog().faults[0]


def test_a_class_in_two_parts_is_the_first_ones(aws: Aws) -> None:
    write_parts("x", {"a": 512}, {"a": 1024, "c": 2048})
    read = reader(parameters=PARTS)
    assert sizes(read) == {"a": 512, "c": 2048}
    [fault] = read.catalog().faults
    assert fault.startswith("class 'a' is in version 1 of /fleet/one, which counts, and in ver")


def test_a_function_that_knows_of_fewer_parts_keeps_to_what_was_before(aws: Aws) -> None:
    write({"a": {"cpu": 512, "memory": 1024}}, name=PARTS[0])
    write_parts("x", {"a": 4096}, {"c": 2048})
    assert sizes(reader(parameters=PARTS[:1])) == {"a": 512}
    assert sizes(reader(parameters=PARTS)) == {"a": 4096, "c": 2048}
    write({"a": {"cpu": 1024, "memory": 2048}}, name=PARTS[0])
    assert sizes(reader(parameters=PARTS)) == {"a": 4096, "c": 2048}
    assert sizes(reader(parameters=PARTS[:1])) == {"a": 1024}
