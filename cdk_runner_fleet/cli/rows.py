"""Rows of the fleet's tables as the commands show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from cdk_runner_fleet.runner_name import read_heartbeat_key

__all__ = ["Row", "plain_row", "public_row", "runner_rows"]

Row = dict[str, Any]

HEARD = ("last_heartbeat", "load")
"""What the item beside a runner's row has."""

SECRETS = ("task_token", "events_token_hash")
"""Attributes that let their reader act for a runner: never shown."""


def plain_row(item: Mapping[str, Any]) -> Row:
    """A DynamoDB item as what JSON can hold."""
    deserializer = TypeDeserializer()
    return {name: _value(deserializer.deserialize(value)) for name, value in item.items()}


def runner_rows(items: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Items of the runner table as rows without secrets, each with its runner's last heartbeat."""
    rows: dict[str, Row] = {}
    heard: dict[str, Row] = {}
    for row in map(plain_row, items):
        whose = read_heartbeat_key(row["runner_id"])
        (heard if whose else rows)[whose or row["runner_id"]] = row
    return [
        public_row(row) | {name: heard[key][name] for name in HEARD if name in heard.get(key, {})}
        for key, row in rows.items()
    ]


def public_row(row: Row) -> Row:
    """A row without its secrets, and without the 0 for no time that the state machine writes."""
    return {
        name: value
        for name, value in row.items()
        if name not in SECRETS and not (name == "in_line_at" and value == 0)
    }


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, set):
        return sorted(_value(each) for each in value)
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, dict):
        return {name: _value(each) for name, each in value.items()}
    return value
