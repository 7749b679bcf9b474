"""The ledger: the few entries that the whole fleet shares, changed by single conditional writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fleet_runtime.aws.client import Client
from fleet_runtime.aws.items import Item, Value, encode, encode_all

TURNS = "turns"
"""The entry with who holds a turn, and with all else that decides who gets the next one."""

LEASE_MEMORY_SECONDS = 86400
"""How long a lease that nobody took again stays in the table after it ran out."""


class Ledger:
    """The ledger table.

    Args:
        dynamodb: A DynamoDB client.
        table: Name of the table.
        clock: Epoch seconds. Default: the system's.
    """

    def __init__(
        self, *, dynamodb: Client, table: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock

    @property
    def now(self) -> int:
        """Epoch seconds."""
        return int(self._clock())

    def get(self, entry: str) -> Item:
        """Read an entry, with every write before it; empty if there is none."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_key(entry), ConsistentRead=True
        )
        item: Item = answer.get("Item", {})
        return item

    def write(
        self,
        entry: str,
        expression: str,
        *,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Value] | None = None,
    ) -> Item:
        """Write to an entry, which is made if there is none.

        Args:
            entry: The entry.
            expression: DynamoDB's update expression.
            names: What stands behind its ``#names``.
            values: What stands behind its ``:values``.

        Returns:
            The whole entry after the write.
        """
        return self._update(entry, {"UpdateExpression": expression}, names=names, values=values)

    def update(
        self,
        entry: str,
        expression: str,
        *,
        condition: str,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Value] | None = None,
    ) -> Item | None:
        """Write to an entry, like ``write``, if a condition holds; None if it does not."""
        said = {"UpdateExpression": expression, "ConditionExpression": condition}
        try:
            return self._update(entry, said, names=names, values=values)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None

    def delete(self, entry: str) -> Item:
        """Take an entry away; returns it as it was, empty if there was none."""
        answer = self._dynamodb.delete_item(
            TableName=self._table, Key=_key(entry), ReturnValues="ALL_OLD"
        )
        item: Item = answer.get("Attributes", {})
        return item

    def take_lease(self, name: str, *, owner: str, seconds: int) -> bool:
        """Become the only one who does a thing; False if somebody else is at it.

        Args:
            name: The thing.
            owner: Who asks, different for each invocation. Its own lease is its again.
            seconds: How long the lease holds if it is not dropped.
        """
        now = self.now
        taken = self.update(
            f"lease/{name}",
            "SET #owner = :owner, held_until = :until, expires_at = :expires",
            condition="attribute_not_exists(entry) OR held_until <= :now OR #owner = :owner",
            names={"#owner": "owner"},
            values={
                ":owner": owner,
                ":now": now,
                ":until": now + seconds,
                ":expires": now + seconds + LEASE_MEMORY_SECONDS,
            },
        )
        return taken is not None

    def drop_lease(self, name: str, *, owner: str) -> None:
        """Give a lease back, unless it ran out and is another's by now."""
        self.update(
            f"lease/{name}",
            "SET held_until = :now",
            condition="#owner = :owner",
            names={"#owner": "owner"},
            values={":owner": owner, ":now": self.now},
        )

    def _update(
        self,
        entry: str,
        said: Mapping[str, object],
        *,
        names: Mapping[str, str] | None,
        values: Mapping[str, Value] | None,
    ) -> Item:
        optional: dict[str, object] = {
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": encode_all(values or {}),
        }
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key=_key(entry),
            ReturnValues="ALL_NEW",
            **said,
            **{name: given for name, given in optional.items() if given},
        )
        item: Item = answer["Attributes"]
        return item


def _key(entry: str) -> dict[str, dict[str, object]]:
    return {"entry": encode(entry)}
