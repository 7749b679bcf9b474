"""`runner-fleet list-class-sizes` and `runner-fleet cluster status`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import boto3
import pytest
from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse

from .conftest import CLASSES, CloudFormation, Result, put_runner

Run = Callable[..., Result]


def edit(value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    boto3.client("ssm").put_parameter(Name="RunnerFleet-classes", Value=text, Overwrite=True)


def test_classes_as_json_are_what_is_in_force(run: Run, fleet: str) -> None:
    listed = run("list-class-sizes", "--output", "json").json
    assert list(listed) == list(CLASSES)
    for name, size in CLASSES.items():
        assert listed[name].items() >= size.items()
    assert listed["small"]["labels"] == ["linux", "x64"], "a default is told, too"


@pytest.mark.parametrize("spoilt", ["{ being edited", {"small": {"cpu": 513, "memory": 1024}}])
def test_an_edit_that_cannot_be_used_is_told_beside_what_is_in_force(
    run: Run, fleet: str, spoilt: object
) -> None:
    before = run("list-class-sizes", "--output", "json").json
    edit(spoilt)
    result = run("list-class-sizes", "--output", "json")
    assert result.exit_code == 1
    assert result.json["small"] == before["small"]
    assert "version 2 of RunnerFleet-classes: " in result.stderr
    assert "Version 1 " in result.stderr


def test_a_catalog_in_several_parameters_is_one_list(
    run: Run, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in enumerate(("one", "two"), start=1):
        part = {"$part": f"{place} of 2, abc", name: {"cpu": 512, "memory": 1024}}
        boto3.client("ssm").put_parameter(Name=name, Type="String", Value=json.dumps(part))
    monkeypatch.setenv("CLASS_SIZES_PARAMS", "one,two")
    assert list(run("list-class-sizes", "--output", "json").json) == ["one", "two"]


def test_classes_as_a_table_show_what_a_class_has_by_default(run: Run, fleet: str) -> None:
    lines = run("list-class-sizes").stdout.splitlines()
    small = next(line for line in lines if "small" in line).split()
    assert small == ["small", "512", "1024", "20", "X86_64", "linux", "x64", "FARGATE"]
    other = next(line for line in lines if "gpu-less" in line).split()
    assert other == ["gpu-less", "1024", "2048", "20", "X86_64", "arm", "FARGATE_SPOT", "4"]


def test_classes_as_a_table_show_architecture_and_capabilities(run: Run, fleet: str) -> None:
    arm = {"cpu": 512, "memory": 1024, "architecture": "ARM64", "capabilities": ["python", "Qt"]}
    edit({"arm": arm})
    lines = run("list-class-sizes").stdout.splitlines()
    assert lines[1].split()[4:7] == ["ARCHITECTURE", "LABELS", "CAPABILITIES"]
    row = next(line for line in lines if "512" in line).split()
    assert row == ["arm", "512", "1024", "20", "ARM64", "arm64", "linux", "python", "qt", "FARGATE"]


def test_classes_as_a_table_show_which_refuse_images(run: Run, fleet: str) -> None:
    size = {"cpu": 512, "memory": 1024}
    classes = {"deploy": {**size, "allow_images": False}, "small": size}
    edit(classes)
    deploy, small = run("list-class-sizes").stdout.splitlines()[-3:-1]
    assert (deploy.split()[-1], small.split()[-1]) == ("refused", "FARGATE")


@pytest.mark.parametrize("value", ["not json", '["small"]'])
def test_a_parameter_that_has_never_held_classes(
    run: Run, aws: None, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    boto3.client("ssm").put_parameter(Name="mine", Type="String", Value=value)
    monkeypatch.setenv("CLASS_SIZES_PARAMS", "mine")
    result = run("list-class-sizes")
    assert result.exit_code == 1
    assert "the class catalog is " in result.stderr
    assert "Write JSON such as" in result.stderr


def test_a_parameter_that_does_not_exist(
    run: Run, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLASS_SIZES_PARAMS", "/no/such")
    result = run("list-class-sizes")
    assert result.exit_code == 1
    assert "no SSM parameter '/no/such'" in result.stderr


def _list_a_page(response: EC2ContainerServiceResponse) -> ActionResult:
    """ListTasks as ECS answers it, at most 100 a page; moto's answers all at once."""
    arns: list[str] = _list_everything(response).result["taskArns"]
    first = int(response._get_param("nextToken", "0"))
    more = {"nextToken": str(first + 100)} if len(arns) > first + 100 else {}
    return ActionResult({"taskArns": arns[first : first + 100], **more})


