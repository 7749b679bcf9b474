"""Waiting for what must come: for the event itself, never for a number of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 120.0
"""More than anything takes on a machine with other work to do: only a failure waits as long."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25


def until(reached: Callable[[], T], what: object = "", *, seconds: float = PATIENCE_SECONDS) -> T:
    """Ask until the answer is true, ever less often; returns that answer.

    Args:
        reached: The question.
        what: What did not happen, for the failure; called for it if it can be.
        seconds: How long it is asked.

    Raises:
        AssertionError: It has not happened.
    """
    began = time.monotonic()
    while not (found := reached()):
        waited = time.monotonic() - began
        if waited > seconds:
            said = what() if callable(what) else what
            raise AssertionError(f"not within {seconds} s: {said or reached}")
        time.sleep(min(max(_FIRST_PAUSE, waited / 10), _LONGEST_PAUSE))
    return found
