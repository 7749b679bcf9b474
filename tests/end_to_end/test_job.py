"""Jobs through the whole path: webhook, bus, functions, machine, task, GitHub."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cdk_runner_fleet.local.twin import ApiFault, Conditions
from tests.waiting import PATIENCE_SECONDS, until

from .conftest import Fleet, runner_id


def ended_on(fleet: Fleet, job: dict[str, object], runner: str, conclusion: str) -> None:
    done = job | {
        "status": "completed",
        "conclusion": conclusion,
        "runner_name": runner,
        "completed_at": "2026-11-21T05:01:00Z",
    }
    assert fleet.send("completed", done)[0] == 202


def test_a_job_from_queued_to_offline(fleet: Fleet) -> None:
    job = fleet.job("class:medium")
    assert fleet.send("queued", job) == (202, {"message": "accepted"})
    runner = runner_id(job)
    waiting = fleet.status(runner, "WAITING_FOR_JOB")
    assert waiting["class_name"] == "medium"
    assert waiting["runner_labels"] == "self-hosted,class:medium"
    assert runner in fleet.registered()
    assert (
        fleet.send("in_progress", job | {"status": "in_progress", "runner_name": runner})[0] == 202
    )
    fleet.status(runner, "RUNNING")
    ended_on(fleet, job, runner, "success")
    ended = fleet.status(runner, "OFFLINE")
    assert ended["job_status"] == "success"
    assert ended["end_reason"] == "its job has ended"
    for name in (
        "timestamp",
        "queued_at",
        "launched_at",
        "claimed_at",
        "started_at",
        "completed_at",
    ):
        assert int(ended[name]) > 1_700_000_000, name
    assert float(ended["cost_usd"]) > 0
    assert not {"task_token", "events_token_hash", "waiting_labels"} & set(ended)
    # the row says so a moment before the execution has ended
    fleet.until(runner, lambda _: fleet.executions(runner) == ["SUCCEEDED"])
    until(lambda: ended["task_id"] not in fleet.running_tasks(), "its task is gone")


def test_the_same_event_twice_starts_one_runner(fleet: Fleet) -> None:
    job = fleet.job()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: fleet.send("queued", job, delivery=f"d-{n}"), range(4)))
    assert {status for status, _ in answers} == {202}
    runner = runner_id(job)
    fleet.status(runner, "WAITING_FOR_JOB")
    assert fleet.executions(runner) == ["RUNNING"]
    ended_on(fleet, job, runner, "success")
    fleet.status(runner, "OFFLINE")
    # and once more when it is over
    with fleet.handled():
        assert fleet.send("queued", job)[0] == 202
    # the row says so a moment before the execution has ended
    fleet.until(runner, lambda _: fleet.executions(runner) == ["SUCCEEDED"])


def test_cancelled_before_it_was_queued_starts_nothing(fleet: Fleet) -> None:
    job = fleet.job()
    cancelled = job | {"status": "completed", "conclusion": "cancelled"}
    assert fleet.send("completed", cancelled)[0] == 202
    row = fleet.status(runner_id(job), "OFFLINE")
    assert row["job_status"] == "cancelled"
    assert fleet.send("queued", job)[0] == 202
    until(lambda: fleet.executions(runner_id(job)) == ["SUCCEEDED"])
    assert "task_id" not in fleet.row(runner_id(job))


def test_cancelled_while_its_runner_waits_releases_it(fleet: Fleet) -> None:
    job = fleet.job()
    fleet.send("queued", job)
    runner = runner_id(job)
    fleet.status(runner, "WAITING_FOR_JOB")
    fleet.send("completed", job | {"status": "completed", "conclusion": "cancelled"})
    row = fleet.status(runner, "OFFLINE")
    assert row["job_status"] == "cancelled"
    assert row["end_reason"] == "the job was cancelled before a runner had it"
    fleet.nothing_is_left_of(runner)


def test_a_job_on_anothers_runner_moves_that_runner(fleet: Fleet) -> None:
    """GitHub may give a runner another job: signals go by the runner's name."""
    first, second = fleet.job(), fleet.job()
    for job in (first, second):
        fleet.send("queued", job)
        fleet.status(runner_id(job), "WAITING_FOR_JOB")
    fleet.send("in_progress", first | {"status": "in_progress", "runner_name": runner_id(second)})
    assert fleet.status(runner_id(second), "RUNNING")["job_id"] == str(first["id"])
    assert fleet.row(runner_id(first))["status"] == "WAITING_FOR_JOB"
    ended_on(fleet, first, runner_id(second), "success")
    fleet.status(runner_id(second), "OFFLINE")
    # the second job is cancelled: its own runner is gone, so the one that waits is released
    fleet.send("completed", second | {"status": "completed", "conclusion": "cancelled"})
    fleet.status(runner_id(first), "OFFLINE")
    fleet.nothing_is_left_of(runner_id(first))


