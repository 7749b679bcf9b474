"""The shipped machine, executed: heartbeats, and runners that no job comes to."""

from __future__ import annotations

import time
from contextlib import suppress

from tests.waiting import until

from ..rig import Life, Rig
from .scenarios import claim, github_unreachable_when_idle, idle_too_long

# --- heartbeats -----------------------------------------------------------------------------


def test_a_runner_that_github_still_hears_runs_on_without_heartbeats(rig: Rig) -> None:
    life = rig.start()
    claim(life, heartbeat_seconds=0.1).succeed("job")
    first = life.parked("completion")
    until(lambda: life.parked("completion") != first, life.path_so_far)
    assert rig.running_tasks(life.runner_id)
    life.succeed("completion")
    assert life.end()["status"] == "SUCCEEDED"
    path = life.path()
    assert path[path.index("CheckRunner") + 1] == "RunJob"


def test_a_heart_that_beats_does_not_make_a_job_longer(rig: Rig) -> None:
    life = rig.start(timeouts={"RunnerTtlSeconds": "3"})
    claim(life, heartbeat_seconds=30).succeed("job")
    token = life.parked("completion")

    def is_over_by_the_next_beat() -> bool:
        with suppress(rig.states.exceptions.TaskTimedOut):
            rig.states.send_task_heartbeat(taskToken=token)
        status = rig.states.describe_execution(executionArn=life.arn)["status"]
        return bool(status != "RUNNING")

    until(is_over_by_the_next_beat, life.path_so_far)
    assert life.end()["error"] == "Runner.JobTimeout"
    assert "CheckRunner" not in life.path()


def test_a_runner_that_sends_none_is_not_asked_for(rig: Rig) -> None:
    life = rig.start(class_timeouts={"job": 2}).succeed("runner", "job")
    ended = life.end()
    assert ended["error"] == "Runner.JobTimeout"
    assert ended["cause"].startswith("the job ran longer than 2 seconds: ")
    assert "CheckRunner" not in life.path()


def test_the_time_of_a_job_goes_on_while_its_heart_is_looked_for(rig: Rig) -> None:
    life = rig.start(timeouts={"RunnerTtlSeconds": "8"})
    claim(life, heartbeat_seconds=0.1).succeed("job")
    assert life.end()["error"] == "Runner.JobTimeout"
    assert 1 <= life.path().count("CheckRunner") <= 7


# --- idle -----------------------------------------------------------------------------------


def exits_after_a_while(life: Life) -> Life:
    """Its time is ten seconds, so a second is long enough for GitHub to have removed it."""
    life.start(timeouts={"IdleTimeoutSeconds": "10"}).succeed("runner").parked("job")
    since = time.monotonic()
    until(lambda: time.monotonic() - since > 1.1, life.path_so_far)
    return life.fail("job", "Runner.TaskExited", "its container exited with 0")


def test_a_runner_that_github_removed_because_no_job_came_has_not_failed(rig: Rig) -> None:
    life = exits_after_a_while(rig.life().answer("deregister", "gone"))
    assert life.end()["status"] == "SUCCEEDED"
    assert life.path().count("LaunchTask") == 1
    row = life.row()
    assert (row["status"], row["end_reason"]) == (
        "OFFLINE",
        "GitHub removed it because no job came",
    )
    assert "error" not in row


def test_a_runner_that_exits_while_github_still_has_it_is_started_once_more(rig: Rig) -> None:
    life = exits_after_a_while(rig.life())
    life.succeed("runner").fail("job", "Runner.TaskStopped", "SpotInterruption")
    assert life.end()["error"] == "Runner.TaskStopped"
    path = life.path()
    assert path[path.index("CheckRelease") + 1] == "ReviewBoot"
    assert (path.count("LaunchTask"), path.count("ReleaseRunner")) == (2, 1)


def test_a_runner_that_exits_at_once_has_failed_whatever_github_says(rig: Rig) -> None:
    life = rig.life().answer("deregister", "gone").start().succeed("runner")
    life.fail_again("job", "Runner.TaskExited").succeed("runner")
    life.fail("job", "Runner.TaskExited")
    assert life.end()["error"] == "Runner.TaskExited"
    assert "ReleaseRunner" not in life.path()


