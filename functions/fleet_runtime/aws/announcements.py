"""Puts an event of the fleet's own onto its bus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fleet_runtime.aws.client import Client


class EventNotTakenError(Exception):
    """The bus answered 200 and still did not take the event."""


@dataclass(frozen=True, kw_only=True)
class Bus:
    """Where the fleet's own events go.

    Attributes:
        event_bus_name: Name of the bus.
        event_source: Whose events they are there: those of others may travel on it too.
    """

    event_bus_name: str
    event_source: str


def announce(events: Client, *, bus: Bus, detail_type: str, detail: Mapping[str, object]) -> None:
    """Put one event onto a bus.

    Args:
        events: An EventBridge client.
        bus: The bus, and whose event it is.
        detail_type: What the event is.
        detail: What it says.

    Raises:
        EventNotTakenError: if the bus did not take it.
    """
    entry = {
        "EventBusName": bus.event_bus_name,
        "Source": bus.event_source,
        "DetailType": detail_type,
        "Detail": json.dumps(dict(detail)),
    }
    answer = events.put_events(Entries=[entry])
    if answer["FailedEntryCount"]:
        failed = answer["Entries"][0]
        raise EventNotTakenError(f"{failed.get('ErrorCode')}: {failed.get('ErrorMessage')}")
