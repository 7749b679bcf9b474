"""Phase times out of an execution's history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cdk_runner_fleet._assets import STATE_MACHINE
from cdk_runner_fleet.history import PHASES, phase_seconds, read_steps


class History:
    """GetExecutionHistory in pages of two."""

    def __init__(self, *events: tuple[str, str | None, float]) -> None:
        self._events = [
            {
                "type": kind,
                "timestamp": datetime.fromtimestamp(at, UTC),
                **(
                    {f"state{kind.split('State')[1]}EventDetails": {"name": state}} if state else {}
                ),
            }
            for kind, state, at in events
        ]

    def get_paginator(self, name: str) -> History:
        assert name == "get_execution_history"
        return self

    def paginate(self, **_: object) -> Iterator[dict[str, Any]]:
        for first in range(0, len(self._events), 2):
            yield {"events": self._events[first : first + 2]}


def test_a_phase_is_all_of_its_stays() -> None:
    history = History(
        ("ExecutionStarted", None, 0.0),
        ("TaskStateEntered", "LaunchTask", 1.0),
        ("TaskStateExited", "LaunchTask", 1.5),
        ("ChoiceStateEntered", "CheckLaunch", 1.5),
        ("ChoiceStateExited", "CheckLaunch", 1.5),
        ("TaskStateEntered", "AwaitBuild", 2.0),
        ("TaskStateExited", "AwaitBuild", 5.0),
        ("TaskStateEntered", "LaunchTask", 5.0),
        ("TaskStateExited", "LaunchTask", 5.25),
        ("TaskStateEntered", "RunJob", 6.0),
    )
    steps = read_steps(history, "arn")
    assert [step.state for step in steps] == ["LaunchTask", "AwaitBuild", "LaunchTask", "RunJob"]
    assert steps[-1].left_at is None
    assert phase_seconds(steps) == {"start": 0.75, "image": 3.0, "wait": 0, "run": 0, "stop": 0}


def test_an_end_from_outside_ends_the_last_stay() -> None:
    history = History(
        ("ExecutionStarted", None, 0.0),
        ("TaskStateEntered", "RunJob", 1.0),
        ("ExecutionAborted", None, 4.0),
    )
    assert phase_seconds(read_steps(history, "arn"))["run"] == 3.0


def test_every_state_that_takes_time_belongs_to_one_phase() -> None:
    states = json.loads(STATE_MACHINE.read_text())["States"]
    lasting = {name for name, state in states.items() if state["Type"] in ("Task", "Wait")}
    named = [state for phase in PHASES.values() for state in phase]
    # ReadRunner lies between two phases and takes one read
    assert lasting - {"ReadRunner"} == set(named)
    assert len(named) == len(set(named))
