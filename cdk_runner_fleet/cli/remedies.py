"""What an error on a row means and what to do: the functions' own table."""

from __future__ import annotations

from typing import NamedTuple

from cdk_runner_fleet._runtime import runtime

__all__ = ["Cause", "cause_of"]


class Cause(NamedTuple):
    """An error's entry in `functions/fleet_runtime/explanation/causes.py`."""

    title: str
    remedy: str
    permanent: bool
    public: bool


def cause_of(error: str) -> Cause:
    """The meaning of an error."""
    return Cause(*runtime("explanation/causes")["cause_of"](error))
