"""What is counted as AWS would bill it: DynamoDB's units by table and index, and calls by name.

The rules are those of DynamoDB's developer guide, "Read/write capacity mode": a write costs a unit
for 1 KB, a read half of one for 4 KB, or a whole one if it is to see every write before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.emulator.harness import Emulator

KILOBYTE = "x" * 1000


@pytest.fixture
def table(emulator: Emulator) -> Iterator[str]:
    name = f"table-{uuid.uuid4().hex[:8]}"
    dynamodb = emulator.client("dynamodb")
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": each, "AttributeType": "S"} for each in ("id", "live")
        ],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[
            {
                "IndexName": "live-index",
                "KeySchema": [{"AttributeName": "live", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    yield name
    dynamodb.delete_table(TableName=name)


def units(emulator: Emulator, kind: str, table: str) -> dict[str, float]:
    counted = emulator.fleet("GET", "stats")[1][kind]
    return {name: spent for name, spent in counted.items() if name.startswith(table)}


def put(emulator: Emulator, table: str, key: str, text: str = "", **more: str) -> dict[str, Any]:
    item = {"id": key, "text": text, **more}
    answer: dict[str, Any] = emulator.client("dynamodb").put_item(
        TableName=table, Item={name: {"S": value} for name, value in item.items()}
    )
    return answer


def test_a_write_costs_a_unit_for_each_kilobyte_and_more_for_an_index(
    emulator: Emulator, table: str
) -> None:
    answer = put(emulator, table, "a")
    assert "ConsumedCapacity" not in answer, "nobody has asked for it"
    assert units(emulator, "write_units", table) == {table: 1}
    put(emulator, table, "b", KILOBYTE * 3)
    assert units(emulator, "write_units", table) == {table: 1 + 3}
    put(emulator, table, "c", live="yes")
    assert units(emulator, "write_units", table) == {table: 5, f"{table}/live-index": 1}


def test_a_write_whose_condition_fails_costs_a_unit(emulator: Emulator, table: str) -> None:
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        emulator.client("dynamodb").update_item(
            TableName=table,
            Key={"id": {"S": "a"}},
            UpdateExpression="SET n = :n",
            ConditionExpression="attribute_exists(id)",
            ExpressionAttributeValues={":n": {"N": "1"}},
        )
    assert units(emulator, "write_units", table) == {table: 1}


@pytest.mark.parametrize(("consistent", "factor"), [(False, 0.5), (True, 1)])
def test_a_read_costs_by_four_kilobytes_and_twice_if_it_sees_every_write_before(
    emulator: Emulator, table: str, consistent: bool, factor: float
) -> None:
    put(emulator, table, "a", KILOBYTE * 5)
    for key in ("a", "there is none"):
        emulator.client("dynamodb").get_item(
            TableName=table, Key={"id": {"S": key}}, ConsistentRead=consistent
        )
    assert units(emulator, "read_units", table) == {table: (2 + 1) * factor}


def test_what_a_query_finds_is_rounded_as_one_and_a_batch_item_by_item(
    emulator: Emulator, table: str
) -> None:
    dynamodb = emulator.client("dynamodb")
    for key in ("a", "b", "c"):
        put(emulator, table, key, KILOBYTE, live="yes")
    dynamodb.query(
        TableName=table,
        IndexName="live-index",
        KeyConditionExpression="live = :yes",
        ExpressionAttributeValues={":yes": {"S": "yes"}},
    )
    assert units(emulator, "read_units", table) == {f"{table}/live-index": 0.5}
    dynamodb.batch_get_item(
        RequestItems={table: {"Keys": [{"id": {"S": key}} for key in ("a", "b", "c")]}}
    )
    assert units(emulator, "read_units", table) == {f"{table}/live-index": 0.5, table: 1.5}


def test_calls_are_counted_by_their_names(emulator: Emulator, table: str) -> None:
    def called() -> int:
        counted: int = emulator.fleet("GET", "stats")[1]["requests"].get("dynamodb:PutItem", 0)
        return counted

    before = called()
    put(emulator, table, "a")
    put(emulator, table, "b")
    assert called() == before + 2
