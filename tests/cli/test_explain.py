"""`runner-fleet explain` over a deployed fleet in moto."""

from __future__ import annotations

import time

import boto3
import pytest

from .conftest import CloudFormation, Lambda, put_runner
from .test_runners import SECRETS, Run

URL = "https://github.com/octo-org/octo-repo/actions/runs/9/job/456"
REFUSED = {
    "status": "FAILED",
    "error": "Job.CannotBeServed",
    "cause": "class 'huge' is not in the catalog, use one of small, medium",
    "repository": "octo-org/octo-repo",
    "job_id": 456,
    "job_name": "build",
    "queued_at": 1_700_000_000,
}
QUEUED = {
    "status": "queued",
    "conclusion": None,
    "labels": ["self-hosted", "class:huge"],
    "runner_name": None,
    "created_at": "2023-11-14T22:13:20Z",
}


@pytest.mark.parametrize("named", [URL, "456", "fleet-456-1"])
def test_a_job_however_it_is_named(run: Run, fleet: str, functions: Lambda, named: str) -> None:
    put_runner("fleet-456-1", **REFUSED)
    functions.answer = lambda name, payload: (200, {}, QUEUED)
    result = run("explain", named)
    assert result.exit_code == 0
    assert "class 'huge' is not in the catalog" in result.stdout
    assert "verdict: The fleet refused the job" in result.stdout
    assert "remedy: Author: change runs-on" in result.stdout
    assert "github: says queued, no runner, labels self-hosted, class:huge" in result.stdout
    asked = {"job_id": 456, "repository": "octo-org/octo-repo"}
    assert functions.calls == [("RunnerFleet-explain-job", "RequestResponse", asked)]


def test_attempts_and_replacements_are_found_and_sorted(
    run: Run, fleet: str, functions: Lambda
) -> None:
    put_runner("fleet-456-2-r1", job_id=456, timestamp=300, status="RUNNING")
    put_runner("fleet-456-2", job_id=456, timestamp=200, status="FAILED")
    put_runner("fleet-4567-1", job_id=4567, timestamp=250)
    found = run("explain", "456", "--json").json
    assert found["runners"] == ["fleet-456-2", "fleet-456-2-r1"]
    assert found["verdict"] == "The job runs on fleet-456-2-r1."
    assert [entry["at"] for entry in found["timeline"]] == sorted(
        entry["at"] for entry in found["timeline"]
    )


@pytest.mark.parametrize("followed_by", [5, 6, 17, 49])
def test_however_many_runners_followed_the_first(
    run: Run, fleet: str, functions: Lambda, followed_by: int
) -> None:
    names = ["fleet-456-1", *(f"fleet-456-1-r{number}" for number in range(1, followed_by + 1))]
    for at, name in enumerate(names):
        put_runner(name, job_id=456, timestamp=at, status="OFFLINE")
    put_runner(names[-1], job_id=456, timestamp=followed_by, status="WAITING_FOR_JOB")
    found = run("explain", "456", "--json").json
    assert found["runners"] == names
    assert names[-1] in found["verdict"]


def test_a_runner_that_fell_silent(run: Run, fleet: str, functions: Lambda) -> None:
    heard = int(time.time())
    put_runner("fleet-456-1", job_id=456, status="RUNNING", last_heartbeat=heard)
    assert run("explain", "456", "--json").json["verdict"] == "The job runs on fleet-456-1."
    put_runner("fleet-456-1", job_id=456, status="RUNNING", last_heartbeat=heard - 400)
    assert "not been heard of for 40" in run("explain", "456", "--json").json["verdict"]


def test_the_runner_that_github_gave_the_job_is_found_too(
    run: Run, fleet: str, functions: Lambda
) -> None:
    put_runner("fleet-456-1", job_id=7, timestamp=100, repository="o/r")
    put_runner("fleet-7-1", job_id=456, timestamp=90)
    view = QUEUED | {"status": "in_progress", "runner_name": "fleet-7-1"}
    functions.answer = lambda name, payload: (200, {}, view)
    found = run("explain", "456", "--output", "json").json
    assert found["runners"] == ["fleet-7-1", "fleet-456-1"]
    assert found["verdict"] == "The job runs on fleet-7-1."


@pytest.mark.parametrize("ran_on", ["fleet-999-1", "a-mac"])
def test_a_job_whose_own_runner_is_in_line_runs_on_anothers(
    run: Run, fleet: str, functions: Lambda, ran_on: str
) -> None:
    put_runner("fleet-456-1", job_id=456, timestamp=1, status="QUEUED", waiting_for="turn")
    put_runner("fleet-999-1", job_id=999, timestamp=1, status="RUNNING")
    runs = {**QUEUED, "status": "in_progress", "runner_name": ran_on}
    functions.answer = lambda name, payload: (200, {}, runs)
    found = run("explain", URL, "--json").json
    assert found["verdict"] == f"The job runs on {ran_on}."


def test_a_job_in_line_says_why_it_waits_now(run: Run, fleet: str, functions: Lambda) -> None:
    in_line = {"status": "STARTING", "live": "in_line", "waiting_for": "turn", "place": "5"}
    joined = "other jobs wait before it"
    put_runner("fleet-456-1", job_id=456, repository="o/r", waiting_reason=joined, **in_line)
    full = "class small has 4 of at most 4 runners"

    def answer(name: str, payload: dict[str, object]) -> tuple[int, dict[str, str], object]:
        return 200, {}, {"fleet-456-1": full} if "waiting" in payload else QUEUED

    functions.answer = answer
    found = run("explain", "456", "--json").json
    assert found["verdict"] == f"The job is in line at place 1: {full}."
    assert f"in line at place 1: {full}" in [entry["what"] for entry in found["timeline"]]
    assert found["unknown"] == []

    functions.answer = lambda name, payload: (200, {"X-Amz-Function-Error": "Unhandled"}, {})
    found = run("explain", "456", "--json").json
    assert found["verdict"] == f"The job is in line at place 1: {joined}."
    assert [said.partition(":")[0] for said in found["unknown"]] == ["why it waits now"]


