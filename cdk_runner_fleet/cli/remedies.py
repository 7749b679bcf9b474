"""What an error on a row means and what to do: the functions' own table."""

from __future__ import annotations

from typing import NamedTuple

from cdk_runner_fleet._runtime import runtime
from cdk_runner_fleet.rooms.launch_failures import remedy_of

__all__ = ["Cause", "capacity_remedy", "cause_of"]


class Cause(NamedTuple):
    """An error's entry in `functions/fleet_runtime/explanation/causes.py`."""

    title: str
    remedy: str
    permanent: bool
    public: bool


def cause_of(error: str, told: str = "") -> Cause:
    """The meaning of an error, and what to do about what it ``told``, a row's cause."""
    cause = Cause(*runtime("explanation/causes")["cause_of"](error))
    remedy = remedy_of(told) if error == "Runner.LaunchFailed" else ""
    if not remedy:
        return cause
    return cause._replace(remedy=f"Operator: {remedy}. Then the author runs the job again.")


def capacity_remedy(reason: str) -> str:
    """What an operator does about what ECS had no room for a runner in these words."""
    return remedy_of(reason) or (
        "give the class another capacity provider, the fleet more subnets, or raise the vCPU quota"
    )