def test_a_runner_that_exits_while_github_cannot_be_asked_is_asked_about_later(rig: Rig) -> None:
    life = exits_after_a_while(rig.life().answer("deregister", "fail"))
    exited = {"exit_code": {"N": "0"}, "stop_code": {"S": "EssentialContainerExited"}}
    life.write(stopped_tasks={"SS": [life.row()["task_id"]]}, **exited)
    until(lambda: "AwaitGitHub" in life.path_so_far(), life.path_so_far)
    life.answer("deregister", "gone")
    assert life.end()["status"] == "SUCCEEDED"
    assert life.path().count("LaunchTask") == 1
    assert life.row()["status"] == "OFFLINE"


def test_a_runner_that_stopped_with_a_job_by_its_own_word_has_no_second_task(rig: Rig) -> None:
    life = rig.start().succeed("runner")
    life.parked("job")
    stopped = {"exit_code": {"N": "143"}, "stop_code": {"S": "SpotInterruption"}}
    life.write(stopped_tasks={"SS": [life.row()["task_id"]]}, **stopped)
    life.succeed("job")
    assert life.end()["error"] == "Runner.TaskStopped"
    assert life.path().count("LaunchTask") == 1
    assert "started_at" not in life.row()


def test_an_idle_runner_that_turns_out_busy_goes_on_to_its_job(rig: Rig) -> None:
    life = rig.life().answer("deregister", "busy")
    idle_too_long(life)
    life.succeed("completion")
    path = life.path()
    assert path[path.index("ReleaseRunner") :] == [
        "ReleaseRunner",
        "CheckRelease",
        "RunJob",
        "StopTask",
        "RecordOffline",
    ]


def test_a_job_that_starts_while_github_is_unreachable_is_not_stopped(rig: Rig) -> None:
    life = rig.life()
    github_unreachable_when_idle(life)
    until(lambda: "AwaitGitHub" in life.path_so_far(), life.path_so_far)
    life.write(started_at={"N": "1"})
    life.succeed("completion")
    assert life.end()["status"] == "SUCCEEDED"
    assert "StopFailedTask" not in life.path()


def test_a_job_refused_before_can_be_served_later(rig: Rig) -> None:
    rig.dynamodb.put_item(
        TableName=rig.runners,
        Item={
            "runner_id": {"S": "fleet-78-1"},
            "status": {"S": "FAILED"},
            "error": {"S": "Job.CannotBeServed"},
        },
    )
    life = rig.start(runner_id="fleet-78-1").succeed("runner", "job", "completion")
    assert life.end()["status"] == "SUCCEEDED"
    assert "error" not in life.row()


def test_what_is_known_of_the_first_task_does_not_speak_of_the_second(rig: Rig) -> None:
    life = rig.start()
    life.parked("runner")
    life.write(exit_code={"N": "0"}, stopped_reason={"S": "old"}, stop_code={"S": "old"})
    life.write(hook_started_at={"N": "1"})
    life.fail_again("runner", "Runner.TaskStopped")
    known = {"exit_code", "stopped_reason", "stop_code", "hook_started_at"}
    assert not known & set(life.row())
    life.fail("runner", "Runner.Terminated").end()


def test_a_runner_whose_time_was_over_needs_no_other_task_whatever_github_has_of_it(
    rig: Rig,
) -> None:
    """It goes while GitHub cannot be asked, which has it still when it can."""
    life = rig.life().answer("deregister", "fail")
    idle_too_long(life)
    until(lambda: "AwaitGitHub" in life.path_so_far(), life.path_so_far)
    exited = {"exit_code": {"N": "0"}, "stop_code": {"S": "EssentialContainerExited"}}
    life.write(stopped_tasks={"SS": [life.row()["task_id"]]}, **exited)
    life.answer("deregister", "idle")
    assert life.end()["status"] == "SUCCEEDED"
    assert life.path().count("LaunchTask") == 1