def test_completed_before_in_progress(fleet: Fleet) -> None:
    job = fleet.job()
    fleet.send("queued", job)
    runner = runner_id(job)
    fleet.status(runner, "WAITING_FOR_JOB")
    ended_on(fleet, job, runner, "failure")
    fleet.status(runner, "OFFLINE")
    with fleet.handled():
        fleet.send("in_progress", job | {"status": "in_progress", "runner_name": runner})
    assert fleet.row(runner)["job_status"] == "failure"


def test_a_foreign_runner_is_none_of_the_fleets_business(fleet: Fleet) -> None:
    job = fleet.job()
    foreign = {"status": "in_progress", "runner_name": "somebody-elses"}
    with fleet.handled():
        fleet.send("in_progress", job | foreign)
    assert fleet.row("somebody-elses") == {}


def test_no_attempt_and_a_stale_runner_id(fleet: Fleet) -> None:
    job = fleet.job(runner_id=5, runner_name="old-runner")
    del job["run_attempt"]
    assert fleet.send("queued", job)[0] == 202
    runner = f"fleet-{job['id']}-1"
    fleet.status(runner, "WAITING_FOR_JOB")
    ended_on(fleet, job, runner, "success")
    fleet.status(runner, "OFFLINE")


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        (["class:gigantic"], "small, medium, large"),
        (["image:"], "empty"),
        (["image:ghcr.io/evil/image:1"], "allowed_images"),
        (["image:public.ecr.aws/evil/image:1"], "allowed_images"),
        # the account's own, which whoever may edit a workflow need not be let into
        (["image:123456789012.dkr.ecr.us-east-1.amazonaws.com/pay:latest"], "allowed_images"),
        (["gpu"], "linux, x64"),
        ([f"label-{n}" for n in range(100)], "at most 50"),
        (['quote"quote'], "not allowed"),
        (["line\nbreak"], "not allowed"),
        (["{% $states.context %}"], "not allowed"),
        (["${{ secrets.TOKEN }}"], "not allowed"),
        (["ünïcødé"], "not allowed"),
        (["class:small", "class:large"], "use one"),
    ],
)
def test_what_cannot_be_served_gets_a_row_that_says_why(
    fleet: Fleet, labels: list[str], cause: str
) -> None:
    runner = fleet.queue(*labels)
    row = fleet.status(runner, "FAILED")
    assert row["error"] == "Job.CannotBeServed"
    assert cause in row["cause"]
    assert fleet.executions(runner) == []


@pytest.mark.parametrize("encode", [True, False])
def test_unicode_names_reach_the_row_as_they_are(fleet: Fleet, encode: bool) -> None:
    name = 'bäuen "名前" {% $uuid() %} \\ 🚀'
    job = fleet.job(name=name)
    assert fleet.send("queued", job, encode=encode)[0] == 202
    runner = runner_id(job)
    assert fleet.status(runner, "WAITING_FOR_JOB")["job_name"] == name
    ended_on(fleet, job, runner, "success")
    fleet.status(runner, "OFFLINE")


def test_a_binary_body_is_answered_not_crashed_on(fleet: Fleet) -> None:
    # HTTP APIs hand such a body on in base64
    status, _ = fleet.send_raw(b"\xff\xfe\x00", content_type="application/octet-stream")
    assert status == 400


def test_a_failed_build_fails_its_jobs_with_the_log_link(fleet: Fleet) -> None:
    runners = [fleet.queue("image:does-not-exist:3") for _ in range(3)]
    for runner in runners:
        row = fleet.status(runner, "FAILED")
        assert row["error"] == "Image.BuildFailed"
        assert "https://" in row["cause"]
        fleet.nothing_is_left_of(runner)


def test_twenty_jobs_for_a_new_image_start_one_build(fleet: Fleet) -> None:
    before = len(fleet.local.client("codebuild").list_builds()["ids"])
    runners = [fleet.queue("image:python:3.14-slim") for _ in range(20)]
    for runner in runners:
        fleet.status(runner, "WAITING_FOR_JOB")
    assert len(fleet.local.client("codebuild").list_builds()["ids"]) == before + 1
    for runner in runners:
        fleet.send("completed", fleet.job(id=int(runner.split("-")[1]), conclusion="cancelled"))
    for runner in runners:
        fleet.status(runner, "OFFLINE")


