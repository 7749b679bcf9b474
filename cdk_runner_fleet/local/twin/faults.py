"""Scripted misbehaviour of GitHub, for tests: each entry is used up after `times`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Generic, Literal, TypeVar, get_args

__all__ = ["ApiFault", "Conditions", "FaultScript", "RunnerFault", "WebhookFault"]

WebhookFaultKind = Literal["drop", "duplicate", "delay", "reorder"]


@dataclass(frozen=True, kw_only=True)
class WebhookFault:
    """What goes wrong with a `workflow_job` delivery.

    Args:
        fault: `drop` it, send it twice (`duplicate`, the same delivery ID), send it `seconds`
            later (`delay`), or hold it until the next delivery about the same job was answered
            (`reorder`).
        action: `queued`, `waiting`, `in_progress`, `completed`, or `*`.
        job_name: a glob over the job's name.
        seconds: of `delay`.
        times: how many deliveries it meets.
    """

    fault: WebhookFaultKind
    action: str = "*"
    job_name: str = "*"
    seconds: float = 0.0
    times: int = 1

    def __post_init__(self) -> None:
        allowed = get_args(WebhookFaultKind)
        if self.fault not in allowed:
            raise ValueError(f"unknown webhook fault {self.fault!r}; allowed: {', '.join(allowed)}")

    def meets(self, action: str, job_name: str) -> bool:
        """Whether a delivery is this entry's."""
        return self.action in ("*", action) and fnmatchcase(job_name, self.job_name)


@dataclass(frozen=True, kw_only=True)
class ApiFault:
    """An answer that a REST request gets instead of its own.

    Args:
        status: HTTP status; 403 or 429 with `headers` is how GitHub limits rates. 0: none, the
            connection is closed without an answer.
        path: a glob over the path, e.g. `*/generate-jitconfig`.
        method: HTTP method, or `*`.
        message: of the JSON body.
        headers: e.g. `{"retry-after": "1"}`.
        applied: whether GitHub does what it was asked to and only its own answer is lost.
        times: how many requests it meets.
    """

    status: int
    path: str = "*"
    method: str = "*"
    message: str = "scripted by the twin"
    headers: dict[str, str] = field(default_factory=dict)
    applied: bool = False
    times: int = 1

    def meets(self, method: str, path: str) -> bool:
        """Whether a request is this entry's."""
        return self.method in ("*", method) and fnmatchcase(path, self.path)


@dataclass(frozen=True, kw_only=True)
class RunnerFault:
    """A runner that acquires a job, dies and never starts it.

    GitHub then shows the job as in progress, and cancels it when its lock has run out, after about
    15 minutes; it gives it to no other runner.

    Args:
        job_name: a glob over the job's name.
        seconds: until GitHub cancels the job.
        times: how many runners it meets.
    """

    job_name: str = "*"
    seconds: float = 914.0
    times: int = 1

    def meets(self, job_name: str) -> bool:
        """Whether a job is this entry's."""
        return fnmatchcase(job_name, self.job_name)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How GitHub is all the time, where it is not as quick or as patient as one would like.

    Args:
        list_lag_seconds: how far the list of runners is behind: one that was just registered is
            not on it yet, one that was just removed still is.
        name_held_seconds: how long a name stays taken once its runner is gone; who registers it
            meanwhile gets 409 (runs-on/runs-on#546).
        idle_seconds: after which GitHub removes a runner that it has given no job; 0 for never.
            Two to six minutes were seen (actions/runner#4726).
    """

    list_lag_seconds: float = 0.0
    name_held_seconds: float = 0.0
    idle_seconds: float = 0.0


Fault = TypeVar("Fault", WebhookFault, ApiFault, RunnerFault)


class FaultScript(Generic[Fault]):
    """Entries in order; the first that meets is used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Appends an entry."""
        with self._lock:
            self._entries.append((fault, fault.times))

    def clear(self) -> None:
        """Forgets every entry."""
        with self._lock:
            self._entries.clear()

    def take(self, *subject: str) -> Fault | None:
        """Uses the entry that meets the subject (what its `meets` takes)."""
        with self._lock:
            for index, (fault, left) in enumerate(self._entries):
                if fault.meets(*subject):
                    self._entries[index] = (fault, left - 1)
                    if left <= 1:
                        del self._entries[index]
                    return fault
        return None
