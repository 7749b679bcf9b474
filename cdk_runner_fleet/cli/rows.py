"""Rows of the fleet's tables as the commands show them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

__all__ = ["Row", "plain_row", "public_row"]

Row = dict[str, Any]

SECRETS = ("task_token", "ticket_hash", "events_token_hash")
"""Attributes that let their reader act for a runner: never shown."""


def plain_row(item: Mapping[str, Any]) -> Row:
    """A DynamoDB item as what JSON can hold."""
    deserializer = TypeDeserializer()
    return {name: _value(deserializer.deserialize(value)) for name, value in item.items()}


def public_row(row: Row) -> Row:
    """A row without its secrets."""
    return {name: value for name, value in row.items() if name not in SECRETS}


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
