"""`runner-fleet runners`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal

import boto3
import moto
import pytest

from cdk_runner_fleet.cli.output import age_text
from tests.waiting import until

from .conftest import Lambda, Result, deploy, get_runner, put_runner

Run = Callable[..., Result]
SECRETS = {
    "task_token": "very-secret-token",
    "events_token_hash": "very-secret-events",
}


def test_lists_the_newest_first(run: Run, fleet: str) -> None:
    put_runner("fleet-1-1", timestamp=100)
    put_runner("fleet-3-1", timestamp=300)
    put_runner("fleet-2-1", timestamp=200)
    result = run("runners", "list", "--output", "json")
    assert result.exit_code == 0
    assert [row["runner_id"] for row in result.json] == ["fleet-3-1", "fleet-2-1", "fleet-1-1"]


def test_lists_more_than_one_page(run: Run, fleet: str) -> None:
    # a page of Scan ends at 1 MB
    for number in range(6):
        put_runner(f"fleet-{number}-1", cause="x" * 300_000)
    assert len(run("runners", "list", "--output", "json").json) == 6


def test_list_is_a_table_with_whole_names_where_there_is_no_terminal(run: Run, fleet: str) -> None:
    name = f"fleet-{'9' * 57}-1"
    put_runner(name, status="WAITING_FOR_JOB", class_name="medium", job_name="build [and] test")
    stdout = run("runners", "list").stdout
    line = next(line for line in stdout.splitlines() if name in line)
    assert "WAITING_FOR_JOB" in line
    assert "medium" in line
    assert "build [and] test" in line  # a job's name is text, never markup


def test_list_and_details_show_what_a_runner_says_of_itself(run: Run, fleet: str) -> None:
    said = {
        "runner_version": "2.338.0",
        "architecture": "ARM64",
        "capabilities": "python,shell",
        "last_heartbeat": int(time.time()) - 300,
        "load": Decimal("0.42"),
    }
    put_runner("fleet-1-1", class_name="small", **said)
    put_runner("fleet-2-1", **{**said, "status": "OFFLINE"})
    put_runner("fleet-3-1", class_name="small", architecture="X86_64")
    lines = run("runners", "list").stdout.splitlines()
    header = next(line for line in lines if "RUNNER" in line)
    (live,) = [line for line in lines if "fleet-1-1" in line]
    assert cell(header, live, "HEARD") == "5 min ago, load 0.42"
    assert cell(header, live, "CLASS") == "small ARM64"
    assert cell(header, live, "VERSION") == "2.338.0"
    assert cell(header, live, "CAN DO") == "python shell"
    (over,) = [line for line in lines if "fleet-2-1" in line]
    assert cell(header, over, "HEARD") == ""
    (silent,) = [line for line in lines if "fleet-3-1" in line]
    assert cell(header, silent, "VERSION") == "", "it has said nothing of itself"
    details = run("runners", "details", "fleet-1-1").stdout
    for text in ("2.338.0", "ARM64", "python,shell", "0.42", ", 5 min ago)"):
        assert text in details


def cell(header: str, line: str, column: str) -> str:
    begin = header.index(column)
    end = next(
        (at for at in range(begin + len(column), len(header)) if header[at] != " "), len(line)
    )
    return line[begin:end].strip()


def test_a_runner_whose_image_is_built_has_the_builds_log(run: Run, fleet: str) -> None:
    url = f"https://console.aws.amazon.com/codesuite/codebuild/{'x' * 150}"
    put_runner("fleet-1-1", status="IMAGE_CREATING", waiting_for="image", build_log_url=url)
    put_runner("fleet-2-1", status="IMAGE_CREATING", waiting_for="image")
    put_runner("fleet-3-1", status="RUNNING", build_log_url=url)
    lines = run("runners", "list").stdout.splitlines()
    shown = {
        name: line.rstrip()
        for name in ("1", "2", "3")
        for line in lines
        if f"fleet-{name}-1" in line
    }
    assert shown["1"].endswith(f"image: {url}")
    assert shown["2"].endswith("image: no log yet")
    assert url not in shown["3"]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-5, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "119 min ago"),
        (7200, "2 h ago"),
        (172_800, "2 d ago"),
    ],
)
def test_an_age_is_in_one_unit(monkeypatch: pytest.MonkeyPatch, seconds: int, age: str) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.5)
    assert age_text(1_700_000_000 - seconds) == age


def test_an_empty_table_lists_nothing(run: Run, fleet: str) -> None:
    assert run("runners", "list", "--output", "json").json == []


def test_a_runner_that_stood_in_no_line_shows_no_time_in_it(run: Run, fleet: str) -> None:
    put_runner("fleet-1-1", in_line_at=0)
    put_runner("fleet-2-1", in_line_at=7)
    for command in (("runners", "details", "fleet-1-1"), ("runners", "list", "--output", "json")):
        shown = run(*command).stdout
        assert "in_line_at" not in shown.partition("fleet-2-1")[0]
    assert "in_line_at" in run("runners", "details", "fleet-2-1").stdout


def test_details_show_every_attribute_but_no_secret(run: Run, fleet: str) -> None:
    put_runner(
        "fleet-1-1", cost_usd=Decimal("0.000411"), stopped_tasks={"arn:b", "arn:a"}, **SECRETS
    )
    for command in (("runners", "details", "fleet-1-1"), ("runners", "list", "--output", "json")):
        result = run(*command)
        assert result.exit_code == 0
        assert "very-secret" not in result.stdout
    assert run("runners", "details", "fleet-1-1", "--output", "json").json == {
        "runner_id": "fleet-1-1",
        "status": "RUNNING",
        "timestamp": 1_700_000_000,
        "cost_usd": 0.000411,
        "stopped_tasks": ["arn:a", "arn:b"],
    }


def test_details_of_an_unknown_runner(run: Run, fleet: str) -> None:
    result = run("runners", "details", "fleet-9-9")
    assert result.exit_code == 1
    assert "no runner 'fleet-9-9'" in result.stderr
    assert result.stdout == ""


def test_terminate_marks_a_runner_that_is_not_parked(run: Run, fleet: str) -> None:
    put_runner("fleet-1-1", status="STARTING")
    before = int(time.time())
    result = run("runners", "terminate", "fleet-1-1")
    assert result.exit_code == 0
    assert "was STARTING" in result.stdout
    assert get_runner("fleet-1-1")["released_at"] >= before


@pytest.mark.parametrize("status", ["OFFLINE", "FAILED"])
def test_terminate_leaves_a_runner_alone_that_is_over(run: Run, fleet: str, status: str) -> None:
    put_runner("fleet-1-1", status=status)
    before = get_runner("fleet-1-1")
    result = run("runners", "terminate", "fleet-1-1")
    assert result.exit_code == 0
    assert f"over already: {status}" in result.stdout
    assert get_runner("fleet-1-1") == before
    answer = run("runners", "terminate", "fleet-1-1", "--output", "json").json
    assert answer == {"runner_id": "fleet-1-1", "status": status, "terminated": False}


def test_terminate_of_an_unknown_runner_makes_no_row(run: Run, fleet: str) -> None:
    result = run("runners", "terminate", "fleet-9-9")
    assert result.exit_code == 1
    assert "no runner 'fleet-9-9'" in result.stderr
    assert run("runners", "list", "--output", "json").json == []


IN_LINE = {
    "status": "STARTING",
    "live": "in_line",
    "place": "abcdefgh/0000000005/fleet-1-1",
    "queued_at": 5,
    "waiting_for": "turn",
    "waiting_reason": "the fleet has 100 of at most 100 runners",
    "start_input": "{}",
}


def test_jobs_in_line_are_listed_with_why_they_wait_now(
    run: Run, fleet: str, functions: Lambda
) -> None:
    put_runner("fleet-1-1", **IN_LINE)
    put_runner("fleet-2-1", **IN_LINE)
    put_runner("fleet-3-1", **IN_LINE, class_name="gpu-less")
    put_runner("fleet-4-1", **{**IN_LINE, "waiting_for": "capacity"})
    full = "class small has 4 of at most 4 runners"

    def answer(name: str, payload: dict[str, list[str]]) -> tuple[int, dict[str, str], object]:
        return 200, {}, {asked: full for asked in payload["waiting"] if asked != "fleet-3-1"}

    functions.answer = answer
    found = {row["runner_id"]: row for row in run("runners", "list", "--output", "json").json}
    assert {name: row["waiting_reason"] for name, row in found.items()} == {
        "fleet-1-1": full,
        "fleet-2-1": full,
        "fleet-3-1": IN_LINE["waiting_reason"],
        "fleet-4-1": IN_LINE["waiting_reason"],
    }
    [(name, _, asked)] = functions.calls
    assert name == "RunnerFleet-explain-job"
    assert len(asked["waiting"]) == 2, "one of each class, repository and image"
    lines = run("runners", "list").stdout.splitlines()
    (line,) = [line for line in lines if "fleet-2-1" in line]
    assert line.rstrip().endswith(f"turn: {full}")


def test_nobody_is_asked_why_if_nobody_is_in_line(run: Run, fleet: str, functions: Lambda) -> None:
    put_runner("fleet-1-1", **{**IN_LINE, "waiting_for": "capacity"})
    assert run("runners", "list").exit_code == 0
    assert functions.calls == []


def test_a_reason_that_cannot_be_asked_for_is_the_one_from_when_it_joined(
    run: Run, fleet: str, functions: Lambda
) -> None:
    put_runner("fleet-1-1", **IN_LINE)
    put_runner("fleet-2-1", **{**IN_LINE, "waiting_for": "job"})
    denied = {"x-amzn-errortype": "AccessDeniedException"}
    functions.answer = lambda name, payload: (403, denied, {"Message": "not authorized"})
    result = run("runners", "list")
    assert result.exit_code == 0
    assert "as it was when they joined it: " in result.stderr
    assert "Ask for that permission" in result.stderr
    lines = result.stdout.splitlines()
    (line,) = [line for line in lines if "fleet-1-1" in line]
    assert line.rstrip().endswith("turn: the fleet has 100 of at most 100 runners")
    (line,) = [line for line in lines if "fleet-2-1" in line]
    assert "at most" not in line
    details = run("runners", "details", "fleet-1-1").stdout
    assert "the fleet has 100 of at most 100 runners" in details


def test_terminate_ends_a_runner_in_line_itself(run: Run, fleet: str) -> None:
    put_runner("fleet-1-1", **IN_LINE)
    result = run("runners", "terminate", "fleet-1-1")
    assert result.exit_code == 0, result.stderr
    assert "was in line; its job, if it is still queued, gets another runner" in result.stdout
    row = get_runner("fleet-1-1")
    assert (row["status"], row["error"], row["cost_usd"]) == ("FAILED", "Runner.Terminated", 0)
    assert row["ended_at"] >= row["released_at"]
    assert not {"live", "place", "waiting_for", "waiting_reason", "start_input"} & set(row)


PARKED = {
    "StartAt": "RunJob",
    "States": {
        "RunJob": {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:dynamodb:updateItem.waitForTaskToken",
            "Parameters": {
                "TableName": "RunnerFleet-runners",
                "Key": {"runner_id": {"S": "fleet-1-1"}},
                "UpdateExpression": "SET task_token = :token",
                "ExpressionAttributeValues": {":token": {"S.$": "$$.Task.Token"}},
            },
            "Catch": [{"ErrorEquals": ["Runner.Terminated"], "Next": "Stopped"}],
            "End": True,
        },
        "Stopped": {"Type": "Succeed"},
    },
}


def test_terminate_drives_a_parked_lifecycle_to_its_stop_branch(run: Run, fleet: str) -> None:
    moto.core.config.default_user_config["stepfunctions"] = {"execute_state_machine": True}
    try:
        put_runner("fleet-1-1", status="RUNNING")
        states = boto3.client("stepfunctions")
        machine = states.create_state_machine(
            name="m", definition=json.dumps(PARKED), roleArn="arn:aws:iam::123456789012:role/r"
        )
        execution = states.start_execution(
            stateMachineArn=machine["stateMachineArn"], name="fleet-1-1", input="{}"
        )["executionArn"]
        until(lambda: "task_token" in get_runner("fleet-1-1"))
        result = run("runners", "terminate", "fleet-1-1")
        assert result.exit_code == 0, result.stderr
        until(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING")
        assert states.describe_execution(executionArn=execution)["status"] == "SUCCEEDED"
    finally:
        del moto.core.config.default_user_config["stepfunctions"]


def test_names_from_the_environment_need_no_stack(
    run: Run, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy("Other", outputs=False)
    put_runner("fleet-1-1", stack="Other")
    for variable in ("RUNNER_TABLE", "RUNNER_STATE_TABLE"):
        monkeypatch.setenv(variable, "Other-runners")
        assert len(run("runners", "list", "--output", "json").json) == 1
        monkeypatch.delenv(variable)


def test_a_named_stack_outdoes_the_environment(
    run: Run, fleet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy("Second")
    put_runner("fleet-2-1", stack="Second")
    monkeypatch.setenv("RUNNER_TABLE", "RunnerFleet-runners")
    assert run("runners", "list", "--output", "json").json == []
    rows = run("runners", "list", "--stack", "Second", "--output", "json").json
    assert [row["runner_id"] for row in rows] == ["fleet-2-1"]
