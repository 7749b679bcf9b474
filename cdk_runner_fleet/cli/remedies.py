"""What an error on a row means and what to do: the functions' own table."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, cast

from cdk_runner_fleet import _assets

__all__ = ["Cause", "cause_of"]


class Cause(NamedTuple):
    """An error's entry in `functions/fleet_runtime/causes.py`."""

    title: str
    remedy: str
    permanent: bool
    public: bool


def cause_of(error: str) -> Cause:
    """The meaning of an error."""
    return Cause(*_table()(error))


@cache
def _table() -> Callable[[str], tuple[str, str, bool, bool]]:
    # the functions travel with this package, but not on its import path
    namespace = runpy.run_path(
        str(_assets.FUNCTIONS / "fleet_runtime" / "explanation" / "causes.py")
    )
    return cast("Callable[[str], tuple[str, str, bool, bool]]", namespace["cause_of"])