def test_json_has_no_secret_and_all_of_the_story(run: Run, fleet: str, functions: Lambda) -> None:
    put_runner("fleet-456-1", **REFUSED, **SECRETS)
    result = run("explain", URL, "--json")
    assert "very-secret" not in result.stdout
    assert set(result.json) == {
        "job_id",
        "runners",
        "verdict",
        "remedy",
        "github",
        "unknown",
        "timeline",
    }
    assert result.json["timeline"][0] == {
        "at": 1_700_000_000.0,
        "source": "github",
        "what": "job 'build' is queued",
        "runner_id": "",
        "seconds": None,
    }


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, {"error": "GitHub answered 404: Not Found"}), "GitHub answered 404: Not Found"),
        (
            (403, {"x-amzn-errortype": "AccessDeniedException"}, {"Message": "not authorized"}),
            "Ask for that permission",
        ),
        (
            (200, {"X-Amz-Function-Error": "Unhandled"}, {"errorMessage": "boom"}),
            "explain_job failed: boom",
        ),
    ],
)
def test_github_that_cannot_be_asked_is_said_so_and_the_rest_is_told(
    run: Run, fleet: str, functions: Lambda, answer: tuple[int, dict[str, str], object], said: str
) -> None:
    put_runner("fleet-456-1", **REFUSED)
    functions.answer = lambda name, payload: answer
    result = run("explain", "456")
    assert result.exit_code == 0
    assert "could not be asked" in result.stdout
    assert said in result.stdout
    assert "The fleet refused the job" in result.stdout


def test_what_an_older_stack_lacks_is_no_reason_to_fail(
    run: Run, fleet: str, functions: Lambda
) -> None:
    put_runner("fleet-456-1", **REFUSED, image_tag="default-1")
    for output in ("ImageTableName", "ExplainJobFunctionName"):
        del CloudFormation.stacks[fleet][output]
    found = run("explain", "456", "--json").json
    assert "no output ImageTableName" in found["unknown"][0]
    assert "no output ExplainJobFunctionName" in found["github"]["error"]


def test_an_unknown_job_says_what_to_check(run: Run, fleet: str, functions: Lambda) -> None:
    result = run("explain", URL)
    assert result.exit_code == 1
    assert "The fleet has never heard of job 456." in result.stdout
    for hint in ("Recent Deliveries", "self-hosted", "--stack", "events list", "reconcile"):
        assert hint in result.stdout
    assert result.stderr == ""
    assert run("explain", URL, "--json").json["runners"] == []


def test_a_job_that_does_not_ask_for_the_fleet_is_told_apart(
    run: Run, fleet: str, functions: Lambda
) -> None:
    reason = "the job has no label 'fleet-prod', which this fleet's jobs have"
    view = QUEUED | {"labels": ["self-hosted", "a, b"], "left_alone": reason}
    functions.answer = lambda name, payload: (200, {}, view)
    result = run("explain", URL)
    assert result.exit_code == 1
    assert f"The fleet leaves job 456 alone: {reason}." in result.stdout
    assert "'self-hosted', 'a, b'" in result.stdout


def test_a_job_that_is_over_and_was_anothers(run: Run, fleet: str, functions: Lambda) -> None:
    view = QUEUED | {"status": "completed", "conclusion": "success"}
    functions.answer = lambda name, payload: (200, {}, view)
    assert "never had job 456, which is over: success" in run("explain", URL).stdout


def test_a_bare_unknown_id_asks_for_the_url(run: Run, fleet: str, functions: Lambda) -> None:
    result = run("explain", "456")
    assert result.exit_code == 1
    assert "give the job's URL" in result.stdout
    assert functions.calls == []


def test_an_unknown_runner_and_nonsense_are_errors(run: Run, fleet: str, functions: Lambda) -> None:
    unknown = run("explain", "somebody-elses")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "no runner somebody-elses" in unknown.stderr
    nonsense = run("explain", "https://github.com/o/r/actions/runs/1")
    assert nonsense.exit_code == 2
    assert "open the job" in nonsense.stderr


def test_hostile_names_stay_text(run: Run, fleet: str, functions: Lambda) -> None:
    put_runner("fleet-456-1", **REFUSED | {"job_name": "[red]x[/red]\x1b[31m", "cause": "[/]\x07"})
    result = run("explain", "456")
    assert result.exit_code == 0
    assert "[red]x[/red]" in result.stdout
    assert "\x1b" not in result.stdout.replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_more_ids_than_one_read_takes_are_never_asked_for(
    run: Run, fleet: str, functions: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[int] = []

    def count(params: dict[str, object], **_: object) -> None:
        keys.append(len(params["RequestItems"]["RunnerFleet-runners"]["Keys"]))  # type: ignore[index]

    session = boto3.DEFAULT_SESSION
    make = boto3.Session.client

    def client(self: boto3.Session, service: str, **options: object) -> object:
        made = make(self, service, **options)  # type: ignore[call-overload]
        made.meta.events.register("provide-client-params.dynamodb.BatchGetItem", count)
        return made

    monkeypatch.setattr(boto3.Session, "client", client)
    run("explain", "fleet-456-99-r9")
    assert session is boto3.DEFAULT_SESSION
    assert keys
    assert max(keys) <= 100
