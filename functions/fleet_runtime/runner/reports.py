"""What runners say of themselves, read with caution: a job can write such a body as well. Pure.

What is not as it should be is left out, and the rest counts: an old image says less, and a runner
is worth more than its words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

HEARTBEAT = "heartbeat"
JOB_STARTED = "job_started"
JOB_COMPLETED = "job_completed"
EVENTS = (JOB_STARTED, JOB_COMPLETED, HEARTBEAT)

_JOB = ("job_name", "job_id", "run_id", "run_attempt", "repository", "workflow")
_LONGEST_TEXT = 200
_CAPABILITY = re.compile(r"[a-z0-9][a-z0-9._+-]{0,62}")
_MOST_CAPABILITIES = 50
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,31}")
_SHORTEST_HEARTBEAT_SECONDS = 60
"""Who announces more of them is taken to send one a minute: after two and a half intervals of
silence GitHub is asked, which the whole fleet may do so often an hour."""
_LONGEST_HEARTBEAT_SECONDS = 3600
_HIGHEST_LOAD = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a runner says when it claims its registration.

    Attributes:
        capabilities: What its image can do, lower-cased.
        runner_version: Empty if it does not say.
        heartbeat_seconds: How often it will send a heartbeat; 0 for never.
    """

    capabilities: tuple[str, ...] = ()
    runner_version: str = ""
    heartbeat_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """An event that a runner reports.

    Attributes:
        event: One of ``EVENTS``.
        runner_version: Empty if it does not say.
        load: The machine's load average over a minute; None if it does not say.
        job: What it says about its job, for the log.
    """

    event: str
    runner_version: str = ""
    load: float | None = None
    job: dict[str, str | int] = field(default_factory=dict)


def read_declaration(body: bytes) -> Declaration:
    """Read the body of a claim."""
    document = _document(body)
    listed = document.get("capabilities")
    texts = [word for word in listed if isinstance(word, str)] if isinstance(listed, list) else []
    words = dict.fromkeys(text.lower() for text in texts if _CAPABILITY.fullmatch(text.lower()))
    return Declaration(
        capabilities=tuple(words)[:_MOST_CAPABILITIES],
        runner_version=_version(document),
        heartbeat_seconds=_seconds(document),
    )


def read_report(body: bytes) -> Report | None:
    """Read the body of an event; None if it is none."""
    document = _document(body)
    event = document.get("event")
    if event not in EVENTS:
        return None
    return Report(
        event=event,
        runner_version=_version(document),
        load=_load(document),
        job={name: value for name in _JOB if (value := _fact(document.get(name))) is not None},
    )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _version(document: dict[str, Any]) -> str:
    version = document.get("runner_version")
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else ""


def _seconds(document: dict[str, Any]) -> int:
    seconds: Any = document.get("heartbeat_seconds")
    is_whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    is_announced = is_whole and 0 < seconds <= _LONGEST_HEARTBEAT_SECONDS
    return max(seconds, _SHORTEST_HEARTBEAT_SECONDS) if is_announced else 0


def _load(document: dict[str, Any]) -> float | None:
    load: Any = document.get("load")
    is_number = isinstance(load, (int, float)) and not isinstance(load, bool)
    # NaN is in no range
    return round(float(load), 2) if is_number and 0 <= load <= _HIGHEST_LOAD else None


def _fact(value: object) -> str | int | None:
    if isinstance(value, str) and value:
        return value[:_LONGEST_TEXT]
    return value if type(value) is int else None
