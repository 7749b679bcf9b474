"""`runner-fleet cluster drain` and `resume`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse

from cdk_runner_fleet.cli import drain

from .conftest import CloudFormation, Result, get_runner, put_runner

Run = Callable[..., Result]
FAMILY = "RunnerFleetCluster1234"


class Lifecycles:
    """Step Functions: whoever is told a word ends, and its turn and task come back."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.deaf: set[str] = set()

    def send_task_failure(self, *, taskToken: str, error: str, cause: str) -> None:  # noqa: N803
        self.told.append((taskToken, error))
        if taskToken in self.deaf:
            self.deaf.remove(taskToken)
            code = {"Error": {"Code": "TaskTimedOut", "Message": "too late"}}
            raise ClientError(code, "SendTaskFailure")  # type: ignore[arg-type]
        self.end(taskToken.removeprefix("token-of-"))

    def end(self, runner_id: str) -> None:
        boto3.resource("dynamodb").Table("RunnerFleet-runners").update_item(
            Key={"runner_id": runner_id},
            UpdateExpression="SET #status = :over REMOVE live, task_token",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":over": "OFFLINE"},
        )
        boto3.resource("dynamodb").Table("RunnerFleet-ledger").update_item(
            Key={"entry": "turns"},
            UpdateExpression="ADD fleet :less",
            ExpressionAttributeValues={":less": -1},
        )


@pytest.fixture
def lifecycles(fleet: str, monkeypatch: pytest.MonkeyPatch) -> Lifecycles:
    CloudFormation.stacks[fleet]["TaskFamily"] = FAMILY
    monkeypatch.setattr(drain, "_LOOK_SECONDS", 0)
    told = Lifecycles()
    real = drain.Deployment.client
    monkeypatch.setattr(
        drain.Deployment,
        "client",
        lambda self, service: told if service == "stepfunctions" else real(self, service),
    )
    return told


def put_live(runner_id: str, phase: str, **attributes: object) -> None:
    """A runner with a turn, whose lifecycle is parked in a phase."""
    values: dict[str, object] = {
        "live": "started",
        "queued_at": 1,
        "waiting_for": phase,
        "task_token": f"token-of-{runner_id}",
    }
    put_runner(runner_id, **(values | attributes))
    boto3.resource("dynamodb").Table("RunnerFleet-ledger").update_item(
        Key={"entry": "turns"},
        UpdateExpression="ADD fleet :one",
        ExpressionAttributeValues={":one": 1},
    )


def turns() -> dict[str, Any]:
    return entry("turns")


def entry(name: str) -> dict[str, Any]:
    table = boto3.resource("dynamodb").Table("RunnerFleet-ledger")
    return dict(table.get_item(Key={"entry": name}).get("Item", {}))


def register(family: str) -> str:
    definition = boto3.client("ecs").register_task_definition(
        family=family,
        containerDefinitions=[{"name": "runner", "image": "x", "memory": 512, "cpu": 256}],
    )["taskDefinition"]
    return str(definition["taskDefinitionArn"])


def families() -> set[str]:
    arns = boto3.client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    return {arn.rpartition("/")[2].rpartition(":")[0] for arn in arns}


def test_a_fleet_at_rest_is_drained_at_once_and_stays_so(run: Run, lifecycles: Lifecycles) -> None:
    before = int(time.time())
    result = run("cluster", "drain", "--output", "json")
    assert result.exit_code == 0, result.stderr
    since = result.json["drained_at"]
    assert since >= before
    assert result.json == {"drained_at": since, "runners_ended": 0, "families": []}
    assert turns()["drained_at"] == since
    assert entry("builds")["drained_at"] == since, "nothing is built anew either"
    assert run("cluster", "drain", "--output", "json").json["drained_at"] == since
    assert "no runner starts until `runner-fleet cluster resume`" in run("cluster", "status").stdout
    assert run("cluster", "status", "-o", "json").json["turns"]["drained_at"] == since


def test_resume_takes_it_back_and_says_who_waited(run: Run, lifecycles: Lifecycles) -> None:
    assert run("cluster", "resume", "-o", "json").json == {"resumed": False}
    run("cluster", "drain")
    put_runner("fleet-9-1", live="in_line", place="1")
    result = run("cluster", "resume")
    assert result.exit_code == 0, result.stderr
    assert "runners start again; 1 job in line" in result.stdout
    assert "drained_at" not in turns()
    assert "drained_at" not in entry("builds")
    assert "is not drained" in run("cluster", "resume").stdout


