"""Failures on request: one table of rules, filled over ``POST /_fleet/faults``.

A rule is ``{"on": ..., "outcome": ..., "times": 1, "match": "", ...}``; the first rule that fits is
used and counts down, ``"times": null`` never does.

============== =================================================================================
on             outcome
============== =================================================================================
an IAM action  ``error`` with ``code``, ``message``, ``status``: the API call answers with it;
               ``held``: the API call is made when the rule is taken away
ecs:RunTask    ``failure`` with ``reason``: 200 with that in ``failures[]``
task           ``never_boots`` (there, but claims nothing), ``cannot_pull`` with ``reason``
running_task   a stop code such as ``SpotInterruption`` with ``reason``; applied at once
build          ``FAILED``, ``STOPPED``, ``TIMED_OUT``, ``FAULT``, ``hangs``, or ``held``: it goes
               on when the rule is taken away
update         ``held``: an update of a stack stands still before this resource until the rule is
               taken away
function       ``crash_before`` and ``crash_after``: the process is killed at the invocation's AWS
               call number ``calls``, before that is applied or once it is, and sees no answer
               (``crash_after`` with 0: at its first call, which is not applied);
               ``times_out``: all it did has happened, and then its time was up
============== =================================================================================

``match`` limits a rule: a text in the API request's body (or a list of texts that are all there),
in the task's ARN or ``startedBy``, in the build's environment, in the resource's type and logical
id, or in the function's name and handler. A function's rule may have ``event`` too: texts that the
invocation's event must contain, written as compact JSON (a body's quotes as they are before they
are escaped); of a build's end also the build's variables, as the event itself does not say what was
built.

``GET /_fleet/faults`` lists all rules, each with how often it was ``used`` and, if it is a
function's, the ``calls_made`` by the invocation that it struck.

``DELETE /_fleet/faults`` takes all rules away, with a ``match`` in its body those with just that
one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

_OUTCOMES = {
    "task": ("never_boots", "cannot_pull"),
    "build": ("FAILED", "STOPPED", "TIMED_OUT", "FAULT", "hangs", "held"),
    "update": ("held",),
    "function": ("crash_before", "crash_after", "times_out"),
}
_API_OUTCOMES = ("error", "held", "failure")
_POLL_SECONDS = 0.01
_CALLS = "use 1 or more for crash_before, 0 or more for crash_after, none for times_out"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the table.

    Attributes:
        on: an IAM action such as ``ecs:RunTask``, or ``task``, ``running_task``, ``build``,
            ``update``, ``function``.
        outcome: what happens; see the module.
        match: text that what is hit must contain, or a list of such.
        times: how often, None for always.
        reason: why, as AWS would word it.
        code: error code of an API answer.
        message: its message.
        status: its HTTP status.
        event: texts that a function's event must contain.
        calls: the number of the API call at which a function is killed, counted from 1.
    """

    on: str
    outcome: str
    match: str | list[str] = ""
    times: int | None = 1
    reason: str = ""
    code: str = "InternalServerError"
    message: str = "a fault that was asked for"
    status: int = 500
    event: tuple[str, ...] = ()
    calls: int = 0

    def __post_init__(self) -> None:
        """Refuse what would never take effect.

        Raises:
            ValueError: an unknown outcome, no times, or a call that it can never be.
        """
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is {self.times}; use 1 or more, or null for always")
        if self.on == "running_task":
            return
        allowed = _OUTCOMES.get(self.on, _API_OUTCOMES)
        if self.outcome not in allowed:
            raise ValueError(
                f"outcome of {self.on!r} is {self.outcome!r}; use one of {', '.join(allowed)}"
            )
        if self.outcome == "failure" and self.on != "ecs:RunTask":
            raise ValueError(f"outcome 'failure' is for ecs:RunTask, not {self.on!r}; use 'error'")
        if self.on == "function":
            if isinstance(self.event, str):
                raise ValueError(f"event is {self.event!r}; give a list of texts")
            least = 1 if self.outcome == "crash_before" else 0
            if self.calls < least or (self.calls and self.outcome == "times_out"):
                raise ValueError(f"calls of {self.outcome!r} is {self.calls}; {_CALLS}")
        elif self.event or self.calls:
            raise ValueError(f"event and calls are for 'function', not for {self.on!r}")

    @property
    def texts(self) -> list[str]:
        """What must be there."""
        return [self.match] if isinstance(self.match, str) else self.match

    def meets(self, text: str, *, outcomes: tuple[str, ...] | None, event: str) -> bool:
        """Whether what happens now is this rule's."""
        return (
            (outcomes is None or self.outcome in outcomes)
            and all(part in text for part in self.texts)
            and all(part in event for part in self.event)
        )


@dataclass
class _Entry:
    rule: Rule
    used: int = 0
    calls_made: int = 0


class Faults:
    """The table, safe for use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Entry] = []
        # looked at with every API call, of which a job makes some sixty
        self._open: dict[tuple[str, int], list[_Entry]] = defaultdict(list)

    def add(self, rule: Rule) -> int:
        """Append a rule; returns its place in the listing."""
        entry = _Entry(rule)
        with self._lock:
            self._rules.append(entry)
            self._open[rule.on, rule.calls].append(entry)
            return len(self._rules) - 1

    def clear(self, match: str | list[str] | None = None) -> None:
        """Forget all rules, or those with just this ``match``."""
        with self._lock:
            for entries in (self._rules, *self._open.values()):
                entries[:] = [] if match is None else [e for e in entries if e.rule.match != match]

    async def release(self, rule: Rule) -> None:
        """Wait until the rule is taken away."""
        while self._stands(rule):
            await asyncio.sleep(_POLL_SECONDS)

    def hold(self, rule: Rule) -> None:
        """Keep this thread waiting until the rule is taken away."""
        while self._stands(rule):
            time.sleep(_POLL_SECONDS)

    def _stands(self, rule: Rule) -> bool:
        return any(entry.rule is rule for entry in self._rules)

    def take(
        self,
        on: str,
        text: str,
        *,
        outcomes: tuple[str, ...] | None = None,
        event: str = "",
        calls: int = 0,
        calls_made: int = 0,
    ) -> Rule | None:
        """The rule that applies now, used up by one; None if none does.

        Args:
            on: what happens now.
            text: what of it a rule may match.
            outcomes: those that are possible now. Default: any.
            event: a function's.
            calls: the number of the API call that a function makes now.
            calls_made: how many it has made, for whoever reads the listing.
        """
        with self._lock:
            entries = self._open[on, calls]
            for entry in entries:
                if entry.rule.meets(text, outcomes=outcomes, event=event):
                    entry.used += 1
                    entry.calls_made = max(entry.calls_made, calls_made)
                    if entry.used == entry.rule.times:
                        entries.remove(entry)
                    return entry.rule
        return None

    def listing(self) -> list[dict[str, Any]]:
        """All rules with how often each was used, and after how many calls of a function."""
        with self._lock:
            return [
                {**asdict(entry.rule), "used": entry.used, "calls_made": entry.calls_made}
                for entry in self._rules
            ]
