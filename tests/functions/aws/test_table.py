"""The table wrapper over moto's DynamoDB: what it reads, and that a write is all or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.aws.items import Item, number, numbers, text, texts
from fleet_runtime.aws.table import Table

from ..aws_stand_in import Aws


@pytest.fixture
def table(aws: Aws) -> Table:
    return Table(dynamodb=aws.dynamodb, name="images", key="image_tag", clock=lambda: 7.9)


def test_a_row_that_is_not_there_is_empty(table: Table) -> None:
    assert table.get("a") == {}
    assert table.delete("a") == {}
    assert list(table.scan()) == []


def test_a_new_row_is_made_once(table: Table) -> None:
    assert table.create("a", {"status": "NEW"})
    assert not table.create("a", {"status": "OTHER"})
    assert text(table.get("a"), "status") == "NEW"


def test_a_row_is_put_in_place_of_another_if_the_condition_holds(table: Table) -> None:
    table.create("a", {"status": "NEW", "gone": 1})
    condition = "#status = :seen"
    assert not table.put("a", {"at": 1}, condition=condition, operands={":seen": "OLD"})
    assert table.put("a", {"at": 1}, condition=condition, operands={":seen": "NEW"})
    assert table.get("a") == {"image_tag": {"S": "a"}, "at": {"N": "1"}}


def test_an_update_writes_all_kinds_at_once_and_returns_the_row(table: Table) -> None:
    table.create("a", {"names": frozenset({"x", "y"}), "error": "e", "since": 1, "count": 2})
    row = table.update(
        "a",
        # all of them reserved words of DynamoDB's, or sets, or both
        values={"status": "NEW", "map": {"k": 3}},
        first={"since": 9, "until": 9},
        add={"count": 5, "set": frozenset({"z"})},
        discard={"names": frozenset({"x"})},
        remove=("error",),
    )
    assert row is not None
    assert row == table.get("a")
    assert (text(row, "status"), numbers(row, "map")) == ("NEW", {"k": 3})
    assert (number(row, "since"), number(row, "until"), number(row, "count")) == (1, 9, 7)
    assert (texts(row, "names"), texts(row, "set")) == (frozenset("y"), frozenset("z"))
    assert "error" not in row


@pytest.mark.parametrize(
    ("changes", "is_written"),
    [
        ({"expected": {"status": "NEW"}}, True),
        ({"expected": {"status": "OLD"}}, False),
        ({"expected": {"error": None}}, True),
        ({"expected": {"status": None}}, False),
        ({"expected": {"error": "e"}}, False),
        ({"expected": {"status": "NEW", "error": "e"}}, False),
        # the value that is written, and the one that is expected of the same attribute
        ({"values": {"status": "OLD"}, "expected": {"status": "NEW"}}, True),
        ({"condition": "#at < :most", "operands": {":most": 6}}, True),
        ({"condition": "#at < :most", "operands": {":most": 5}}, False),
        # whatever the condition is, it does not reach into what is expected
        (
            {
                "expected": {"status": "OLD"},
                "condition": "#at < :most OR #at = :at",
                "operands": {":most": 6, ":at": 5},
            },
            False,
        ),
    ],
)
def test_a_row_is_written_only_as_it_was_expected(
    table: Table, changes: dict[str, Any], is_written: bool
) -> None:
    table.create("a", {"status": "NEW", "at": 5})
    row = table.update("a", **{"values": {"seen": 1}, **changes})
    assert (row is not None) is is_written
    left = table.get("a")
    assert (left == row) if is_written else (left == expected_row("a", status="NEW", at=5))


def expected_row(tag: str, *, status: str, at: int) -> Item:
    return {"image_tag": {"S": tag}, "status": {"S": status}, "at": {"N": str(at)}}


def test_a_row_that_nobody_expects_is_made(table: Table) -> None:
    assert table.update("a", values={"at": 1}, expected={"status": None}) == table.get("a")
    assert table.update("b", values={"at": 1}) == table.get("b")


def test_an_expression_may_name_attributes_by_their_names_or_otherwise(table: Table) -> None:
    row = table.write(
        "a",
        "SET #status = :status, #other = :at",
        names={"#other": "a name/with signs"},
        values={":status": "NEW", ":at": 1},
    )
    assert row == {
        "image_tag": {"S": "a"},
        "status": {"S": "NEW"},
        "a name/with signs": {"N": "1"},
    }
    assert table.write_if("a", "REMOVE #status", condition="attribute_exists(#gone)") is None
    row_after = table.write_if("a", "REMOVE #status", condition="attribute_exists(#status)")
    assert row_after is not None
    assert "status" not in row_after


def test_a_row_is_deleted_only_if_the_condition_holds(table: Table) -> None:
    table.create("a", {"status": "NEW"})
    assert table.delete("a", condition="#status = :seen", operands={":seen": "OLD"}) == {}
    was = table.get("a")
    assert was
    assert table.delete("a", condition="#status = :seen", operands={":seen": "NEW"}) == was
    assert table.get("a") == {}


def test_every_page_is_read(table: Table) -> None:
    ballast = "x" * 390_000  # a page ends after 1 MB
    for number_ in range(6):
        table.create(f"row-{number_}", {"ballast": ballast})
    assert sorted(text(row, "image_tag") for row in table.scan()) == [f"row-{n}" for n in range(6)]


def test_rows_are_read_by_their_keys_however_many(table: Table) -> None:
    keys = [f"row-{at}" for at in range(130)]
    for key in keys[:-1]:
        table.create(key, {"at": 1})
    assert sorted(text(row, "image_tag") for row in table.get_all(keys)) == sorted(keys[:-1])
    assert list(table.get_all([])) == []


def test_what_dynamodb_had_no_room_for_is_asked_for_again(table: Table) -> None:
    ballast = "x" * 390_000  # an answer has room for 16 MB
    keys = [f"row-{at}" for at in range(45)]
    for key in keys:
        table.create(key, {"ballast": ballast})
    assert sorted(text(row, "image_tag") for row in table.get_all(keys)) == sorted(keys)


def test_an_index_is_read_up_to_as_many_rows_as_are_asked_for(aws: Aws) -> None:
    runners = Table(dynamodb=aws.dynamodb, name="runners", key="runner_id")
    ballast = "x" * 390_000
    for at in range(7):
        # of what the index projects
        runners.create(f"r{at}", {"live": "yes", "place": f"{at}", "class_name": ballast})
    runners.create("other", {"live": "no", "place": "0"})

    def found(most: int | None, **behind: str) -> list[str]:
        rows = runners.query("line-index", attribute="live", value="yes", after=behind, most=most)
        return [text(row, "runner_id") for row in rows]

    assert found(None) == [f"r{at}" for at in range(7)]
    assert found(3, place="1") == ["r2", "r3", "r4"]
    assert found(5) == [f"r{at}" for at in range(5)], "beyond the first page"
    assert found(9) == [f"r{at}" for at in range(7)]


def test_now_is_in_whole_seconds(table: Table) -> None:
    assert table.now == 7
