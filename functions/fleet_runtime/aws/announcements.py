"""Puts an event of the fleet's own onto its bus."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fleet_runtime.aws.client import Client
from fleet_runtime.aws.event_source import EVENT_SOURCE


class EventNotTakenError(Exception):
    """The bus answered 200 and still did not take the event."""


def announce(events: Client, *, bus: str, detail_type: str, detail: Mapping[str, object]) -> None:
    """Put one event onto a bus.

    Args:
        events: An EventBridge client.
        bus: Name of the fleet's bus.
        detail_type: What the event is.
        detail: What it says.

    Raises:
        EventNotTakenError: if the bus did not take it.
    """
    entry = {
        "EventBusName": bus,
        "Source": EVENT_SOURCE,
        "DetailType": detail_type,
        "Detail": json.dumps(dict(detail)),
    }
    answer = events.put_events(Entries=[entry])
    if answer["FailedEntryCount"]:
        failed = answer["Entries"][0]
        raise EventNotTakenError(f"{failed.get('ErrorCode')}: {failed.get('ErrorMessage')}")
