"""The name of a fleet: in the tags of its tasks, and in its metrics."""

from __future__ import annotations

from aws_cdk import Names
from constructs import Construct


def fleet_name(room: Construct) -> str:
    """Name the fleet that ``room`` is of, by the fleet's place in the app.

    It is known at synthesis, no two fleets of an app have the same, and it can stand in a tag.

    Args:
        room: A room, which the fleet itself has made.
    """
    fleet = room.node.scope
    return Names.unique_resource_name(fleet or room, max_length=64, separator="-")
