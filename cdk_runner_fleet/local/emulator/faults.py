"""Failures on request: one table of rules, filled over ``POST /_fleet/faults``.

A rule is ``{"on": ..., "outcome": ..., "times": 1, "match": "", ...}``; the first rule that fits is
used and counts down, ``"times": null`` never does.

============== =================================================================================
on             outcome
============== =================================================================================
an IAM action  ``error`` with ``code``, ``message``, ``status``: the API call answers with it
ecs:RunTask    ``failure`` with ``reason``: 200 with that in ``failures[]``
task           ``never_boots`` (there, but claims nothing), ``cannot_pull`` with ``reason``
running_task   a stop code such as ``SpotInterruption`` with ``reason``; applied at once
build          ``FAILED``, ``STOPPED``, ``TIMED_OUT``, ``FAULT``, or ``hangs``
============== =================================================================================

``match`` limits a rule: a text in the API request's body, in the task's ARN or ``startedBy``, or in
the build's environment.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

_OUTCOMES = {
    "task": ("never_boots", "cannot_pull"),
    "build": ("FAILED", "STOPPED", "TIMED_OUT", "FAULT", "hangs"),
}
_API_OUTCOMES = ("error", "failure")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the table.

    Attributes:
        on: an IAM action such as ``ecs:RunTask``, or ``task``, ``running_task``, ``build``.
        outcome: what happens; see the module.
        match: text that what is hit must contain.
        times: how often, None for always.
        reason: why, as AWS would word it.
        code: error code of an API answer.
        message: its message.
        status: its HTTP status.
    """

    on: str
    outcome: str
    match: str = ""
    times: int | None = 1
    reason: str = ""
    code: str = "InternalServerError"
    message: str = "a fault that was asked for"
    status: int = 500

    def __post_init__(self) -> None:
        """Refuse what would never take effect.

        Raises:
            ValueError: an unknown outcome.
        """
        if self.on == "running_task":
            return
        allowed = _OUTCOMES.get(self.on, _API_OUTCOMES)
        if self.outcome not in allowed:
            raise ValueError(
                f"outcome of {self.on!r} is {self.outcome!r}; use one of {', '.join(allowed)}"
            )
        if self.outcome == "failure" and self.on != "ecs:RunTask":
            raise ValueError(f"outcome 'failure' is for ecs:RunTask, not {self.on!r}; use 'error'")


class Faults:
    """The table, safe for use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[Rule, list[int]]] = []

    def add(self, rule: Rule) -> None:
        """Append a rule."""
        with self._lock:
            self._rules.append((rule, [0]))

    def clear(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def take(self, on: str, text: str, *, outcomes: tuple[str, ...] | None = None) -> Rule | None:
        """The rule that applies now, used up by one; None if none does."""
        with self._lock:
            for rule, used in self._rules:
                left = rule.times is None or used[0] < rule.times
                wanted = outcomes is None or rule.outcome in outcomes
                if rule.on == on and left and wanted and rule.match in text:
                    used[0] += 1
                    return rule
        return None

    def listing(self) -> list[dict[str, Any]]:
        """All rules with how often each was used."""
        with self._lock:
            return [{**asdict(rule), "used": used[0]} for rule, used in self._rules]