def test_a_task_that_dies_while_waiting_is_replaced_once(fleet: Fleet) -> None:
    runner = fleet.queue()
    first = fleet.status(runner, "WAITING_FOR_JOB")["task_id"]
    interruption = {
        "on": "running_task",
        "outcome": "SpotInterruption",
        "reason": "Your Spot Task was interrupted.",
        "match": runner,
    }
    fleet.fault(**interruption)
    fleet.until(
        runner,
        lambda row: row["task_id"] != first and row["status"] == "WAITING_FOR_JOB",
    )
    assert fleet.registered().count(runner) == 1
    fleet.fault(**interruption)
    row = fleet.status(runner, "FAILED")
    assert row["error"] == "Runner.TaskStopped"
    assert "SpotInterruption" in row["cause"]
    fleet.nothing_is_left_of(runner)


def test_a_token_that_github_refuses_fails_at_once_with_the_remedy(fleet: Fleet) -> None:
    secrets = fleet.local.client("secretsmanager")
    secret = fleet.local.outputs["GithubTokenSecretArn"]
    good = secrets.get_secret_value(SecretId=secret)["SecretString"]
    assert fleet.local.twin
    right = fleet.local.twin.token
    fleet.local.twin.token = "another"
    try:
        runner = fleet.queue()
        row = fleet.status(runner, "FAILED")
    finally:
        fleet.local.twin.token = right
    assert row["error"] == "Runner.RegistrationRefused"
    assert "secret" in row["cause"]
    assert good not in json.dumps(row)


def test_a_registration_whose_answer_was_lost_costs_its_runner_a_moment(fleet: Fleet) -> None:
    """GitHub has made it all the same, lists it late, and keeps its name when it is removed."""
    assert fleet.local.twin
    fleet.local.twin.board.conditions = Conditions(list_lag_seconds=0.5, name_held_seconds=1)
    fleet.local.twin.api_faults.add(
        ApiFault(
            status=502, path="*/generate-jitconfig", applied=True, headers={"retry-after": "1"}
        )
    )
    try:
        job = fleet.job()
        assert fleet.send("queued", job)[0] == 202
        row = fleet.status(runner_id(job), "WAITING_FOR_JOB", "FAILED")
    finally:
        fleet.local.twin.board.conditions = Conditions()
    assert row["status"] == "WAITING_FOR_JOB"
    assert "stopped_tasks" not in row, "its first task has asked until it was registered"
    assert [one.name for one in fleet.local.twin.board.registered].count(runner_id(job)) == 2
    ended_on(fleet, job, runner_id(job), "success")
    fleet.status(runner_id(job), "OFFLINE")


def test_no_secret_in_any_history_or_log(fleet: Fleet) -> None:
    runner = fleet.queue()
    fleet.status(runner, "WAITING_FOR_JOB")
    arn = fleet.row(runner)["execution_arn"]
    pages = fleet.local.client("stepfunctions").get_paginator("get_execution_history")
    history = json.dumps(list(pages.paginate(executionArn=arn)), default=str)
    assert fleet.local.twin
    for secret in (fleet.local.twin.token, fleet.local.webhook_secret, "encoded_jit_config"):
        assert secret not in history
    fleet.send("completed", fleet.job(id=int(runner.split("-")[1]), conclusion="cancelled"))
    fleet.status(runner, "OFFLINE")


FORBIDDEN = (403, {"message": "Forbidden"})
NO_TASK = (
    403,
    {"message": "the claim is not signed by a runner's task", "code": "not_the_task"},
)


