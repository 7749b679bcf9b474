"""Claims over the real handler, with GitHub on loopback."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import runner_api
from fleet_runtime.aws.client import client
from fleet_runtime.runner.api import NOT_THE_TASK

from ..aws_stand_in import EARLIER_TASK, RUNNER, SESSION, TASK, TASK_ROLE, Aws
from ..conftest import forget
from ..entry_points import CLAIM, JOB, outputs, sha256
from ..github_stand_in import GitHub

# --- claims ----------------------------------------------------------------------------------


def test_a_claim_registers_the_runner_and_resumes_its_lifecycle(
    aws: Aws, github: GitHub, post: Any
) -> None:
    aws.park("runner", runner_labels="Self-Hosted,image:ubuntu:22.04")
    status, document, _ = post(CLAIM)
    assert status == 200
    assert document["encoded_jit_config"] == "the-jit-configuration"
    assert github.calls == [f"GET jobs/{JOB}", "POST runners/generate-jitconfig"]
    registered = github.stub.received[1].json()
    assert registered["name"] == RUNNER
    assert registered["labels"] == ["Self-Hosted", "image:ubuntu:22.04"]
    row = aws.row()
    assert row is not None
    assert row["github_runner_id"] == 100
    assert row["claimed_at"] > 0
    assert row["events_token_hash"] == sha256(document["events_token"])
    assert aws.resumed == [("token-runner", "Success", "")]


NEXT_TASK = f"{TASK}1"
ACCOUNT = "arn:aws:sts::123456789012:assumed-role"
OTHERS = {
    "another task": f"{ACCOUNT}/{TASK_ROLE}/fedcba9876543210",
    "a task whose id begins so": f"{SESSION}1",
    "another role": f"{ACCOUNT}/fleet-runner-task-2/0123456789abcdef",
    "another account": SESSION.replace("123456789012", "210987654321"),
    "another partition": SESSION.replace("arn:aws:", "arn:aws-cn:"),
    "a person": "arn:aws:iam::123456789012:user/0123456789abcdef",
    "the role itself": f"arn:aws:iam::123456789012:role/{TASK_ROLE}",
    "the account": "arn:aws:iam::123456789012:root",
    "a session of two names": f"{ACCOUNT}/{TASK_ROLE}/x/0123456789abcdef",
    "a line more": f"{SESSION}\n",
    "a federated user": "arn:aws:sts::123456789012:federated-user/0123456789abcdef",
    "an ARN that is none": "0123456789abcdef",
}


@pytest.mark.parametrize("caller", OTHERS.values(), ids=OTHERS)
def test_403_for_who_is_not_the_task_that_the_row_names(
    aws: Aws, github: GitHub, post: Any, caller: str
) -> None:
    aws.park("runner")
    status, refusal, _ = post(CLAIM, caller=caller)
    assert (status, refusal["code"]) == (403, NOT_THE_TASK)
    row = aws.row()
    assert row is not None
    assert "claimed_at" not in row
    assert github.calls == []
    assert post(CLAIM)[0] == 200


NOBODY: dict[str, Any] = {
    "no authorizer on the route": {"requestContext": {"http": {"method": "POST"}}},
    "nothing of the request": {"requestContext": None},
    "an authorizer of another kind": {"requestContext": {"authorizer": {"jwt": {"claims": {}}}}},
    "a caller without a name": {"requestContext": {"authorizer": {"iam": {"userArn": None}}}},
}


@pytest.mark.parametrize("event", NOBODY.values(), ids=NOBODY)
def test_403_where_aws_does_not_say_who_asks(
    aws: Aws, github: GitHub, post: Any, event: dict[str, Any]
) -> None:
    aws.park("runner")
    token = {"headers": {"authorization": f"Bearer {SESSION}"}}
    assert post(CLAIM, **event, **token)[0] == 403
    assert github.calls == []


def test_403_for_another_role_before_the_lifecycle_waits(aws: Aws, post: Any) -> None:
    aws.put_row(status="STARTING")
    assert post(CLAIM, caller=OTHERS["another role"])[0] == 403
    assert post(CLAIM, caller=OTHERS["a person"])[0] == 403


def test_a_classs_role_may_be_a_task_of_that_class_alone(
    aws: Aws, post: Any, environment: pytest.MonkeyPatch
) -> None:
    """A role that was brought may be one that others assume, with a session's name of theirs."""
    environment.setenv("CLASS_TASK_ROLES", '{"huge": "fleet-runner-task-2"}')
    forget()
    aws.park("runner", class_name="small")
    status, refusal, _ = post(CLAIM, caller=OTHERS["another role"])
    assert (status, refusal["code"]) == (403, NOT_THE_TASK)
    assert post(CLAIM)[0] == 200
    aws.park("runner", class_name="Huge")
    assert post(CLAIM, caller=OTHERS["another role"])[0] == 200


