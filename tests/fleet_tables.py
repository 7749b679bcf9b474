"""The fleet's tables, for stand-ins of DynamoDB; a test holds that the constructs make the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _key(name: str, kind: str = "HASH") -> dict[str, str]:
    return {"AttributeName": name, "KeyType": kind}


def _attributes(**kinds: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()]


TABLES: Mapping[str, Mapping[str, Any]] = {
    "runners": {
        "KeySchema": [_key("runner_id")],
        "AttributeDefinitions": _attributes(
            runner_id="S", waiting_labels="S", live="S", queued_at="N", place="S"
        ),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "waiting-index",
                "KeySchema": [_key("waiting_labels")],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
            {
                "IndexName": "live-index",
                "KeySchema": [_key("live"), _key("queued_at", "RANGE")],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
            {
                "IndexName": "line-index",
                "KeySchema": [_key("live"), _key("place", "RANGE")],
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": [
                        "repository",
                        "class_name",
                        "image_tag",
                        "queued_at",
                        "released_at",
                    ],
                },
            },
        ],
    },
    "images": {
        "KeySchema": [_key("image_tag")],
        "AttributeDefinitions": _attributes(image_tag="S"),
    },
    "ledger": {
        "KeySchema": [_key("entry")],
        "AttributeDefinitions": _attributes(entry="S"),
    },
}
"""What of each is the same in ``CreateTable`` and in a template."""


def make_tables(dynamodb: Any, *, prefix: str = "") -> None:
    """Make all of them.

    Args:
        dynamodb: a boto3 client.
        prefix: what their names begin with.
    """
    for name, schema in TABLES.items():
        dynamodb.create_table(TableName=f"{prefix}{name}", BillingMode="PAY_PER_REQUEST", **schema)
