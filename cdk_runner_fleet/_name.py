"""The name of a fleet: in the tags of its tasks, and in its metrics."""

from __future__ import annotations

from aws_cdk import Names
from constructs import Construct

_KEY = "cdk-runner-fleet:name"


def name_fleet(fleet: Construct) -> str:
    """Name a fleet by its place in the app, for all that it is going to be made of.

    A name is known at synthesis, no two fleets of an app have the same, and it can stand in a tag.

    Args:
        fleet: The fleet, or the platform that is one by itself; what is in a fleet is called as
            that is.
    """
    known = fleet.node.try_get_context(_KEY)
    name = known or Names.unique_resource_name(fleet, max_length=64, separator="-")
    fleet.node.set_context(_KEY, name)
    return str(name)


def fleet_name(room: Construct) -> str:
    """What the fleet is called that ``room`` is of; what is in none is called by its place."""
    known = room.node.try_get_context(_KEY)
    return str(known or Names.unique_resource_name(room, max_length=64, separator="-"))
