"""The bus event that a job will have no runner."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet_runtime.aws import client as fleet_aws
from fleet_runtime.aws.announcements import Bus, EventNotTakenError
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.explanation.unserved import Unserved
from fleet_runtime.runner.rows import RunnerRecords

from ..aws_stand_in import RUNNER, Aws

ROW = {
    "repository": "octo-org/example",
    "job_id": 2832853555,
    "run_id": 940463255,
    "run_attempt": 1,
    "job_name": "test (3.12)",
    "job_url": "https://github.com/octo-org/example/actions/runs/940463255/job/2832853555",
    "head_sha": "e3103f8eb03e1ad7f2331c5446b23c070fc54055",
}
BUS = Bus(event_bus_name="fleet-bus", event_source="cdk-runner-fleet/fleet")


def tell(row: Any, **said: Any) -> None:
    ledger = Ledger(dynamodb=fleet_aws.client("dynamodb"), table="ledger", clock=lambda: 7200)
    Unserved(events=fleet_aws.client("events"), bus=BUS, ledger=ledger).tell(
        row,
        **{"error": "Runner.LaunchFailed", "cause": "no such subnet", "final": False, **said},
    )


def test_a_row_and_a_record_say_the_same(aws: Aws) -> None:
    aws.put_row(status="FAILED", **ROW)
    record = RunnerRecords(dynamodb=aws.dynamodb, table="runners").find(RUNNER)
    tell(record)
    tell({"runner_id": RUNNER, "status": "FAILED", "task_token": "secret", **ROW})
    first, second = (call["Entries"] for call in aws.events.named("PutEvents"))
    assert first == second
    [entry] = first
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == (
        "fleet-bus",
        "cdk-runner-fleet/fleet",
        "job_unserved",
    )
    assert json.loads(entry["Detail"]) == {
        "runner_id": RUNNER,
        **ROW,
        "error": "Runner.LaunchFailed",
        "cause": "no such subnet",
        "final": False,
        "log_only": False,
    }


def test_an_event_that_the_bus_did_not_take_is_an_error(aws: Aws) -> None:
    failed = [{"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}]
    aws.events.answers["PutEvents"] = {"FailedEntryCount": 1, "Entries": failed}
    with pytest.raises(EventNotTakenError, match="ThrottlingException: slow down"):
        tell({"runner_id": RUNNER, **ROW})


def test_a_long_cause_does_not_make_a_large_event(aws: Aws) -> None:
    tell({"runner_id": RUNNER, **ROW}, cause="c" * 100_000)
    [call] = aws.events.named("PutEvents")
    assert len(call["Entries"][0]["Detail"]) < 4096


def test_one_repositorys_jobs_do_not_use_up_what_github_takes_in_an_hour(aws: Aws) -> None:
    for repository in ["octo-org/crowd"] * 102 + ["octo-org/other"]:
        tell({"runner_id": RUNNER, **ROW, "repository": repository})
    details = [json.loads(call["Entries"][0]["Detail"]) for call in aws.events.named("PutEvents")]
    assert [detail["log_only"] for detail in details] == [False] * 100 + [True] * 2 + [False]
    counted = aws.ledger.get("told/2/octo-org/crowd")
    assert counted["told"] == {"N": "100"}
    assert counted["expires_at"] == {"N": str(4 * 3600)}
