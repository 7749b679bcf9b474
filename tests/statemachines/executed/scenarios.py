"""One scenario for each Catch of the file: (state, its errors) -> a life that takes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.waiting import until

from ..rig import Life, Rig

PARK = "dynamodb:UpdateItem"


CONDITION = "DynamoDb.ConditionalCheckFailedException"


NO_CAPACITY = "Capacity is unavailable at this time. Please try again later"


def api_error(on: str, match: str = "", code: str = "ResourceNotFoundException") -> dict[str, Any]:
    return {
        "on": on,
        "outcome": "error",
        "match": match,
        "code": code,
        "message": "asked for",
        "status": 400,
    }


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
    life.fault(**api_error("ecs:RunTask", code="ClusterNotFoundException")).start()


def no_capacity(life: Life) -> Life:
    return life.fault(on="ecs:RunTask", outcome="failure", reason=NO_CAPACITY)


def released_before_waiting_for_capacity(life: Life) -> None:
    no_capacity(life)
    with life.held(PARK, '"S": "capacity"'):
        life.start().at(PARK)
        life.write(released_at={"N": "1"})


def released_while_waiting_for_capacity(life: Life) -> None:
    no_capacity(life).start().fail("capacity", "Runner.Released", "the fleet is drained")


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
    life.start(class_timeouts={"boot": 1})


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
    life.start(class_timeouts={"idle": 1}).succeed("runner")


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
    claim(life, heartbeat_seconds=30).succeed("job")


def runner_is_offline(life: Life) -> None:
    claim(life.answer("check", "offline").start(), heartbeat_seconds=0.1).succeed("job")


def github_unreachable_without_heartbeats(life: Life) -> None:
    life.answer("check", "fail").start(timeouts={"RunnerTtlSeconds": "8"})
    claim(life, heartbeat_seconds=0.1).succeed("job")


def claim(life: Life, *, heartbeat_seconds: float) -> Life:
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
    ("AwaitCapacity", "Runner.Released"): released_while_waiting_for_capacity,
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
    ("WaitForJob", "Runner.TaskStopped"): gone_without_a_job,
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


def no_task_stays(rig: Rig, life: Life) -> None:
    until(lambda: not rig.running_tasks(life.runner_id), f"no task of {life.runner_id} is left")
