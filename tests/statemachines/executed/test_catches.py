"""The shipped machine, executed: every Catch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ..rig import Rig
from .scenarios import ALL, CONDITION, SCENARIOS, Played, no_task_stays

# --- one scenario for each Catch of the file: (state, its errors) -> a life that takes it ---


SUCCEEDS = {
    ("RecordRunner", CONDITION),
    ("AwaitCapacity", CONDITION),
    ("AwaitBuild", "Runner.Released"),
    ("WaitForRunner", CONDITION),
    ("WaitForRunner", "Runner.Released"),
    ("WaitForJob", CONDITION),
    ("WaitForJob", "States.Timeout"),
    ("WaitForJob", "Runner.Released"),
    ("RunJob", CONDITION),
    ("AwaitCapacity", "Runner.Released"),
    ("StopTask", "Ecs.InvalidParameterException"),
}


TOLD_THAT_THE_TASK_IS_GONE = {
    ("StopUnreadyTask", "Ecs.InvalidParameterException"),
    ("StopTask", "Ecs.InvalidParameterException"),
}


def test_there_is_a_scenario_for_every_catch(machine: dict[str, Any]) -> None:
    catches = {
        (name, catch["ErrorEquals"][0])
        for name, state in machine["States"].items()
        for catch in state.get("Catch", [])
    }
    assert set(SCENARIOS) == catches


@pytest.mark.parametrize(("state", "error"), SCENARIOS)
def test_catch(
    rig: Rig,
    machine: dict[str, Any],
    played: Played,
    state: str,
    error: str,
) -> None:
    [catch] = [c for c in machine["States"][state]["Catch"] if c["ErrorEquals"][0] == error]
    life = played[state, error].result()
    path = life.path()
    steps = list(pairwise(path))
    assert (state, catch["Next"]) in steps, path
    end = life.end()
    assert end["status"] == ("SUCCEEDED" if (state, error) in SUCCEEDS else "FAILED"), path
    if end["status"] == "FAILED":
        assert end["error"], path
        assert not end["error"].startswith("States."), end
    row = life.row()
    if state == "RecordFailed":
        assert end["error"] == "Runner.Terminated"
    elif (state, error) == ("RecordRunner", CONDITION):
        assert path == ["RecordRunner", "EndQuietly"]
    else:
        assert row["status"] == ("OFFLINE" if end["status"] == "SUCCEEDED" else "FAILED"), row
        assert "task_token" not in row
        if row["status"] == "FAILED":
            assert row["error"] == end["error"]
            assert row["cause"] == end["cause"]
    if (state, error) not in TOLD_THAT_THE_TASK_IS_GONE | {("StopFailedTask", ALL)}:
        no_task_stays(rig, life)


# --- heartbeats -----------------------------------------------------------------------------


def test_why_github_lost_a_runner_stands_on_its_row(played: Played) -> None:
    life = played["CheckRunner", "RunnerOffline"].result()
    life.end()
    row = life.row()
    assert (row["error"], row["cause"]) == ("Runner.HeartbeatLost", "GitHub has lost it")


# --- idle -----------------------------------------------------------------------------------


def test_github_unreachable_stops_nothing_for_ten_tries(played: Played) -> None:
    life = played["ReleaseRunner", ALL].result()
    assert life.path().count("ReleaseRunner") == 10
    assert life.row()["error"] == "Runner.ReleaseFailed"