def claim(fleet: Fleet, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    url = fleet.local.outputs["RunnerApiUrl"] + path
    request = urllib.request.Request(url, data=b"{}", headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def signed(fleet: Fleet, path: str, keys: Credentials) -> dict[str, str]:
    """The headers of a claim that somebody signs."""
    request = AWSRequest("POST", fleet.local.outputs["RunnerApiUrl"] + path, data=b"{}")
    SigV4Auth(keys, "execute-api", "us-east-1").add_auth(request)
    return dict(request.headers)


@pytest.fixture
def booting(fleet: Fleet) -> Iterator[dict[str, Any]]:
    """A runner whose task does not get as far as its claim: its row."""
    job = fleet.job()
    fleet.fault(on="task", outcome="never_boots", times=1)
    assert fleet.send("queued", job)[0] == 202
    yield fleet.until(runner_id(job), lambda row: row.get("waiting_for") == "runner")
    fleet.send("completed", job | {"status": "completed", "conclusion": "cancelled"})
    fleet.status(runner_id(job), "OFFLINE")


def described(fleet: Fleet, booting: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The cluster, and what ECS tells a reader of the runner's task."""
    cluster = booting["task_id"].split("/")[1]
    [task] = fleet.local.client("ecs").describe_tasks(cluster=cluster, tasks=[booting["task_id"]])[
        "tasks"
    ]
    return cluster, task


def test_a_reader_of_all_that_aws_keeps_can_claim_nothing(
    fleet: Fleet, booting: dict[str, Any]
) -> None:
    path = f"/runners/{booting['runner_id']}/claim"
    pages = fleet.local.client("stepfunctions").get_paginator("get_execution_history")
    history = list(pages.paginate(executionArn=booting["execution_arn"]))
    kept = json.dumps([history, described(fleet, booting), booting], default=str)
    assert booting["runner_id"] in kept
    # whatever could be a credential by its look
    for found in set(re.findall(r"[\w.~+/=-]{16,}", kept)):
        assert claim(fleet, path, {"Authorization": f"Bearer {found}"}) == FORBIDDEN
    # who may read everything, and invoke every API there is
    iam = fleet.local.client("iam")
    iam.create_user(UserName="reader")
    actions = ["states:Get*", "ecs:Describe*", "dynamodb:Get*", "execute-api:Invoke"]
    allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    keys = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    assert claim(fleet, path, signed(fleet, path, keys)) == NO_TASK
    iam.put_user_policy(
        UserName="reader", PolicyName="p", PolicyDocument=document.replace(actions[-1], "s3:Get*")
    )
    assert claim(fleet, path, signed(fleet, path, keys)) == FORBIDDEN
    assert "claimed_at" not in fleet.row(booting["runner_id"])


def lent_to(runner: str) -> Credentials:
    """The credentials of a runner's task, asked for as its first process would."""

    def environment() -> dict[str, str]:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                said = (folder / "environ").read_bytes().decode(errors="replace")
                pairs = dict(pair.split("=", 1) for pair in said.split("\0") if "=" in pair)
                if pairs.get("RUNNER_ID") == runner:
                    return pairs
        return {}

    told = until(environment, "the task runs")
    request = urllib.request.Request(
        told["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        headers={"Authorization": told["AWS_CONTAINER_AUTHORIZATION_TOKEN"]},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        keys = json.load(answer)
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])


def test_the_task_itself_may_claim_and_whoever_does_it_again_spoils_the_registration(
    fleet: Fleet, booting: dict[str, Any]
) -> None:
    """The second is the task whose answer was lost, or somebody with its credentials."""
    runner = booting["runner_id"]
    path, keys = f"/runners/{runner}/claim", lent_to(runner)
    status, granted = claim(fleet, path, signed(fleet, path, keys))
    assert status == 200
    assert runner in fleet.registered()
    assert claim(fleet, path, signed(fleet, path, keys))[0] == 409
    assert runner not in fleet.registered()
    row = fleet.row(runner)
    pages = fleet.local.client("stepfunctions").get_paginator("get_execution_history")
    history = list(pages.paginate(executionArn=row["execution_arn"]))
    kept = json.dumps([history, described(fleet, booting), row], default=str)
    assert booting["task_id"] in kept
    for secret in (keys.secret_key, keys.token, *granted.values()):
        assert secret not in kept


def test_another_task_of_the_same_role_cannot_claim(fleet: Fleet, booting: dict[str, Any]) -> None:
    """Somebody who may start tasks starts one more, told just what the runner's own was told."""
    cluster, own = described(fleet, booting)
    ecs = fleet.local.client("ecs")
    asked = fleet.invocations("RunnerApi")
    [another] = ecs.run_task(
        cluster=cluster,
        taskDefinition=own["taskDefinitionArn"],
        overrides={"containerOverrides": own["overrides"]["containerOverrides"]},
    )["tasks"]

    def stopped() -> Any:
        [task] = ecs.describe_tasks(cluster=cluster, tasks=[another["taskArn"]])["tasks"]
        return task["lastStatus"] == "STOPPED" and task

    task = until(stopped, "the other task ends")
    assert task["containers"][0]["exitCode"] == 1
    assert fleet.invocations("RunnerApi") == asked + 1, "API Gateway knew it as a task"
    assert "claimed_at" not in fleet.row(booting["runner_id"])


def test_the_claim_api_refuses_what_it_does_not_know(fleet: Fleet) -> None:
    runner = fleet.queue()
    fleet.status(runner, "WAITING_FOR_JOB")
    administrator = Credentials(fleet.local.access_key_id, fleet.local.secret_access_key)
    for path in (f"/runners/{runner}/claim", "/runners/fleet-1-1/claim"):
        assert claim(fleet, path, {"Authorization": "Bearer wrong"}) == FORBIDDEN
        assert claim(fleet, path, {}) == FORBIDDEN
        assert claim(fleet, path, signed(fleet, path, administrator)) == NO_TASK
    fleet.send("completed", fleet.job(id=int(runner.split("-")[1]), conclusion="cancelled"))
    fleet.status(runner, "OFFLINE")


# --- time-outs, with real functions


def test_a_task_that_never_boots_is_tried_twice_and_fails(impatient: Fleet) -> None:
    impatient.fault(on="task", outcome="never_boots", times=2)
    runner = impatient.queue()
    row = impatient.status(runner, "FAILED")
    assert row["error"] == "Runner.BootTimeout"
    assert "boot_timeout_seconds" in row["cause"]
    impatient.nothing_is_left_of(runner)


def test_an_idle_runner_is_deregistered_and_gone(impatient: Fleet) -> None:
    runner = impatient.queue()
    impatient.status(runner, "WAITING_FOR_JOB")
    impatient.status(runner, "OFFLINE")
    impatient.nothing_is_left_of(runner)
    assert impatient.row(runner)["end_reason"] == "no job came within 2 seconds"


def test_an_idle_runner_that_github_removes_is_gone_and_has_not_failed(impatient: Fleet) -> None:
    assert impatient.local.twin
    impatient.local.twin.board.conditions = Conditions(idle_seconds=0.5)
    try:
        runner = impatient.queue()
        row = impatient.status(runner, "OFFLINE", "FAILED")
    finally:
        impatient.local.twin.board.conditions = Conditions()
    assert (row["status"], row.get("error")) == ("OFFLINE", None)
    impatient.nothing_is_left_of(runner)
    assert impatient.executions(runner) == ["SUCCEEDED"]
    registered = [one.name for one in impatient.local.twin.board.registered]
    assert registered.count(runner) == 1, "no other task was started under its name"


def test_a_job_that_takes_too_long_is_stopped(impatient: Fleet) -> None:
    job = impatient.job()
    impatient.send("queued", job)
    runner = runner_id(job)
    impatient.status(runner, "WAITING_FOR_JOB")
    impatient.send("in_progress", job | {"status": "in_progress", "runner_name": runner})
    row = impatient.status(runner, "FAILED")
    assert row["error"] == "Runner.JobTimeout"
    impatient.nothing_is_left_of(runner)


def test_an_image_that_never_gets_built_fails(impatient: Fleet) -> None:
    impatient.fault(on="build", outcome="hangs", match="golang")
    runner = impatient.queue("image:golang:1.24")
    row = impatient.status(runner, "FAILED")
    assert row["error"] == "Image.BuildTimeout"
    assert "image_build_timeout_seconds" in row["cause"]


def test_a_job_that_loses_its_runner_to_a_lesser_job_gets_another(fleet: Fleet) -> None:
    """A job without a class may take a classed job's runner, but not the other way round."""
    lesser, greater = fleet.job(), fleet.job("class:medium")
    for job in (lesser, greater):
        fleet.send("queued", job)
        fleet.status(runner_id(job), "WAITING_FOR_JOB")
    taken = lesser | {"status": "in_progress", "runner_name": runner_id(greater)}
    for delivery in ("d-1", "d-2"):  # twice: GitHub's hooks may be two
        assert fleet.send("in_progress", taken, delivery=delivery)[0] == 202
    replacement = f"{runner_id(greater)}-r1"
    row = fleet.status(replacement, "WAITING_FOR_JOB")
    assert (row["class_name"], row["job_id"]) == ("medium", str(greater["id"]))
    # the lesser job's own runner is one too many
    fleet.status(runner_id(lesser), "OFFLINE")
    fleet.nothing_is_left_of(runner_id(lesser))
    # and the replacement can be taken in its turn
    other = fleet.job()
    fleet.send("in_progress", other | {"status": "in_progress", "runner_name": replacement})
    fleet.status(f"{runner_id(greater)}-r2", "WAITING_FOR_JOB")
    assert fleet.executions(f"{runner_id(greater)}-r1-r1") == []
    # the job that took it is queued only now: it starts nothing
    with fleet.handled():
        fleet.send("queued", other)
    assert "task_id" not in fleet.row(runner_id(other))
    for job, runner in ((lesser, runner_id(greater)), (other, replacement)):
        ended_on(fleet, job, runner, "success")
        fleet.status(runner, "OFFLINE")
    fleet.send("completed", greater | {"status": "completed", "conclusion": "cancelled"})
    fleet.status(f"{runner_id(greater)}-r2", "OFFLINE")
    fleet.nothing_is_left_of(f"{runner_id(greater)}-r2")
