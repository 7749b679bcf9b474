"""The ledger: the few entries that the whole fleet shares, changed by single conditional writes."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet_runtime.aws.client import Client
from fleet_runtime.aws.table import Table

TURNS = "turns"
"""The entry with who holds a turn, and with all else that decides who gets the next one."""

BUILDS = "builds"
"""The entry with the builds that run and those in line, and what the builds of a day have cost."""

BUILDS_SPENT = "spent"
"""The map on it with the latter, in US dollars, by day as in ``2026-11-21``, UTC."""

LEASE_MEMORY_SECONDS = 86400
"""How long a lease that nobody took again stays in the table after it ran out."""


class Ledger(Table):
    """The ledger table.

    Args:
        dynamodb: A DynamoDB client.
        table: Name of the table.
        clock: Epoch seconds. Default: the system's.
    """

    def __init__(
        self, *, dynamodb: Client, table: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(dynamodb=dynamodb, name=table, key="entry", clock=clock)

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
        self.update(f"lease/{name}", values={"held_until": self.now}, expected={"owner": owner})
