"""The shipped machine, executed: the happy path, every order of signals, and hostile values."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.waiting import until

from ..rig import RUNNER_API_URL, Rig
from .scenarios import CANNOT_PULL, PARK, no_task_stays

# --- the happy path, and orders of signals --------------------------------------------------


def test_happy_path_takes_eight_transitions(rig: Rig) -> None:
    life = rig.start()
    life.parked("runner")
    began = time.time()
    life.succeed("runner", "job")
    # its times are whole seconds: they differ from the next one on
    until(lambda: int(time.time()) > began)
    life.succeed("completion")
    assert life.path() == [
        "RecordRunner",
        "LaunchTask",
        "CheckLaunch",
        "WaitForRunner",
        "WaitForJob",
        "RunJob",
        "StopTask",
        "RecordOffline",
    ]
    row = life.row()
    assert row["status"] == "OFFLINE"
    assert float(row["cost_usd"]) == pytest.approx(0.0006)  # a minute at the least
    assert int(row["ended_at"]) > int(row["launched_at"])
    no_task_stays(rig, life)


def test_statuses_are_the_original_ones_in_order(rig: Rig) -> None:
    life = rig.start()
    seen = []
    for phase in ("runner", "job", "completion"):
        life.parked(phase)
        seen.append(life.row()["status"])
        life.succeed(phase)
    life.end()
    assert [*seen, life.row()["status"]] == ["STARTING", "WAITING_FOR_JOB", "RUNNING", "OFFLINE"]


def test_a_task_is_told_nothing_that_its_execution_does_not_say_openly(rig: Rig) -> None:
    life = rig.start()
    life.parked("runner")
    row = life.row()
    [task] = rig.ecs.describe_tasks(cluster=rig.cluster, tasks=[row["task_id"]])["tasks"]
    [container] = task["overrides"]["containerOverrides"]
    assert {v["name"]: v["value"] for v in container["environment"]} == {
        "RUNNER_ID": row["runner_id"],
        "FLEET_URL": RUNNER_API_URL,
        "FLEET_REGION": "us-east-1",
        "RUNNER_LABELS": row["runner_labels"],
        "RUNNER_CLASS_CAPABILITIES": "",
    }
    life.fail("runner", "Runner.Terminated")
    life.end()


def test_the_row_names_the_task_that_may_claim(rig: Rig) -> None:
    life = rig.start()
    life.parked("runner")
    first = life.row()
    life.write(claimed_at={"N": "1"}, claim_repeated_at={"N": "2"})
    life.fail_again(*CANNOT_PULL)
    second = life.row()
    assert second["task_id"] != first["task_id"]
    assert {"claimed_at", "claim_repeated_at"}.isdisjoint(second)
    life.succeed("runner", "job", "completion")
    assert life.end()["status"] == "SUCCEEDED"


@pytest.mark.parametrize("early", ["started", "completed"])
def test_a_signal_that_comes_before_its_state_is_not_lost(rig: Rig, early: str) -> None:
    life = rig.start()
    token = life.parked("runner")
    life.write(started_at={"N": "1"})
    if early == "completed":
        life.write(completed_at={"N": "2"})
    rig.states.send_task_success(taskToken=token, output="{}")
    if early == "started":
        life.succeed("completion")
    assert life.end()["status"] == "SUCCEEDED"


@pytest.mark.parametrize("late", [("started",), ("started", "completed")], ids="-".join)
def test_a_task_is_not_waited_for_when_the_one_before_it_had_a_job(
    rig: Rig, late: tuple[str, ...]
) -> None:
    """It went before the fleet heard of its job, so that another one was started."""
    life = rig.start().succeed("runner")
    life.parked("job")
    life.write(**{f"{signal}_at": {"N": "1"} for signal in late})
    life.fail("job", "Runner.TaskExited")
    path = life.path()
    assert (path.count("LaunchTask"), path.count("WaitForJob")) == (2, 1)
    assert "StopTask" in path
    # GitHub calls its registration busy until it has given the job of a task that is gone up
    assert not {"ReleaseRunner", "RunJob"} & set(path)
    assert life.end()["status"] == "SUCCEEDED"


def test_signals_racing_the_parks_lose_nobody(rig: Rig) -> None:
    """Signals written by another thread at any moment: every life ends by itself."""

    def live(_: int) -> str:
        life = rig.start()
        life.succeed("runner")
        for name in ("started_at", "completed_at"):
            life.write(**{name: {"N": "1"}})
            row = life.row()
            if row.get("waiting_for") in {"job", "completion"}:
                # too late: the park was left already
                with suppress(
                    rig.states.exceptions.TaskTimedOut,
                    rig.states.exceptions.InvalidToken,
                    rig.states.exceptions.TaskDoesNotExist,
                ):
                    rig.states.send_task_success(taskToken=row["task_token"], output="{}")
        return str(life.end()["status"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(live, range(24))) == ["SUCCEEDED"] * 24


def test_a_runner_terminated_between_two_waits_does_not_go_on(rig: Rig) -> None:
    life = rig.life()
    with life.held(PARK, '"S": "completion"'):
        life.start().succeed("runner", "job").at(PARK)
        life.write(released_at={"N": "1"}, terminated_at={"N": "1"})
    assert life.end()["error"] == "Runner.Terminated"
    no_task_stays(rig, life)


# --- hostile values -------------------------------------------------------------------------


HOSTILE = [
    'quote " and \\ backslash',
    "{% $states.context.Execution.Id %}",
    "$runner_id & $uuid()",
    '"; $x := 1; "',
    "${ClusterArn}",
    "line\nbreak\ttab",
    "ünïcødé 名前 🚀",
    "<script>'x'</script>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_a_job_says_is_evaluated(rig: Rig, text: str) -> None:
    life = rig.start(job_name=text, runner_labels=text, workflow_name=text, waiting_labels=text)
    life.parked("runner")
    row = life.row()
    assert (row["job_name"], row["runner_labels"], row["workflow_name"]) == (text, text, text)
    life.succeed("runner")
    life.parked("job")
    assert life.row()["waiting_labels"] == text
    life.succeed("job", "completion")
    assert life.end()["status"] == "SUCCEEDED"


def test_hostile_causes_reach_the_row_as_they_are(rig: Rig) -> None:
    cause = "\n".join(HOSTILE)
    life = rig.start().fail("runner", "Runner.Terminated", cause)
    assert life.end()["cause"] == cause
    assert life.row()["cause"] == cause
