"""The ledger: the few entries that the whole fleet shares, changed by single conditional writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fleet_runtime.aws.client import Client
from fleet_runtime.aws.items import Item, Value
from fleet_runtime.aws.table import Table

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
        self._table = Table(dynamodb=dynamodb, name=table, key="entry", clock=clock)

    @property
    def now(self) -> int:
        """Epoch seconds."""
        return self._table.now

    def get(self, entry: str) -> Item:
        """Read an entry, with every write before it; empty if there is none."""
        return self._table.get(entry)

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
            names: What stands behind those of its ``#names`` that are not the attribute's own.
            values: What stands behind its ``:values``.

        Returns:
            The whole entry after the write.
        """
        return self._table.write(entry, expression, names=names, values=values)

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
        return self._table.write_if(
            entry, expression, condition=condition, names=names, values=values
        )

    def delete(self, entry: str) -> Item:
        """Take an entry away; returns it as it was, empty if there was none."""
        return self._table.delete(entry)

    def take_lease(self, name: str, *, owner: str, seconds: int) -> bool:
        """Become the only one who does a thing; False if somebody else is at it.

        Args:
            name: The thing.
            owner: Who asks, different for each invocation. Its own lease is its again.
            seconds: How long the lease holds if it is not dropped.
        """
        now = self.now
        taken = self._table.update(
            f"lease/{name}",
            values={
                "owner": owner,
                "held_until": now + seconds,
                "expires_at": now + seconds + LEASE_MEMORY_SECONDS,
            },
            condition="attribute_not_exists(entry) OR held_until <= :now OR #owner = :owner",
            operands={":now": now},
        )
        return taken is not None

    def drop_lease(self, name: str, *, owner: str) -> None:
        """Give a lease back, unless it ran out and is another's by now."""
        self._table.update(
            f"lease/{name}", values={"held_until": self.now}, expected={"owner": owner}
        )