def test_runners_without_a_job_are_released_and_those_with_one_are_waited_for(
    run: Run, lifecycles: Lifecycles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, phase in enumerate(("capacity", "image", "runner", "job"), start=1):
        put_live(f"fleet-{number}-1", phase)
    put_live("fleet-5-1", "completion", started_at=5)
    put_runner("fleet-6-1", live="in_line", place="1", waiting_for="turn")
    looks: list[float] = []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            lifecycles.end("fleet-5-1")

    monkeypatch.setattr("cdk_runner_fleet.cli.drain.time.sleep", look)
    result = run("cluster", "drain")
    assert result.exit_code == 0, result.stderr
    assert {token for token, _ in lifecycles.told} == {f"token-of-fleet-{n}-1" for n in range(1, 5)}
    assert {error for _, error in lifecycles.told} == {"Runner.Released"}
    assert "released_at" not in get_runner("fleet-5-1")
    assert get_runner("fleet-6-1")["live"] == "in_line", "it has nothing that could run"
    assert "waiting for 5 runners (fleet-1-1, fleet-2-1, " in result.stderr
    assert "waiting for 1 runners (fleet-5-1)" in result.stderr
    assert result.stdout.startswith("drained: 5 runners ended, 0 families")


def test_terminate_ends_those_with_a_job_as_well_and_is_repeated_where_it_came_too_late(
    run: Run, lifecycles: Lifecycles
) -> None:
    put_live("fleet-1-1", "completion", started_at=5)
    put_live("fleet-2-1", "job")
    lifecycles.deaf = {"token-of-fleet-1-1"}
    result = run("cluster", "drain", "--terminate", "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert result.json["runners_ended"] == 2
    assert lifecycles.told.count(("token-of-fleet-1-1", "Runner.Terminated")) == 2
    assert {"released_at", "terminated_at"} <= get_runner("fleet-1-1").keys()


def test_a_turn_whose_runner_has_no_row_yet_is_waited_for(
    run: Run, lifecycles: Lifecycles, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = boto3.resource("dynamodb").Table("RunnerFleet-ledger")
    table.put_item(Item={"entry": "turns", "fleet": 1})
    late = ["fleet-1-1"]

    def look(seconds: float) -> None:
        for runner_id in late:
            token = f"token-of-{runner_id}"
            put_runner(runner_id, live="started", waiting_for="job", queued_at=1, task_token=token)
        late.clear()

    monkeypatch.setattr("cdk_runner_fleet.cli.drain.time.sleep", look)
    result = run("cluster", "drain", "-o", "json")
    assert "waiting for 1 turns" in result.stderr
    assert result.json["runners_ended"] == 1


def test_builds_are_waited_for_or_stopped(
    run: Run, lifecycles: Lifecycles, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = boto3.resource("dynamodb").Table("RunnerFleet-ledger")
    # a turn has its build's ARN, and StopBuild takes its ID
    builds = "arn:aws:codebuild:eu-west-1:123456789012:build/"

    def put_builds(*tags: str) -> None:
        soon = int(time.time()) + 600
        held = [
            {"tag": tag, "is_rebuild": False, "owner": "o", "since": 1, "until": soon}
            | {"build_id": f"{builds}p:{tag}"}
            for tag in tags
        ]
        gone = {"tag": "gone", "is_rebuild": False, "owner": "o", "since": 1, "until": 2}
        gone["build_id"] = f"{builds}p:gone"
        queue = {"held": [*held, gone], "jobs": [], "rebuilds": []}
        table.put_item(Item={"entry": "builds", "queue": json.dumps(queue)})

    put_builds("node-1")
    monkeypatch.setattr("cdk_runner_fleet.cli.drain.time.sleep", lambda seconds: put_builds())
    result = run("cluster", "drain")
    assert result.exit_code == 0, result.stderr
    assert "waiting for 1 image builds" in result.stderr

    stopped: list[str] = []
    real = drain.Deployment.client

    class CodeBuild:
        def stop_build(self, *, id: str) -> None:
            stopped.append(id)

    monkeypatch.setattr(
        drain.Deployment,
        "client",
        lambda self, service: CodeBuild() if service == "codebuild" else real(self, service),
    )
    put_builds("node-1")
    assert run("cluster", "drain", "--terminate").exit_code == 0
    assert stopped == ["p:node-1"]


def test_families_of_images_go_and_those_of_cloudformation_stay(
    run: Run, lifecycles: Lifecycles
) -> None:
    mine = {f"{FAMILY}-7-node-20-abc", f"{FAMILY}-12-default"}
    others = {FAMILY, f"{FAMILY}-arm64", f"{FAMILY}5-7-node", "somebody-elses"}
    for family in (*mine, *others):
        register(family)
        register(family)
    result = run("cluster", "drain", "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert set(result.json["families"]) == mine
    assert families() == others
    assert run("cluster", "drain", "-o", "json").json["families"] == []


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
def test_a_deregistration_is_repeated_if_ecs_throttles_it_and_only_then(
    run: Run, lifecycles: Lifecycles, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    register(f"{FAMILY}-7-node")
    real = drain.Deployment.client
    refusals = [ClientError({"Error": {"Code": code}}, "Deregister")]

    class Ecs:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def deregister_task_definition(self, **given: str) -> Any:
            if refusals:
                raise refusals.pop()
            return self._client.deregister_task_definition(**given)

    monkeypatch.setattr(
        drain.Deployment,
        "client",
        lambda self, service: Ecs(real(self, "ecs")) if service == "ecs" else real(self, service),
    )
    is_repeated = code == "ThrottlingException"
    result = run("cluster", "drain")
    assert not refusals
    assert (result.exit_code == 0) is is_repeated
    assert (families() == set()) is is_repeated
    assert (code in result.stderr) is not is_repeated


@pytest.fixture
def stray(lifecycles: Lifecycles, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A stack that somebody has half deleted, with a task that nothing else knows; the stops."""
    CloudFormation.statuses["RunnerFleet"] = "DELETE_FAILED"
    task = {
        "taskArn": "arn:aws:ecs:eu-west-1:123456789012:task/RunnerFleet-cluster/t1",
        "taskDefinitionArn": f"task-definition/{FAMILY}-7-a:1",
        "startedBy": "fleet-1-1",
        "desiredStatus": "RUNNING",
        "lastStatus": "RUNNING",
    }
    stops: list[str] = []

    def stop(response: EC2ContainerServiceResponse) -> ActionResult:
        stops.append(response._get_param("task"))
        task.update(desiredStatus="STOPPED", lastStatus="DEPROVISIONING")
        return ActionResult({"task": task})

    def describe(response: EC2ContainerServiceResponse) -> ActionResult:
        seen = dict(task)
        if task["lastStatus"] == "DEPROVISIONING":
            task["lastStatus"] = "STOPPED"
        return ActionResult({"tasks": [seen]})

    def listed(response: EC2ContainerServiceResponse) -> ActionResult:
        is_it = response._get_param("desiredStatus") == task["desiredStatus"]
        return ActionResult({"taskArns": [task["taskArn"]] if is_it else []})

    monkeypatch.setattr(EC2ContainerServiceResponse, "list_tasks", listed)
    monkeypatch.setattr(EC2ContainerServiceResponse, "describe_tasks", describe)
    monkeypatch.setattr(EC2ContainerServiceResponse, "stop_task", stop)
    for table in ("runners", "ledger"):
        boto3.client("dynamodb").delete_table(TableName=f"RunnerFleet-{table}")
    yield stops
    CloudFormation.statuses.clear()


def test_what_a_half_deleted_stack_has_left_is_not_waited_for_in_vain(
    run: Run, stray: list[str]
) -> None:
    result = run("cluster", "drain")
    assert result.exit_code == 1
    assert "1 tasks run on" in result.stderr
    assert "drain --terminate" in result.stderr
    assert stray == []


def test_what_a_half_deleted_stack_has_left_is_stopped_and_waited_for(
    run: Run, stray: list[str]
) -> None:
    register(f"{FAMILY}-7-node")
    result = run("cluster", "drain", "--terminate", "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert len(stray) == 1
    assert result.json["runners_ended"] == 1
    assert result.json["drained_at"] is None
    assert families() == set()


def test_a_half_deleted_stack_without_its_cluster_has_families_left(
    run: Run, lifecycles: Lifecycles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CloudFormation.statuses, "RunnerFleet", "DELETE_FAILED")
    monkeypatch.setitem(CloudFormation.stacks["RunnerFleet"], "ClusterName", "deleted-already")
    register(f"{FAMILY}-7-node")
    result = run("cluster", "drain", "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert result.json["families"] == [f"{FAMILY}-7-node"]
    assert families() == set()


def test_ctrl_c_leaves_the_fleet_drained(
    run: Run, lifecycles: Lifecycles, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_live("fleet-1-1", "completion", started_at=5)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cdk_runner_fleet.cli.drain.time.sleep", interrupt)
    assert run("cluster", "drain").exit_code == 130
    assert "drained_at" in turns()
