"""The shipped machine, executed: every Catch, every time-out and every order of signals."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from tests.waiting import until

from .rig import Life, Rig, open_rig

PARK = "dynamodb:UpdateItem"
CONDITION = "DynamoDb.ConditionalCheckFailedException"
NO_CAPACITY = "Capacity is unavailable at this time. Please try again later"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("tasks")) as rig:
        yield rig


def api_error(on: str, match: str = "", code: str = "ResourceNotFoundException") -> dict[str, Any]:
    return {
        "on": on,
        "outcome": "error",
        "match": match,
        "code": code,
        "message": "asked for",
        "status": 400,
    }


# --- one scenario for each Catch of the file: (state, its errors) -> a life that takes it


def record_runner_known(life: Life) -> None:
    rig = life.rig
    rig.dynamodb.put_item(
        TableName=rig.runners,
        Item={"runner_id": {"S": life.runner_id}, "status": {"S": "OFFLINE"}},
    )
    life.start()


def record_runner_broken(life: Life) -> None:
    life.fault(**api_error("dynamodb:PutItem")).start()


def launch_broken(life: Life) -> None:
    life.fault(**api_error("ecs:RunTask", code="AccessDeniedException")).start()


def no_capacity(life: Life) -> Life:
    return life.fault(on="ecs:RunTask", outcome="failure", reason=NO_CAPACITY)


def released_before_waiting_for_capacity(life: Life) -> None:
    no_capacity(life)
    with life.held(PARK, '"S": "capacity"'):
        life.start().at(PARK)
        life.write(released_at={"N": "1"})


def capacity_comes_late(life: Life) -> None:
    no_capacity(life).start(timeouts={"AwaitCapacity": "1"}).fail("runner", "Runner.Terminated")


def terminated_while_waiting_for_capacity(life: Life) -> None:
    no_capacity(life).start().fail("capacity", "Runner.Terminated")


def find_image_broken(life: Life) -> None:
    life.fault(**api_error("dynamodb:UpdateItem", match="ADD waiters")).start(family="unknown")


def start_build_broken(life: Life) -> None:
    life.answer("build", "fail").start(family="unknown")


def build_ended_before_the_wait(life: Life) -> None:
    with life.held("lambda:InvokeFunction"):
        life.start(family="unknown").at("lambda:InvokeFunction")
        life.write(image_ended_at={"N": str(int(time.time()))}, image_error={"S": "no such base"})


def released_while_building(life: Life) -> None:
    life.start(family="unknown").fail("image", "Runner.Released")


def build_too_slow(life: Life) -> None:
    # three builds, each heard of no more
    life.start(family="unknown", timeouts={"ImageBuildTimeoutSeconds": "1"})


def build_failed(life: Life) -> None:
    life.start(family="unknown").fail("image", "Image.BuildFailed", "see the log")


def stopped_before_the_wait(life: Life) -> None:
    with life.held(PARK, '"S": "runner"'):
        life.start().at(PARK)
        life.write(released_at={"N": "1"})


def released_while_booting(life: Life) -> None:
    life.start().fail("runner", "Runner.Released")


def registration_refused(life: Life) -> None:
    life.start().fail("runner", "Runner.RegistrationRefused", "401")


def boot_too_slow(life: Life) -> None:
    life.start(timeouts={"BootTimeoutSeconds": "1"})


CANNOT_PULL = ("runner", "Runner.TaskStopped", "CannotPullContainerError")


def task_stopped_while_booting(life: Life) -> None:
    life.start().fail_again(*CANNOT_PULL).fail(*CANNOT_PULL)


def unready_task_is_gone(life: Life) -> None:
    cannot_stop(life.start(), "InvalidParameterException").fail_again(*CANNOT_PULL)
    life.fail(*CANNOT_PULL)


def unready_task_cannot_be_stopped(life: Life) -> None:
    cannot_stop(life.start(), "AccessDeniedException").fail(*CANNOT_PULL)


def cannot_stop(life: Life, code: str, *, times: int = 1) -> Life:
    """Its first task, which is named by nothing but its ARN when it is stopped."""
    life.parked("runner")
    rule = api_error("ecs:StopTask", match=life.row()["task_id"], code=code)
    life.rig.fault(**rule, times=times)
    return life


def started_before_the_wait(life: Life) -> None:
    token = life.start().parked("runner")
    life.write(started_at={"N": "1"}, completed_at={"N": "2"})
    life.rig.states.send_task_success(taskToken=token, output="{}")


def idle_too_long(life: Life) -> None:
    life.start(timeouts={"IdleTimeoutSeconds": "1"}).succeed("runner")


def released_while_waiting(life: Life) -> None:
    life.start().succeed("runner").fail("job", "Runner.Released", "the job was cancelled")


def gone_without_a_job(life: Life) -> None:
    # a runner exits 0 for most of its own failures too: its job still waits
    life.start().succeed("runner").fail_again("job", "Runner.TaskExited")
    life.succeed("runner").fail("job", "Runner.TaskStopped", "SpotInterruption")


def terminated_while_waiting(life: Life) -> None:
    life.start().succeed("runner").fail("job", "Runner.Terminated")


def github_unreachable_when_idle(life: Life) -> None:
    idle_too_long(life.answer("deregister", "fail"))


def completed_before_the_wait(life: Life) -> None:
    token = life.start().succeed("runner").parked("job")
    life.write(completed_at={"N": "2"})
    life.rig.states.send_task_success(taskToken=token, output="{}")


def heart_stops(life: Life) -> None:
    # the end of the job's time comes before GitHub is asked
    life.start(timeouts={"RunnerTtlSeconds": "2"})
    _claim(life, heartbeat_seconds=30).succeed("job")


def runner_is_offline(life: Life) -> None:
    _claim(life.answer("check", "offline").start(), heartbeat_seconds=0.1).succeed("job")


def github_unreachable_without_heartbeats(life: Life) -> None:
    life.answer("check", "fail").start(timeouts={"RunnerTtlSeconds": "8"})
    _claim(life, heartbeat_seconds=0.1).succeed("job")


def _claim(life: Life, *, heartbeat_seconds: float) -> Life:
    output = json.dumps({"signal": "claimed", "heartbeat_seconds": heartbeat_seconds})
    life.rig.states.send_task_success(taskToken=life.parked("runner"), output=output)
    return life


def stopped_in_the_middle_of_a_job(life: Life) -> None:
    life.start().succeed("runner", "job")
    life.fail("completion", "Runner.TaskStopped", "SpotInterruption")


def row_cannot_be_read(life: Life) -> None:
    token = life.start().parked("runner")
    life.write(started_at={"N": "1"})
    life.fault(**api_error("dynamodb:GetItem", match="ConsistentRead"))
    life.rig.states.send_task_success(taskToken=token, output="{}")


def ended_task_is_gone(life: Life) -> None:
    cannot_stop(life.start(), "InvalidParameterException").succeed("runner", "job", "completion")


def ended_task_cannot_be_stopped(life: Life) -> None:
    cannot_stop(life.start(), "AccessDeniedException").succeed("runner", "job", "completion")


def offline_cannot_be_recorded(life: Life) -> None:
    life.fault(**api_error("dynamodb:UpdateItem", match="OFFLINE"))
    life.start().succeed("runner", "job", "completion")


def failed_task_cannot_be_stopped(life: Life) -> None:
    cannot_stop(life.start(), "AccessDeniedException", times=11)
    life.fail("runner", "Runner.Terminated")


def registration_cannot_be_removed(life: Life) -> None:
    life.answer("deregister", "fail").start().fail("runner", "Runner.Terminated")


def failure_cannot_be_recorded(life: Life) -> None:
    life.fault(**api_error("dynamodb:UpdateItem", match="FAILED"))
    life.start().fail("runner", "Runner.Terminated")


ALL = "States.ALL"
Played = dict[tuple[str, str], Future[Life]]
SCENARIOS: dict[tuple[str, str], Callable[[Life], None]] = {
    ("RecordRunner", CONDITION): record_runner_known,
    ("RecordRunner", ALL): record_runner_broken,
    ("LaunchTask", ALL): launch_broken,
    ("AwaitCapacity", CONDITION): released_before_waiting_for_capacity,
    ("AwaitCapacity", "States.Timeout"): capacity_comes_late,
    ("AwaitCapacity", ALL): terminated_while_waiting_for_capacity,
    ("FindImage", ALL): find_image_broken,
    ("StartBuild", ALL): start_build_broken,
    ("AwaitBuild", CONDITION): build_ended_before_the_wait,
    ("AwaitBuild", "Runner.Released"): released_while_building,
    ("AwaitBuild", "States.Timeout"): build_too_slow,
    ("AwaitBuild", ALL): build_failed,
    ("WaitForRunner", CONDITION): stopped_before_the_wait,
    ("WaitForRunner", "Runner.Released"): released_while_booting,
    ("WaitForRunner", "Runner.Terminated"): registration_refused,
    ("WaitForRunner", "States.Timeout"): boot_too_slow,
    ("WaitForRunner", ALL): task_stopped_while_booting,
    ("StopUnreadyTask", "Ecs.InvalidParameterException"): unready_task_is_gone,
    ("StopUnreadyTask", ALL): unready_task_cannot_be_stopped,
    ("WaitForJob", CONDITION): started_before_the_wait,
    ("WaitForJob", "States.Timeout"): idle_too_long,
    ("WaitForJob", "Runner.Released"): released_while_waiting,
    ("WaitForJob", "Runner.TaskExited"): gone_without_a_job,
    ("WaitForJob", ALL): terminated_while_waiting,
    ("ReleaseRunner", ALL): github_unreachable_when_idle,
    ("RunJob", CONDITION): completed_before_the_wait,
    ("RunJob", "States.HeartbeatTimeout"): heart_stops,
    ("RunJob", ALL): stopped_in_the_middle_of_a_job,
    ("CheckRunner", "RunnerOffline"): runner_is_offline,
    ("CheckRunner", ALL): github_unreachable_without_heartbeats,
    ("ReadRunner", ALL): row_cannot_be_read,
    ("StopTask", "Ecs.InvalidParameterException"): ended_task_is_gone,
    ("StopTask", ALL): ended_task_cannot_be_stopped,
    ("RecordOffline", ALL): offline_cannot_be_recorded,
    ("StopFailedTask", ALL): failed_task_cannot_be_stopped,
    ("DeregisterRunner", ALL): registration_cannot_be_removed,
    ("RecordFailed", ALL): failure_cannot_be_recorded,
}

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


@pytest.fixture(scope="module")
def played(rig: Rig) -> Played:
    """A life for each scenario, all of them played at once."""

    def play(scenario: Callable[[Life], None]) -> Life:
        life = rig.life()
        scenario(life)
        return life

    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        return {key: pool.submit(play, scenario) for key, scenario in SCENARIOS.items()}


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
        _no_task_stays(rig, life)


def _no_task_stays(rig: Rig, life: Life) -> None:
    until(lambda: not rig.running_tasks(life.runner_id), f"no task of {life.runner_id} is left")


# --- the happy path, and orders of signals


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
    _no_task_stays(rig, life)


def test_statuses_are_the_original_ones_in_order(rig: Rig) -> None:
    life = rig.start()
    seen = []
    for phase in ("runner", "job", "completion"):
        life.parked(phase)
        seen.append(life.row()["status"])
        life.succeed(phase)
    life.end()
    assert [*seen, life.row()["status"]] == ["STARTING", "WAITING_FOR_JOB", "RUNNING", "OFFLINE"]


def test_the_ticket_is_on_the_row_as_a_hash_alone(rig: Rig) -> None:
    life = rig.start()
    life.parked("runner")
    row = life.row()
    [task] = rig.ecs.describe_tasks(cluster=rig.cluster, tasks=[row["task_id"]])["tasks"]
    [container] = task["overrides"]["containerOverrides"]
    variables = {v["name"]: v["value"] for v in container["environment"]}
    ticket = variables["RUNNER_TICKET"]
    assert row["ticket_hash"] == hashlib.sha256(ticket.encode()).hexdigest()
    assert ticket not in json.dumps(row)
    life.fail("runner", "Runner.Terminated")
    life.end()


def test_a_second_try_has_a_ticket_and_a_client_token_of_its_own(rig: Rig) -> None:
    life = rig.start()
    life.parked("runner")
    first = life.row()
    life.fail_again(*CANNOT_PULL)
    second = life.row()
    assert second["ticket_hash"] != first["ticket_hash"]
    assert "claimed_at" not in second
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
    _no_task_stays(rig, life)


# --- turns


def in_line(rig: Rig, runner_id: str, **more: dict[str, str]) -> None:
    row = {"runner_id": {"S": runner_id}, "waiting_for": {"S": "turn"}, "live": {"S": "in_line"}}
    rig.dynamodb.put_item(TableName=rig.runners, Item=row | more)


def test_a_runner_whose_turn_has_come_takes_its_row_over(rig: Rig) -> None:
    in_line(rig, "fleet-90-1", start_input={"S": "{}"})
    life = rig.start(runner_id="fleet-90-1", head_sha="abc", queued_delivery="d-1", in_line_at=7)
    life.parked("runner")
    row = life.row()
    assert row["live"] == "started"
    assert "start_input" not in row
    assert (row["head_sha"], row["queued_delivery"], row["in_line_at"]) == ("abc", "d-1", "7")
    life.fail("runner", "Runner.Terminated").end()
    assert "live" not in life.row()


def test_a_runner_released_in_line_does_not_start(rig: Rig) -> None:
    in_line(rig, "fleet-91-1", released_at={"N": "1"})
    assert rig.start(runner_id="fleet-91-1").path() == ["RecordRunner", "EndQuietly"]


def test_a_runner_that_stood_in_no_line_has_no_time_in_it(rig: Rig) -> None:
    life = rig.start()
    life.parked("runner")
    assert life.row()["in_line_at"] == "0"
    life.fail("runner", "Runner.Terminated").end()


# --- capacity


def test_no_capacity_takes_the_next_provider(rig: Rig) -> None:
    life = no_capacity(rig.life()).start(capacity=("FARGATE_SPOT", "FARGATE"))
    life.parked("runner")
    assert life.row()["capacity_provider"] == "FARGATE"
    life.succeed("runner", "job", "completion")
    assert life.path().count("LaunchTask") == 2


def test_no_capacity_anywhere_waits_and_tries_again(rig: Rig) -> None:
    life = rig.life().fault(on="ecs:RunTask", outcome="failure", reason="RESOURCE:ENI")
    life.start(timeouts={"AwaitCapacity": "1"}).succeed("runner", "job", "completion")
    assert life.path()[:5] == [
        "RecordRunner",
        "LaunchTask",
        "CheckLaunch",
        "AwaitCapacity",
        "LaunchTask",
    ]


def test_no_capacity_as_an_exception_waits_too(rig: Rig) -> None:
    rule = api_error("ecs:RunTask", code="ClientException") | {"message": NO_CAPACITY}
    life = rig.life().fault(**rule)
    life.start(timeouts={"AwaitCapacity": "1"}).succeed("runner", "job", "completion")
    assert "AwaitCapacity" in life.path()


def test_a_permanent_failure_fails_at_once_with_its_reason(rig: Rig) -> None:
    life = rig.life().fault(on="ecs:RunTask", outcome="failure", reason="MISSING").start()
    assert life.path().count("LaunchTask") == 1
    assert life.row()["error"] == "Runner.LaunchFailed"
    assert "MISSING" in life.row()["cause"]


# --- images


def test_an_image_that_is_being_built_is_waited_for_without_another_build(rig: Rig) -> None:
    life = rig.start(family="unknown", runner_id="fleet-88-1")
    life.parked("image")
    assert "StartBuild" in rig.entered(life.arn)
    rig.image(
        life.image_tag, status={"S": "BUILDING"}, lease_expires_at={"N": str(int(time.time()) + 60)}
    )
    other = rig.start(family="unknown", image_tag=life.image_tag)
    other.parked("image")
    assert other.row()["status"] == "IMAGE_CREATING"
    assert "StartBuild" not in rig.entered(other.arn)
    for waiting in (life, other):
        waiting.fail("image", "Runner.Released")
        waiting.end()


def test_the_end_of_an_earlier_build_does_not_end_the_wait_for_another(rig: Rig) -> None:
    life = rig.life()
    with life.held("lambda:InvokeFunction"):
        life.start(family="unknown").at("lambda:InvokeFunction")
        life.write(image_ended_at={"N": "1"})
    life.parked("image")
    life.fail("image", "Runner.Released")
    assert life.path().count("LaunchTask") == 1


def test_a_dead_builder_is_taken_over(rig: Rig) -> None:
    life_tag = "image-dead"
    rig.image(life_tag, status={"S": "BUILDING"}, lease_expires_at={"N": "1"})
    life = rig.start(family="unknown", image_tag=life_tag)
    life.parked("image")
    assert "StartBuild" in rig.entered(life.arn)
    life.fail("image", "Runner.Released").end()


def test_a_built_image_is_launched_after_the_wait(rig: Rig) -> None:
    family = "built-later"
    life = rig.start(family=family)
    life.parked("image")
    rig.ecs.register_task_definition(
        family=family,
        cpu="512",
        memory="1024",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        containerDefinitions=[{"name": "runner", "image": "example.com/runner:2"}],
    )
    life.succeed("image", "runner", "job", "completion")
    assert life.end()["status"] == "SUCCEEDED"


def test_an_image_that_is_there_but_cannot_be_launched_is_asked_for_and_fails_in_the_end(
    rig: Rig,
) -> None:
    family = "never-registered"
    tag = "image-registered-nowhere"
    rig.image(tag, status={"S": "READY"}, task_definition={"S": family})
    life = rig.start(family=family, image_tag=tag)
    life.succeed("image")
    assert life.end()["status"] == "FAILED"
    assert life.path().count("LaunchTask") == 3
    [request] = _payloads(rig, life, "StartBuild")
    assert request["gone"] is True


def test_the_cause_of_a_build_that_failed_a_moment_ago_is_learned_without_another(rig: Rig) -> None:
    life_tag = "image-failed"
    log = "https://console.example/log"
    rig.image(
        life_tag,
        status={"S": "FAILED"},
        build_error={"S": "FAILED in BUILD: no such base"},
        build_log_url={"S": log},
        retry_at={"N": str(int(time.time()) + 60)},
    )
    end = rig.start(family="unknown", image_tag=life_tag).end()
    assert end["error"] == "Image.BuildFailed"
    assert end["cause"] == f"FAILED in BUILD: no such base; its log: {log}"


def test_a_build_that_failed_a_while_ago_is_tried_again(rig: Rig) -> None:
    life_tag = "image-failed-long-ago"
    rig.image(
        life_tag, status={"S": "FAILED"}, build_error={"S": "no"}, retry_at={"N": "1700000000"}
    )
    life = rig.start(family="unknown", image_tag=life_tag)
    life.parked("image")
    assert "StartBuild" in rig.entered(life.arn)
    life.fail("image", "Runner.Released").end()


def test_an_image_in_line_for_its_build_is_waited_for(rig: Rig) -> None:
    life_tag = "image-queued"
    soon = str(int(time.time()) + 60)
    rig.image(life_tag, status={"S": "QUEUED"}, lease_expires_at={"N": soon})
    life = rig.start(family="unknown", image_tag=life_tag)
    life.parked("image")
    assert "StartBuild" not in rig.entered(life.arn)
    life.fail("image", "Runner.Released").end()


def test_an_image_that_is_long_in_line_does_not_count_as_not_built(rig: Rig) -> None:
    life = rig.life().answer("build", "queued")
    life.start(family="unknown", timeouts={"ImageBuildTimeoutSeconds": "1"})
    until(lambda: life.path_so_far().count("StartBuild") >= 5, life.path_so_far)
    # no token of a wait this short: it may be over before it is answered
    life.write(released_at={"N": "1"})
    assert life.end()["status"] == "SUCCEEDED"


def test_who_waits_takes_a_dead_builder_over(rig: Rig) -> None:
    life_tag = "image-of-a-builder-that-dies"
    soon = str(int(time.time()) + 2)
    rig.image(life_tag, status={"S": "BUILDING"}, lease_expires_at={"N": soon})
    timeouts = {"ImageBuildTimeoutSeconds": "3"}
    life = rig.start(family="unknown", image_tag=life_tag, timeouts=timeouts)
    until(lambda: "StartBuild" in life.path_so_far(), life.path_so_far)
    # no token of a wait this short: it may be over before it is answered
    life.write(released_at={"N": "1"})
    assert life.end()["status"] == "SUCCEEDED"


def test_the_log_of_the_build_is_on_the_row_while_it_is_waited_for(rig: Rig) -> None:
    life_tag = "image-with-a-log"
    soon = str(int(time.time()) + 60)
    rig.image(
        life_tag,
        status={"S": "BUILDING"},
        lease_expires_at={"N": soon},
        build_log_url={"S": "https://console.example/log"},
    )
    life = rig.start(family="unknown", image_tag=life_tag)
    life.parked("image")
    assert life.row()["build_log_url"] == "https://console.example/log"
    life.fail("image", "Runner.Released").end()


def test_an_image_deleted_in_the_registry_is_built_again(rig: Rig) -> None:
    life_tag = "image-deleted"
    rig.image(life_tag, status={"S": "READY"}, task_definition={"S": "ready"})
    gone = "CannotPullContainerError: example.com/runner@sha256:1: not found"
    life = rig.start(image_tag=life_tag).fail("runner", "Runner.TaskStopped", gone)
    life.parked("image")
    [request] = _payloads(rig, life, "StartBuild")
    assert request["gone"] is True
    life.succeed("image", "runner", "job", "completion")
    assert life.end()["status"] == "SUCCEEDED"


def test_a_ready_image_that_is_gone_fails_at_once(rig: Rig) -> None:
    gone = "CannotPullContainerError: example.com/runner:1: not found"
    life = rig.start(image_base="").fail("runner", "Runner.TaskStopped", gone)
    assert life.end()["error"] == "Runner.LaunchFailed"
    assert life.path().count("LaunchTask") == 1


def test_a_runner_that_github_retired_is_not_started_again(rig: Rig) -> None:
    life = rig.start().succeed("runner").fail("job", "Runner.VersionRetired", "exit code 7")
    assert life.end()["error"] == "Runner.VersionRetired"
    assert life.path().count("LaunchTask") == 1


def _payloads(rig: Rig, life: Life, state: str) -> list[dict[str, Any]]:
    """What a state has asked its function."""
    found, entered = [], ""
    for page in rig.states.get_paginator("get_execution_history").paginate(executionArn=life.arn):
        for event in page["events"]:
            entered = event.get("stateEnteredEventDetails", {}).get("name", entered)
            if entered == state and "taskScheduledEventDetails" in event:
                parameters = json.loads(event["taskScheduledEventDetails"]["parameters"])
                found.append(parameters["Payload"])
    return found


# --- heartbeats


def test_a_runner_that_github_still_hears_runs_on_without_heartbeats(rig: Rig) -> None:
    life = rig.start()
    _claim(life, heartbeat_seconds=0.1).succeed("job")
    first = life.parked("completion")
    until(lambda: life.parked("completion") != first, life.path_so_far)
    assert rig.running_tasks(life.runner_id)
    life.succeed("completion")
    assert life.end()["status"] == "SUCCEEDED"
    path = life.path()
    assert path[path.index("CheckRunner") + 1] == "RunJob"


def test_a_heart_that_beats_does_not_make_a_job_longer(rig: Rig) -> None:
    life = rig.start(timeouts={"RunnerTtlSeconds": "3"})
    _claim(life, heartbeat_seconds=30).succeed("job")
    token = life.parked("completion")

    def is_over_by_the_next_beat() -> bool:
        with suppress(rig.states.exceptions.TaskTimedOut):
            rig.states.send_task_heartbeat(taskToken=token)
        status = rig.states.describe_execution(executionArn=life.arn)["status"]
        return bool(status != "RUNNING")

    until(is_over_by_the_next_beat, life.path_so_far)
    assert life.end()["error"] == "Runner.JobTimeout"
    assert "CheckRunner" not in life.path()


def test_why_github_lost_a_runner_stands_on_its_row(played: Played) -> None:
    life = played["CheckRunner", "RunnerOffline"].result()
    life.end()
    row = life.row()
    assert (row["error"], row["cause"]) == ("Runner.HeartbeatLost", "GitHub has lost it")


def test_a_runner_that_sends_none_is_not_asked_for(rig: Rig) -> None:
    life = rig.start(timeouts={"RunnerTtlSeconds": "2"}).succeed("runner", "job")
    assert life.end()["error"] == "Runner.JobTimeout"
    assert "CheckRunner" not in life.path()


def test_the_time_of_a_job_goes_on_while_its_heart_is_looked_for(rig: Rig) -> None:
    life = rig.start(timeouts={"RunnerTtlSeconds": "8"})
    _claim(life, heartbeat_seconds=0.1).succeed("job")
    assert life.end()["error"] == "Runner.JobTimeout"
    assert 1 <= life.path().count("CheckRunner") <= 7


# --- idle


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


def test_github_unreachable_stops_nothing_for_ten_tries(played: Played) -> None:
    life = played["ReleaseRunner", ALL].result()
    assert life.path().count("ReleaseRunner") == 10
    assert life.row()["error"] == "Runner.ReleaseFailed"


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
    life.fail_again("runner", "Runner.TaskStopped")
    assert not {"exit_code", "stopped_reason", "stop_code"} & set(life.row())
    life.fail("runner", "Runner.Terminated").end()


# --- hostile values


HOSTILE = [
    'quote " and \\ backslash',
    "{% $states.context.Execution.Id %}",
    "$ticket & $uuid()",
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
