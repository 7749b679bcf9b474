"""The table of launch failures against ECS's own model, and over the executed machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import botocore.session
import pytest

from cdk_runner_fleet.rooms.launch_failures import (
    RUN_TASK,
    STOPPED,
    Answer,
    LaunchFailure,
    pattern,
    remedy_of,
)

from .rig import Life, Rig, open_rig

# what ECS says, as far as its documents and its users' reports have it: text -> the table's row
REASONS = {
    "Capacity is unavailable at this time. Please try again later or in a different availability "
    "zone": "Capacity is unavailable",
    "Fargate is not supported in the requested availability zone: us-west-1b": (
        "zone without Fargate"
    ),
    "RESOURCE:CPU": "RESOURCE:*",
    "RESOURCE:MEMORY": "RESOURCE:*",
    "RESOURCE:ENI": "RESOURCE:*",
    "RESOURCE:GPU": "RESOURCE:*",
    "AGENT": "AGENT",
    "ATTRIBUTE": "ATTRIBUTE and LOCATION",
    "LOCATION": "ATTRIBUTE and LOCATION",
    "MISSING": "ClusterNotFoundException",
    "INACTIVE": "ClusterNotFoundException",
    "You've reached the limit on the number of vCPUs you can run concurrently": (
        "limit on the number of vCPUs or tasks"
    ),
    "You've reached the limit on the number of tasks you can run concurrently": (
        "limit on the number of vCPUs or tasks"
    ),
}
ERRORS = {
    ("ThrottlingException", "Rate exceeded"): "ThrottlingException",
    ("ServerException", "Service Unavailable. Please try again later."): "ServerException",
    ("ConflictException", "The RunTask request could not be processed"): "ConflictException",
    (
        "AccessDeniedException",
        "User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform: ecs:RunTask "
        "on resource: arn:aws:ecs:us-east-1:123456789012:task-definition/fleet-3-node because no "
        "identity-based policy allows the ecs:RunTask action",
    ): "AccessDeniedException",
    (
        "AccessDeniedException",
        "User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform: ecs:RunTask "
        "on resource: arn:aws:ecs:us-east-1:123456789012:task-definition/fleet-3-throttled-"
        "insufficient-limitexceeded-serverexception-conflictexception because no identity-based "
        "policy allows the ecs:RunTask action",  # by an image that a job has chosen
    ): "AccessDeniedException",
    (
        "AccessDeniedException",
        "User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform: ecs:RunTask "
        "on resource: * with an explicit deny in a service control policy",
    ): "AccessDeniedException: denied whatever the image",
    (
        "AccessDeniedException",
        "User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform: iam:PassRole "
        "on resource: arn:aws:iam::123456789012:role/y",
    ): "AccessDeniedException: denied whatever the image",
    (
        "AccessDeniedException",
        "User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform: "
        "ecs:TagResource on resource: arn:aws:ecs:us-east-1:123456789012:task/y/*",
    ): "AccessDeniedException: denied whatever the image",
    (
        "InvalidParameterException",
        "Unable to assume the service linked role. Please verify that the ECS service linked role "
        "exists.",
    ): "service-linked role",
    (
        "ClientException",
        "ECS was unable to assume the role 'arn:aws:iam::123456789012:role/x' that was provided "
        "for this task. Please verify that the role being passed has the proper trust relationship",
    ): "role that ECS cannot assume",
    ("BlockedException", "Your account is currently blocked"): "BlockedException",
    ("ClusterNotFoundException", "Cluster not found."): "ClusterNotFoundException",
    ("PlatformUnknownException", "unknown"): "PlatformUnknownException",
    ("PlatformTaskDefinitionIncompatibilityException", "incompatible"): (
        "PlatformTaskDefinitionIncompatibilityException"
    ),
    ("UnsupportedFeatureException", "not supported in this region"): "UnsupportedFeatureException",
    ("UnsupportedFeatureException", "Fargate is not supported in availability zone us-west-1b"): (
        "zone without Fargate"
    ),
    (
        "InvalidParameterException",
        "Fargate is not supported in the requested availability zone: ca-central-1d",
    ): "zone without Fargate",
    (
        "InvalidParameterException",
        "The availability zone of subnet-1 does not support Fargate",
    ): "zone without Fargate",
    ("ClientException", "TaskDefinition not found."): "ClientException",
    ("ClientException", "TaskDefinition is inactive"): "ClientException",
    ("InvalidParameterException", "TaskDefinition not found"): "InvalidParameterException",
    ("ClientException", "No Fargate configuration exists for given values: 100 CPU, 1 memory"): (
        "No Fargate configuration exists"
    ),
    ("ClientException", "You requested more vCPU than your current limit of 0 allows"): (
        "vCPU quota of 0"
    ),
    ("InvalidParameterException", "The subnet ID 'subnet-1' does not exist"): (
        "subnet or security group does not exist"
    ),
    ("InvalidParameterException", "The specified capacity provider FARGATE was not found."): (
        "capacity provider not associated"
    ),
}
_NO_FILE_SYSTEM = (
    "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: "
    "stderr: "
)
TARGET_STOP = (
    f'{_NO_FILE_SYSTEM}Failed to resolve "fs-1.efs.us-east-1.amazonaws.com" - check that your file '
    "system ID is correct, and ensure that the VPC has an EFS mount target for this file system ID"
)
ZONE_STOP = "Fargate is not supported in this availability zone"
PERMANENT_STOPS = {
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve "
    "ref example.com/runner:1: example.com/runner:1: not found": (
        "CannotPullContainerError: no such image"
    ),
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve "
    "ref 123456789012.dkr.ecr.us-east-1.amazonaws.com/a:1: pulling from host "
    "123456789012.dkr.ecr.us-east-1.amazonaws.com failed with status code [manifests 1]: 403 "
    "Forbidden": "CannotPullContainerError: no permission",
    "CannotPullECRContainerError: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-"
    "role/x is not authorized to perform: ecr:GetAuthorizationToken on resource: *": (
        "CannotPullContainerError: no permission"
    ),
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
    "retrieval failed: unable to retrieve ecr registry auth: service call has been retried 1 "
    "time(s): operation error ECR: GetAuthorizationToken, https response error StatusCode: 400, "
    "api error AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/x is not "
    "authorized to perform: ecr:GetAuthorizationToken on resource: *": (
        "CannotPullContainerError: no permission"
    ),
    "CannotPullContainerError: pull image manifest has been retried 7 time(s): image Manifest does "
    "not contain descriptor matching platform 'linux/amd64'": (
        "CannotPullContainerError: another architecture"
    ),
    "CannotPullContainerError: no matching manifest for linux/arm64 in the manifest list entries": (
        "CannotPullContainerError: another architecture"
    ),
    'CannotStartContainerError: exec format error: "/entrypoint.sh"': (
        "CannotStartContainerError: the image cannot run"
    ),
    "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 "
    "times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log "
    "group does not exist.": "ResourceInitializationError: no log",
    f"{_NO_FILE_SYSTEM}b'mount.nfs4: access denied by server while mounting 127.0.0.1:/' : "
    "unsuccessful EFS utils command execution; code: 32": (
        "ResourceInitializationError: file system denied"
    ),
    f"{_NO_FILE_SYSTEM}b'mount.nfs4: mounting fs-1.efs.us-east-1.amazonaws.com:/cache failed, "
    "reason given by server: No such file or directory' : unsuccessful EFS utils command "
    "execution; code: 32": "ResourceInitializationError: file system without the folder",
}
PASSING_STOPS = (
    "CannotPullContainerError: dial tcp: i/o timeout",
    "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull "
    "registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR",
    "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 "
    "times: failed to create Cloudwatch log stream: RequestError: send request failed: i/o timeout",
    "OutOfMemoryError: Container killed due to memory usage",
    f"{_NO_FILE_SYSTEM}mount.nfs4: Connection reset by peer : unsuccessful EFS utils command "
    "execution; code: 32",
    TARGET_STOP,
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("tasks")) as rig:
        yield rig


def first_that_fits(text: str, table: tuple[LaunchFailure, ...]) -> LaunchFailure:
    """The row whose pattern fits; the machine asks the answers in this order."""
    for answer in (Answer.FAIL, Answer.WAIT, Answer.FIND_IMAGE):
        for row in table:
            if row.answer is answer and re.search(row.pattern, text, re.IGNORECASE):
                return row
    raise AssertionError(f"no row fits {text!r}")


def test_every_error_of_run_task_and_every_stop_code_has_its_row() -> None:
    ecs = botocore.session.get_session().get_service_model("ecs")
    modelled = {shape.name for shape in ecs.operation_model("RunTask").error_shapes}
    assert modelled
    assert modelled <= {row.name for row in RUN_TASK}
    codes = set(ecs.shape_for("TaskStopCode").enum)
    assert codes
    assert codes <= {row.name for row in STOPPED}


def test_every_row_has_an_example() -> None:
    shown = {*REASONS.values(), *ERRORS.values(), *PERMANENT_STOPS.values()}
    shown |= {first_that_fits(text, STOPPED).name for text in (ZONE_STOP, TARGET_STOP)}
    assert shown == {row.name for row in (*RUN_TASK, *STOPPED) if row.pattern}


@pytest.mark.parametrize("text", [*REASONS, *(f"Ecs.{c}: {m}" for c, m in ERRORS)])
def test_a_refusal_is_told_apart_by_its_text(text: str) -> None:
    by_text = REASONS | {f"Ecs.{code}: {message}": row for (code, message), row in ERRORS.items()}
    assert first_that_fits(text, RUN_TASK).name == by_text[text]


@pytest.mark.parametrize("text", PERMANENT_STOPS)
def test_a_stop_that_no_second_try_mends_is_told_apart(text: str) -> None:
    assert first_that_fits(text, STOPPED).name == PERMANENT_STOPS[text]


@pytest.mark.parametrize("text", PASSING_STOPS)
def test_a_stop_that_may_pass_is_none_of_these(text: str) -> None:
    assert not re.search(pattern(STOPPED, Answer.FAIL), text, re.IGNORECASE)


def test_the_remedy_is_that_of_the_row() -> None:
    for text, name in PERMANENT_STOPS.items():
        assert remedy_of(text) == next(row.remedy for row in STOPPED if row.name == name)
    assert "may not pull" in remedy_of("CannotPullContainerError: unexpected status: 403 Forbidden")
    assert remedy_of("something else") == ""


def test_a_pattern_that_would_break_the_file_is_refused() -> None:
    for broken in ('"', "a/b", "\\d"):
        with pytest.raises(ValueError, match="quote, slash or backslash"):
            LaunchFailure(name="x", pattern=broken, answer=Answer.FAIL, remedy="none")


# --- executed


@pytest.fixture(scope="module")
def answered(rig: Rig) -> dict[str, Life]:
    """A life for each refusal and each error, all of them started at once."""
    lives = {}
    for reason in REASONS:
        lives[reason] = rig.life().fault(on="ecs:RunTask", outcome="failure", reason=reason)
    for code, message in ERRORS:
        error = {"code": code, "message": message, "status": 400}
        lives[f"Ecs.{code}: {message}"] = rig.life().fault(
            # as often as the state itself tries again, and once more
            on="ecs:RunTask",
            outcome="error",
            times=5,
            **error,
        )
    return {text: life.start() for text, life in lives.items()}


@pytest.mark.parametrize("text", [*REASONS, *(f"Ecs.{c}: {m}" for c, m in ERRORS)])
def test_the_machine_answers_as_the_table_says(answered: dict[str, Life], text: str) -> None:
    life, answer = answered[text], first_that_fits(text, RUN_TASK).answer
    if answer is Answer.FAIL:
        assert life.end()["error"] == "Runner.LaunchFailed"
        assert life.path() == [
            "RecordRunner", "LaunchTask", "CheckLaunch",
            "DeregisterRunner", "RecordFailed", "FailRunner",
        ]  # fmt: skip
        return
    life.parked("capacity" if answer is Answer.WAIT else "image")
    life.fail("capacity" if answer is Answer.WAIT else "image", "Runner.Terminated")
    assert "AwaitCapacity" in life.path() or answer is Answer.FIND_IMAGE


def test_an_image_that_cannot_run_is_not_tried_again(rig: Rig) -> None:
    text = "CannotPullContainerError: unexpected status: 403 Forbidden"
    life = rig.start().fail("runner", "Runner.TaskStopped", text)
    assert life.end()["error"] == "Runner.LaunchFailed"
    assert life.path().count("LaunchTask") == 1
    assert life.row()["cause"] == text


def test_a_runner_does_not_fail_for_a_zone_while_another_may_serve(rig: Rig) -> None:
    """A task is accepted in it and stops, once more, and then the other subnet has its turn."""
    life = rig.start()
    for reason in (ZONE_STOP, ZONE_STOP, TARGET_STOP):
        life.fail("runner", "Runner.TaskStopped", f"the task stopped: {reason}")
        life.parked("capacity")
        assert reason in life.row()["waiting_reason"]
        life.succeed("capacity").parked("runner")
    assert life.path_so_far().count("LaunchTask") == 4
    assert remedy_of(ZONE_STOP).startswith("give availability_zones")
    assert remedy_of(TARGET_STOP).startswith("make a mount target")
    # its own failures are counted as before
    life.fail_again("runner", "Runner.TaskStopped").fail("runner", "Runner.TaskStopped")
    assert life.end()["error"] == "Runner.TaskStopped"


def test_later_launches_go_through_the_subnets_one_by_one(rig: Rig) -> None:
    life = rig.life().fault(on="ecs:RunTask", outcome="failure", reason="RESOURCE:ENI", times=2)
    life.start(capacity=("FARGATE_SPOT", "FARGATE"), timeouts={"AwaitCapacity": "1"})
    life.parked("runner")
    asked = []
    pages = rig.states.get_paginator("get_execution_history").paginate(executionArn=life.arn)
    for event in (event for page in pages for event in page["events"]):
        parameters = event.get("taskScheduledEventDetails", {}).get("parameters", "")
        asked += re.findall(r'"Subnets":\s*(\[[^\]]*\])', parameters)
    assert [re.findall(r"subnet-\d", one) for one in asked] == [
        ["subnet-1", "subnet-2"], ["subnet-2"], ["subnet-1"],
    ]  # fmt: skip
    life.fail("runner", "Runner.Terminated").end()


def test_what_it_waits_for_stands_on_the_row(rig: Rig) -> None:
    life = rig.life().fault(on="ecs:RunTask", outcome="failure", reason="RESOURCE:ENI").start()
    life.parked("capacity")
    assert life.row()["waiting_reason"] == "RESOURCE:ENI"
    life.succeed("capacity").parked("runner")
    assert "waiting_reason" not in life.row()
    life.fail("runner", "Runner.Terminated").end()