def test_a_task_that_was_started_before_its_class_had_a_role_may_claim(
    aws: Aws, post: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("CLASS_TASK_ROLES", '{"huge": "fleet-runner-task-2"}')
    forget()
    aws.park("runner", class_name="huge")
    assert post(CLAIM)[0] == 200


def metrics(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return re.findall(r'"Name": ?"(\w+)"', capsys.readouterr().out)


def test_a_second_claim_takes_the_registration_back(
    aws: Aws, github: GitHub, post: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer was lost, or somebody has the task's credentials: it is good for nobody."""
    aws.park("runner")
    assert post(CLAIM)[0] == 200
    assert len(github.runners) == 1
    assert "ClaimRepeated" not in metrics(capsys)
    assert post(CLAIM)[0] == 409
    assert github.runners == {}
    assert github.calls.count("POST runners/generate-jitconfig") == 1
    assert len(aws.resumed) == 1
    assert "ClaimRepeated" in metrics(capsys)
    asked = len(github.calls)
    assert post(CLAIM)[0] == 409
    assert len(github.calls) == asked, "whoever goes on asking costs GitHub nothing"


def test_409_while_the_lifecycle_waits_for_a_job(aws: Aws, github: GitHub, post: Any) -> None:
    registered = github.add_runner(RUNNER)
    aws.park("job", github_runner_id=registered)
    assert post(CLAIM)[0] == 409
    assert github.runners == {}


def test_a_second_claim_leaves_the_job_that_runs(
    aws: Aws, github: GitHub, post: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    registered = github.add_runner(RUNNER, busy=True)
    aws.park("completion", github_runner_id=registered)
    assert post(CLAIM)[0] == 409
    assert list(github.runners) == [registered]
    assert "ClaimRepeated" in metrics(capsys)


def test_a_second_claim_that_github_cannot_hear_of_is_an_error_all_the_same(
    aws: Aws, github: GitHub, post: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    registered = github.add_runner(RUNNER)
    aws.park("job", github_runner_id=registered)
    github.fail("delete", 500)
    assert post(CLAIM)[0] == 409
    assert "ClaimRepeated" in metrics(capsys)


def test_another_task_takes_no_registration_back(aws: Aws, github: GitHub, post: Any) -> None:
    registered = github.add_runner(RUNNER)
    aws.park("job", github_runner_id=registered)
    assert post(CLAIM, caller=OTHERS["another task"])[0] == 403
    assert list(github.runners) == [registered]
    assert "claim_repeated_at" not in (aws.row() or {})


def test_two_claims_at_once_register_no_runner(aws: Aws, github: GitHub, post: Any) -> None:
    aws.park("runner")
    nested: list[int] = []

    def claim_again(operation: str) -> None:
        if operation == "job" and not nested:
            nested.append(0)
            nested[0] = post(CLAIM)[0]

    github.during = claim_again
    assert post(CLAIM)[0] == 410
    assert nested == [409]
    assert github.runners == {}, "nobody knows which of the two is the task"
    assert aws.resumed == []


def test_the_loser_of_a_race_for_the_claim_is_told_so(
    aws: Aws, post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.park("runner")
    records = runner_api._api().claims.records
    find = records.find
    reads: list[str] = []

    def find_then_lose(runner_id: str) -> Any:
        row = find(runner_id)
        if not reads:
            aws.park("runner", claimed_at=99)
        reads.append(runner_id)
        return row

    monkeypatch.setattr(records, "find", find_then_lose)
    assert post(CLAIM)[0] == 409
    assert aws.resumed == []


def test_503_until_the_lifecycle_waits(aws: Aws, github: GitHub, post: Any) -> None:
    aws.put_row(status="STARTING")
    status, _, headers = post(CLAIM)
    assert (status, headers["retry-after"]) == (503, "1")
    aws.park("runner")
    assert post(CLAIM)[0] == 200


@pytest.mark.parametrize("phase", ["job", "runner"])
def test_503_for_the_next_task_until_the_lifecycle_waits_for_it(
    aws: Aws, post: Any, phase: str
) -> None:
    aws.park(phase, stopped_tasks={TASK})
    status, _, headers = post(CLAIM, caller=f"{SESSION}1")
    assert (status, headers["retry-after"]) == (503, "1")
    aws.park("runner", task_id=NEXT_TASK, stopped_tasks={TASK})
    assert post(CLAIM)[0] == 403, "the one that stopped"
    assert post(CLAIM, caller=f"{SESSION}1")[0] == 200


def test_410_for_a_stopped_task_of_a_runner_that_is_over(aws: Aws, post: Any) -> None:
    aws.put_row(status="FAILED", task_id=TASK, stopped_tasks={TASK})
    assert post(CLAIM)[0] == 410


@pytest.mark.parametrize(
    "attributes",
    [{"status": "OFFLINE"}, {"status": "FAILED"}, {"status": "STARTING", "released_at": 5}],
)
def test_410_before_there_was_a_task_once_it_is_over(
    aws: Aws, post: Any, attributes: dict[str, Any]
) -> None:
    aws.put_row(**attributes)
    assert post(CLAIM)[0] == 410


@pytest.mark.parametrize(
    "attributes",
    [{"released_at": 5}, {"status": "FAILED"}, {"waiting_for": "job"}, {"waiting_for": "image"}],
)
def test_410_once_nobody_waits_for_the_claim(
    aws: Aws, github: GitHub, post: Any, attributes: dict[str, Any]
) -> None:
    aws.park("runner", **attributes)
    assert post(CLAIM)[0] == 410
    assert github.calls == []


@pytest.mark.parametrize("runner_name", [None, "", RUNNER])
def test_410_if_the_job_ended_without_a_runner_or_on_a_task_of_this_one(
    aws: Aws, github: GitHub, post: Any, runner_name: str | None
) -> None:
    aws.park("runner")
    github.jobs[JOB].update(status="completed", runner_name=runner_name)
    assert post(CLAIM)[0] == 410
    assert github.runners == {}
    ((token, error, cause),) = aws.resumed
    assert (token, error) == ("token-runner", "Runner.Released")
    assert "had ended" in cause
    row = aws.row()
    assert row is not None
    assert row["released_at"] > 0


@pytest.mark.parametrize("status", ["in_progress", "completed"])
def test_a_job_that_another_runner_took_leaves_this_one_for_others(
    aws: Aws, github: GitHub, post: Any, status: str
) -> None:
    aws.park("runner")
    github.jobs[JOB].update(status=status, runner_name="another", completed_at=_hours_ago(20))
    assert post(CLAIM)[0] == 200


def test_410_if_another_runner_did_the_job_longer_ago_than_one_can_be_queued(
    aws: Aws, github: GitHub, post: Any
) -> None:
    aws.park("runner")
    github.jobs[JOB].update(status="completed", runner_name="another", completed_at=_hours_ago(26))
    assert post(CLAIM)[0] == 410
    assert github.runners == {}


def _hours_ago(hours: int) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


@pytest.mark.parametrize("status", [404, 403, 500, 0])
def test_a_job_that_cannot_be_looked_up_counts_as_there(
    aws: Aws, github: GitHub, post: Any, status: int
) -> None:
    aws.park("runner")
    github.fail("job", status)
    assert post(CLAIM)[0] == 200


@pytest.mark.parametrize(
    ("status", "headers", "retry_after"),
    [
        (500, {}, "5"),
        (0, {}, "5"),
        (429, {"retry_after": "30"}, "30"),
        (403, {"x_ratelimit_remaining": "0"}, "60"),
        (403, {"retry_after": "999"}, "60"),
    ],
)
def test_503_while_github_is_not_available_and_the_task_may_claim_again(
    *, aws: Aws, github: GitHub, post: Any, status: int, headers: dict[str, str], retry_after: str
) -> None:
    aws.park("runner")
    github.fail("register", status, **headers)
    answered, _, sent = post(CLAIM)
    assert (answered, sent["retry-after"]) == (503, retry_after)
    row = aws.row()
    assert row is not None
    assert "claimed_at" not in row
    assert aws.resumed == []
    forget()  # another process does not know what this one was told
    assert post(CLAIM)[0] == 200


def test_503_for_the_page_of_a_proxy(aws: Aws, github: GitHub, post: Any) -> None:
    aws.park("runner")
    github.faults["register"] = [(200, {"content-type": "text/html"}, b"<html>Sign in</html>")]
    assert post(CLAIM)[0] == 503
    assert aws.resumed == []
    forget()
    assert post(CLAIM)[0] == 200


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, "write access"), (404, "write access"), (422, "GitHub's message")],
)
def test_410_if_github_refuses_for_good(
    aws: Aws, github: GitHub, post: Any, status: int, remedy: str
) -> None:
    aws.park("runner")
    github.fail("register", status, "the reason")
    assert post(CLAIM)[0] == 410
    ((token, error, cause),) = aws.resumed
    assert (token, error) == ("token-runner", "Runner.RegistrationRefused")
    assert f"GitHub answered {status}: the reason" in cause
    assert remedy in cause


def test_a_replaced_token_is_read_again(aws: Aws, github: GitHub, post: Any) -> None:
    aws.park("runner")
    assert post(CLAIM)[0] == 200
    github.tokens = {"ghp_new"}
    client("secretsmanager").put_secret_value(SecretId="github-token", SecretString="ghp_new")
    github.runners.clear()
    aws.park("runner")
    assert post(CLAIM)[0] == 200


def test_410_if_the_token_is_wrong(aws: Aws, github: GitHub, post: Any) -> None:
    aws.park("runner")
    github.tokens = set()
    assert post(CLAIM)[0] == 410
    assert "put a valid one into its secret" in aws.resumed[0][2]


def test_410_with_the_remedy_if_there_is_no_token(aws: Aws, post: Any) -> None:
    aws.park("runner")
    client("secretsmanager").put_secret_value(SecretId="github-token", SecretString=" ")
    assert post(CLAIM)[0] == 410
    assert "put the GitHub token into it" in aws.resumed[0][2]


def test_a_fault_of_aws_lets_the_task_claim_again(aws: Aws, post: Any) -> None:
    aws.park("runner")
    client("secretsmanager").delete_secret(SecretId="github-token", ForceDeleteWithoutRecovery=True)
    with pytest.raises(client("secretsmanager").exceptions.ResourceNotFoundException):
        post(CLAIM)
    client("secretsmanager").create_secret(Name="github-token", SecretString="ghp_token")
    row = aws.row()
    assert row is not None
    assert "claimed_at" not in row


def test_an_idle_runner_of_the_same_name_is_replaced(aws: Aws, github: GitHub, post: Any) -> None:
    aws.park("runner")
    old = github.add_runner(RUNNER)
    assert post(CLAIM)[0] == 200
    assert github.calls[1:] == [
        "POST runners/generate-jitconfig",
        f"GET runners?name={RUNNER}",
        f"DELETE runners/{old}",
        "POST runners/generate-jitconfig",
    ]
    row = aws.row()
    assert row is not None
    assert row["github_runner_id"] in github.runners


def test_a_busy_runner_of_the_same_name_is_left_alone(aws: Aws, github: GitHub, post: Any) -> None:
    aws.park("runner")
    old = github.add_runner(RUNNER, busy=True)
    assert post(CLAIM)[0] == 410
    assert list(github.runners) == [old]
    assert "busy with a job" in aws.resumed[0][2]


def test_a_name_that_stays_taken_for_a_moment_is_asked_for_again(
    aws: Aws, github: GitHub, post: Any
) -> None:
    """GitHub answered 502 and registered it all the same, and lets its name go after a while."""
    aws.park("runner")
    github.add_runner(RUNNER, status="offline")
    github.fail("register", 502)
    assert post(CLAIM)[0] == 503
    github.fail("register", 409, "Already exists")
    github.fail("register", 409, "Already exists")
    status, _, headers = post(CLAIM)
    assert (status, headers["retry-after"]) == (503, "2")
    row = aws.row()
    assert row is not None
    assert "claimed_at" not in row, "it may claim again"
    assert aws.resumed == []
    assert post(CLAIM)[0] == 200
    assert len(github.runners) == 1


def test_a_name_that_is_on_no_list_yet_is_asked_for_again(
    aws: Aws, github: GitHub, post: Any
) -> None:
    aws.park("runner")
    github.fail("register", 409, "Already exists")
    github.fail("register", 409, "Already exists")
    assert post(CLAIM)[0] == 503
    assert post(CLAIM)[0] == 200


def test_another_refusal_behind_a_taken_name_is_final(aws: Aws, github: GitHub, post: Any) -> None:
    aws.park("runner")
    github.fail("register", 409, "Already exists")
    github.fail("register", 422, "the reason")
    assert post(CLAIM)[0] == 410
    assert aws.resumed[0][1] == "Runner.RegistrationRefused"


@pytest.mark.parametrize("code", ["TaskTimedOut", "InvalidToken", "TaskDoesNotExist"])
def test_a_claim_that_comes_too_late_leaves_no_runner_at_github(
    aws: Aws, github: GitHub, post: Any, code: str
) -> None:
    aws.park("runner")
    aws.sfn.fail("SendTaskSuccess", code)
    assert post(CLAIM)[0] == 410
    assert github.runners == {}


@pytest.mark.parametrize(
    "change",
    [
        {"released_at": 5},
        {"waiting_for": "job"},
        {"task_id": EARLIER_TASK},
        {"claim_repeated_at": 98},
    ],
)
def test_a_lifecycle_that_goes_on_during_the_claim_leaves_no_runner_at_github(
    aws: Aws, github: GitHub, post: Any, change: dict[str, Any]
) -> None:
    aws.park("runner")

    def go_on(operation: str) -> None:
        if operation == "register":
            aws.park("runner", claimed_at=99, **change)

    github.during = go_on
    assert post(CLAIM)[0] == 410
    assert github.runners == {}
    assert aws.resumed == []


def test_a_runner_that_could_not_be_taken_back_does_not_spoil_the_answer(
    aws: Aws, github: GitHub, post: Any
) -> None:
    aws.park("runner")
    aws.sfn.fail("SendTaskSuccess", "TaskTimedOut")
    github.fail("delete", 500)
    assert post(CLAIM)[0] == 410


# --- what a runner declares ------------------------------------------------------------------


DECLARATION = {
    "capabilities": ["Shell", "python"],
    "runner_version": "2.338.0",
    "heartbeat_seconds": 90,
}


def test_a_claim_says_what_the_image_can_do_and_how_often_it_will_be_heard_of(
    aws: Aws, post: Any
) -> None:
    aws.park("runner")
    assert post(CLAIM, body=DECLARATION)[0] == 200
    row = aws.row()
    assert row is not None
    assert (row["capabilities"], row["runner_version"]) == ("shell,python", "2.338.0")
    assert outputs(aws) == [{"signal": "claimed", "heartbeat_seconds": 90}]


def test_what_is_declared_costs_no_request_of_its_own(
    aws: Aws, post: Any, requests: list[str]
) -> None:
    aws.park("runner")
    requests.clear()
    post(CLAIM, body=DECLARATION)
    assert requests == ["GetItem", "UpdateItem", "UpdateItem"]


@pytest.mark.parametrize(
    ("needs", "declared"),
    [("", []), ("python", ["Python", "shell"]), ("python,node", ["node", "shell", "python"])],
)
def test_a_runner_that_can_do_what_its_job_needs_is_registered(
    aws: Aws, post: Any, needs: str, declared: list[str]
) -> None:
    aws.park("runner", needs=needs)
    assert post(CLAIM, body={"capabilities": declared})[0] == 200


@pytest.mark.parametrize(
    ("body", "found"),
    [({}, "nothing"), ({"capabilities": ["shell", "python"]}, "shell, python"), ("bad", "nothing")],
)
def test_a_runner_that_cannot_do_its_job_is_never_registered(
    aws: Aws, github: GitHub, post: Any, body: object, found: str
) -> None:
    aws.park("runner", needs="node,native,python", image_tag="ubuntu-24.04-0123456789ab")
    status, document, _ = post(CLAIM, body=body)
    assert status == 410
    assert "node" in document["message"]
    assert github.calls == [], "GitHub is not even asked for the job"
    ((token, error, cause),) = aws.resumed
    assert (token, error) == ("token-runner", "Runner.CapabilityMissing")
    missing = "node, native" if found != "nothing" else "node, native, python"
    assert f"asks for {missing}, and image ubuntu-24.04-0123456789ab declares {found}:" in cause
    assert "RUNNER_CAPABILITIES" in cause
    assert post(CLAIM, body={"capabilities": ["node", "native", "python"]})[0] == 409


def test_needs_are_nothing_to_another_task(aws: Aws, post: Any) -> None:
    aws.park("runner", needs="node")
    assert post(CLAIM, caller=OTHERS["another task"], body={})[0] == 403
    assert aws.resumed == []
