"""Whose turn is next, and why others wait: the functions' own words, when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cdk_runner_fleet._runtime import runtime
from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.rows import Row, plain_row

__all__ = ["count_in_line", "places", "read_turns", "spent_usd", "with_reasons"]

_MOST_TOLD = 1000
"""Places further back change too often to mean anything."""


class _Waiting(NamedTuple):
    runner_id: str
    repository: str
    queued_at: int | None


def read_turns(deployment: Deployment) -> Row:
    """The ledger's entry on turns; empty if nobody has had one yet."""
    return _read(deployment, "turns")


def spent_usd(deployment: Deployment, turns: Row) -> float:
    """What those runners and builds of images have cost that ended today, UTC."""
    today = datetime.now(UTC).date().isoformat()
    built = _read(deployment, "builds").get("spent", {})
    return float(turns.get(f"spent:{today}", 0) + built.get(today, 0))


def _read(deployment: Deployment, entry: str) -> Row:
    answer = deployment.client("dynamodb").get_item(
        TableName=deployment.ledger_table, Key={"entry": {"S": entry}}, ConsistentRead=True
    )
    return plain_row(answer.get("Item", {}))


def places(deployment: Deployment) -> Mapping[str, int]:
    """The places of those in line, by runner; nobody's limit holds the line up here."""
    waiting = [
        _Waiting(row["runner_id"], row.get("repository", ""), row.get("queued_at"))
        for page in _pages(deployment)
        for row in map(plain_row, page["Items"])
        if "released_at" not in row
    ]
    line = runtime("admission/line")["Line"].of_turns(waiting, read_turns(deployment))
    return {one.runner_id: place for place, one in enumerate(line.first(_MOST_TOLD), start=1)}


def with_reasons(deployment: Deployment, rows: Sequence[Row]) -> list[Row]:
    """The rows, those in line with why they wait now in place of why they did when they joined it.

    One of each class, repository and image is asked for: the same holds up all of them.

    Raises:
        FleetError: if the function that knows has failed, or the stack has none.
        botocore.exceptions.ClientError: if it may not be asked.
    """
    in_line = {_kind(row): row["runner_id"] for row in rows if row.get("waiting_for") == "turn"}
    if not in_line:
        return list(rows)
    reasons = deployment.ask_explain_job({"waiting": sorted(in_line.values())})
    return [
        row | {"waiting_reason": reasons[in_line[_kind(row)]]}
        if row.get("waiting_for") == "turn" and in_line[_kind(row)] in reasons
        else row
        for row in rows
    ]


def _kind(row: Row) -> tuple[str, ...]:
    return tuple(str(row.get(name)) for name in ("class_name", "repository", "image_tag"))


def count_in_line(deployment: Deployment) -> int:
    """How many are in line."""
    return sum(page["Count"] for page in _pages(deployment, Select="COUNT"))


def _pages(deployment: Deployment, **asked: str) -> Iterator[dict[str, Any]]:
    pages: Iterator[dict[str, Any]] = iter(
        deployment.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=deployment.runner_table,
            IndexName="line-index",
            KeyConditionExpression="live = :in_line",
            ExpressionAttributeValues={":in_line": {"S": "in_line"}},
            **asked,
        )
    )
    return pages