_list_everything = EC2ContainerServiceResponse.list_tasks


@pytest.fixture
def tasks(fleet: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """150 tasks, more than ECS answers at once, beside one of another fleet's."""
    monkeypatch.setattr(EC2ContainerServiceResponse, "list_tasks", _list_a_page)
    CloudFormation.stacks[fleet]["TaskFamily"] = "runner"
    ec2, ecs = boto3.client("ec2"), boto3.client("ecs")
    network = {
        "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
        "securityGroups": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
    }
    theirs, definition = (
        ecs.register_task_definition(
            family=family,
            containerDefinitions=[{"name": "runner", "image": "x", "memory": 512, "cpu": 256}],
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
        )["taskDefinition"]["taskDefinitionArn"]
        for family in ("runner2", "runner")
    )
    ecs.run_task(
        cluster="RunnerFleet-cluster",
        taskDefinition=theirs,
        launchType="FARGATE",
        startedBy="fleet-1-1",
        networkConfiguration={"awsvpcConfiguration": network},
    )
    arns: list[str] = []
    for number in range(150):
        put_runner(f"fleet-{number}-1", class_name=f"class-{number}")
        answer = ecs.run_task(
            cluster="RunnerFleet-cluster",
            taskDefinition=definition,
            launchType="FARGATE",
            startedBy=f"fleet-{number}-1",
            networkConfiguration={"awsvpcConfiguration": network},
        )
        arns += [task["taskArn"] for task in answer["tasks"]]
    return arns


def test_cluster_status_lists_every_task_with_its_class(run: Run, tasks: list[str]) -> None:
    boto3.client("ecs").stop_task(
        cluster="RunnerFleet-cluster", task=tasks[0], reason="its job has ended"
    )
    result = run("cluster", "status", "--output", "json")
    assert result.exit_code == 0, result.stderr
    listed = result.json["tasks"]
    found = {task["task_arn"]: task for task in listed}
    assert set(found) == set(tasks)
    assert found[tasks[7]]["runner_id"] == "fleet-7-1"
    assert {task["class_name"] for task in listed} == {f"class-{n}" for n in range(150)}
    assert found[tasks[0]]["status"] == "STOPPED"
    assert found[tasks[0]]["stopped_reason"] == "its job has ended"
    table = run("cluster", "status").stdout
    assert sum("fleet-" in line for line in table.splitlines()) == 150
    assert tasks[3].rsplit("/", 1)[-1] in table


def test_an_empty_cluster(run: Run, fleet: str) -> None:
    assert run("cluster", "status", "--output", "json").json == {
        "tasks": [],
        "turns": {
            "used": 0,
            "limit": 100,
            "in_line": 0,
            "spent_usd": 0,
            "daily_budget_usd": None,
            "drained_at": None,
        },
    }


@pytest.mark.parametrize(("day", "spent"), [("today", "1.50"), ("2026-01-01", "0.00")])
def test_cluster_status_tells_the_turns_and_the_budget(
    run: Run, fleet: str, day: str, spent: str
) -> None:
    CloudFormation.stacks[fleet]["DailyBudgetUsd"] = "5"
    today = datetime.now(UTC).date().isoformat()
    boto3.resource("dynamodb").Table(f"{fleet}-ledger").put_item(
        Item={
            "entry": "turns",
            "fleet": 2,
            f"spent:{today if day == 'today' else day}": Decimal("1.25"),
        }
    )
    built = {today if day == "today" else day: Decimal("0.25")}
    boto3.resource("dynamodb").Table(f"{fleet}-ledger").put_item(
        Item={"entry": "builds", "spent": built}
    )
    for number in range(1, 5):
        state = {"live": "started"} if number < 3 else {"live": "in_line", "place": f"{number}"}
        put_runner(f"fleet-{number}-1", **state, queued_at=number)
    stdout = run("cluster", "status").stdout
    assert "turns: 2 of 100 in use, 2 jobs in line" in stdout
    assert f"budget: {spent} of 5.00 USD spent today, UTC" in stdout
