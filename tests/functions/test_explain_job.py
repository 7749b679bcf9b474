"""Why a job has no runner, told at GitHub once, over the real handler."""

from __future__ import annotations

import json
from typing import Any

import pytest

import dispatch_event
import explain_job
from cdk_runner_fleet.local.twin import GitHubTwin
from cdk_runner_fleet.local.twin.others import add_runner
from cdk_runner_fleet.local.twin.workflows import read_workflow
from fleet_runtime.explanation.causes import CAUSES
from fleet_runtime.github.message import GitHubUnavailable

from .aws_stand_in import RUNNER, Aws
from .conftest import forget
from .events import bus_event, sample
from .github_stand_in import TOKEN, GitHub

WORKFLOW = "on: push\njobs: {a: {runs-on: [self-hosted, gpu], steps: [{run: 'true'}]}}"
SHA = "e3103f8eb03e1ad7f2331c5446b23c070fc54055"
JOB = 2832853555
URL = f"https://github.com/octo-org/example/actions/runs/940463255/job/{JOB}"
CAUSE = "class 'huge' is not in the catalog, use one of small, medium"


def unserved(**changes: Any) -> dict[str, Any]:
    detail = {
        "runner_id": RUNNER,
        "repository": "octo-org/example",
        "job_id": JOB,
        "run_id": 940463255,
        "run_attempt": 1,
        "job_name": "test (3.12)",
        "job_url": URL,
        "head_sha": SHA,
        "error": "Job.CannotBeServed",
        "cause": CAUSE,
        "final": True,
        "log_only": False,
        **changes,
    }
    return {"source": "cdk-runner-fleet/fleet", "detail-type": "job_unserved", "detail": detail}


@pytest.fixture
def fleet(aws: Aws, github: GitHub, environment: pytest.MonkeyPatch) -> Aws:
    environment.setenv("GITHUB_API_URL", github.stub.url)
    aws.put_row(status="FAILED", error="Job.CannotBeServed")
    github.jobs[JOB] = {"status": "queued", "runner_name": None}
    return aws


@pytest.fixture
def explain(fleet: Aws, context: Any) -> Any:
    return lambda event: explain_job.handler(event, context)


def posted(github: GitHub) -> list[tuple[str, dict[str, Any]]]:
    return [(one.path, one.json()) for one in github.stub.received if one.method == "POST"]


def metrics(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]
    return [
        metric["Name"]
        for line in lines
        for each in line.get("_aws", {}).get("CloudWatchMetrics", [])
        for metric in each["Metrics"]
    ]


def logged(caplog: pytest.LogCaptureFixture) -> str:
    return "".join(str(vars(record)) for record in caplog.records)


def test_an_app_says_it_as_a_check_run(fleet: Aws, github: GitHub, explain: Any) -> None:
    github.is_app = True
    explain(unserved())
    [(path, body)] = posted(github)
    assert path == "/repos/octo-org/example/check-runs"
    output = body.pop("output")
    assert body == {
        "name": "runner-fleet / test (3.12)",
        "head_sha": SHA,
        "external_id": RUNNER,
        "status": "completed",
        "conclusion": "failure",
        "details_url": URL,
    }
    assert output["title"] == "No runner: the fleet does not have what the job asks for"
    assert CAUSE in output["summary"]
    assert CAUSES["Job.CannotBeServed"].remedy in output["summary"]
    row = fleet.row() or {}
    assert row["explained_as"] == "check_run"
    assert row["given_up_at"] > 0


def test_a_token_says_it_as_a_commit_status(fleet: Aws, github: GitHub, explain: Any) -> None:
    explain(unserved())
    assert posted(github)[-1] == (
        f"/repos/octo-org/example/statuses/{SHA}",
        {
            "state": "failure",
            "context": "runner-fleet / test (3.12)",
            "description": CAUSE,
            "target_url": URL,
        },
    )
    assert (fleet.row() or {})["explained_as"] == "commit_status"


def test_the_same_event_explains_nothing_twice(
    fleet: Aws, github: GitHub, explain: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(unserved())
    before, told = fleet.row(), len(posted(github))
    explain(unserved())
    explain(unserved(error="Runner.LaunchFailed"))
    assert fleet.row() == before
    assert len(posted(github)) == told
    assert metrics(capsys) == ["JobUnserved"]


def test_two_at_once_count_it_once(
    fleet: Aws, github: GitHub, explain: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"status": "FAILED", "given_up_at": 7, "explained_as": "check_run"}
    github.during = lambda operation: fleet.put_row(**row) if operation == "status" else None
    explain(unserved())
    assert ((fleet.row() or {})["given_up_at"], metrics(capsys)) == (7, [])


@pytest.mark.parametrize("status", [500, 502, 429])
def test_what_github_does_not_take_now_is_tried_again(
    fleet: Aws, github: GitHub, explain: Any, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    github.is_app = True
    github.fail("check_run", status)
    with pytest.raises(GitHubUnavailable):
        explain(unserved())
    assert "given_up_at" not in (fleet.row() or {})
    assert metrics(capsys) == []
    forget()  # of the limit
    explain(unserved())
    assert (fleet.row() or {})["explained_as"] == "check_run"


@pytest.mark.parametrize("status", [403, 404, 422])
def test_without_the_permission_it_is_given_up_and_counted(
    fleet: Aws, github: GitHub, explain: Any, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    github.fail("status", status, "Resource not accessible by personal access token")
    explain(unserved())
    assert metrics(capsys) == ["ExplainRefused", "JobUnserved"]
    assert (fleet.row() or {})["explained_as"] == "log"
    told = len(posted(github))
    explain(unserved())
    assert len(posted(github)) == told, "a missing permission is asked for once a job"


def test_without_the_permission_the_log_has_the_remedy(
    github: GitHub, explain: Any, caplog: pytest.LogCaptureFixture
) -> None:
    github.fail("status", 403)
    explain(unserved())
    assert "Commit statuses: write" in logged(caplog)
    assert CAUSE in logged(caplog)


def test_a_token_that_github_refuses_is_no_reason_to_try_for_ever(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    github.tokens = {"another"}
    explain(unserved(error="Runner.RegistrationRefused"))
    assert (fleet.row() or {})["explained_as"] == "log"


def test_nothing_is_said_at_github_where_that_is_off(
    fleet: Aws,
    github: GitHub,
    explain: Any,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment.setenv("EXPLAIN_AT_GITHUB", "off")
    explain(unserved())
    assert github.calls == []
    assert (fleet.row() or {})["explained_as"] == "log"
    assert metrics(capsys) == ["JobUnserved"]


def test_an_event_without_a_commit_is_only_logged(fleet: Aws, github: GitHub, explain: Any) -> None:
    explain(unserved(head_sha=""))
    assert posted(github) == []
    assert (fleet.row() or {})["explained_as"] == "log"


@pytest.mark.parametrize("status", ["in_progress", "completed"])
def test_a_job_that_got_a_runner_after_all_is_left_alone(
    fleet: Aws, github: GitHub, explain: Any, status: str
) -> None:
    github.jobs[JOB]["status"] = status
    explain(unserved())
    assert posted(github) == []
    assert "given_up_at" not in (fleet.row() or {})


def test_a_job_that_is_served_again_is_left_alone(fleet: Aws, github: GitHub, explain: Any) -> None:
    fleet.put_row(status="STARTING", live="started")
    explain(unserved())
    assert github.calls == []
    assert "given_up_at" not in (fleet.row() or {})


def test_a_job_without_a_row_is_explained_and_makes_none(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    explain(unserved(runner_id="fleet-1-1"))
    assert len(posted(github)) == 2  # an App's way, then a token's
    assert fleet.row("fleet-1-1") is None, "a row would end the execution of that name quietly"


def test_hostile_text_stays_text(fleet: Aws, github: GitHub, explain: Any) -> None:
    github.is_app = True
    name = "@everyone\n\u202e[x](https://evil.example) " + "n" * 300
    cause = (
        "```\n\n# Hello @everyone <img src=x> [click](javascript:1)\r\n\x1b[31m\u202e\ud800 "
        "arn:aws:iam::123456789012:role/x 123456789012.dkr.ecr.us-east-1.amazonaws.com/y "
        + "c"
        * 5000
    )
    explain(unserved(job_name=name, cause=cause, job_url="javascript:alert(1)"))
    [(_, body)] = posted(github)
    assert body["name"].startswith("runner-fleet / @everyone [x](https://evil.example) nnn")
    assert len(body["name"]) <= 120
    assert "details_url" not in body
    [line] = [line for line in body["output"]["summary"].splitlines() if "Hello" in line]
    assert line.startswith("    ``` # Hello @everyone")  # indented: code, whatever it is
    assert len(line) < 1100
    assert line.isprintable()
    assert "123456789012" not in json.dumps(body)


def test_a_long_cause_is_cut_for_a_commit_status(fleet: Aws, github: GitHub, explain: Any) -> None:
    explain(unserved(cause="ü" * 500))
    description = posted(github)[-1][1]["description"]
    assert len(description) == 140
    assert description.endswith("ü…")


def test_a_cause_that_says_nothing_is_made_up_for_by_the_errors_meaning(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    explain(unserved(error="Image.BuildTimeout", cause=""))
    assert posted(github)[-1][1]["description"] == "the runner's image was not built in time"


def test_no_secret_is_said_or_logged(
    fleet: Aws, github: GitHub, explain: Any, caplog: pytest.LogCaptureFixture
) -> None:
    explain(unserved())
    said = json.dumps(posted(github)) + logged(caplog)
    for secret in github.tokens:
        assert secret not in said


# --- GitHub's view, for the command line ---


def test_githubs_view_of_a_job(github: GitHub, explain: Any) -> None:
    github.jobs[JOB] = {
        "id": JOB,
        "status": "in_progress",
        "conclusion": None,
        "labels": ["self-hosted"],
        "runner_name": "fleet-7-1",
        "created_at": "2026-06-15T19:22:20Z",
        "started_at": "2026-06-15T19:23:20Z",
        "completed_at": None,
        "head_sha": SHA,
        "html_url": URL,
        "steps": [],
    }
    view = explain({"job_id": JOB, "repository": "octo-org/example"})
    told = {k: v for k, v in github.jobs[JOB].items() if k not in ("id", "steps")}
    assert view == told | {"left_alone": None}


def test_githubs_view_says_why_a_job_is_left_alone(
    github: GitHub, explain: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("REQUIRED_LABELS", '["fleet-prod"]')
    view = explain({"job_id": JOB, "repository": "octo-org/example"})
    assert view["left_alone"] == "the job has no label 'fleet-prod', which this fleet's jobs have"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"job_id": 7, "repository": "octo-org/example"}, "404"),
        ({"job_id": JOB, "repository": "evil/other"}, "evil/other"),
    ],
)
def test_what_github_does_not_say_is_said_so(
    github: GitHub, explain: Any, asked: dict[str, Any], said: str
) -> None:
    view = explain(asked)
    assert list(view) == ["error"]
    assert said in view["error"]


def test_github_that_does_not_answer_is_said_so(github: GitHub, explain: Any) -> None:
    github.fail("job", 503)
    assert "503" in explain({"job_id": JOB, "repository": "octo-org/example"})["error"]


# --- other people's runners -------------------------------------------------------------------


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("state", [{"busy": True}, {"status": "offline"}, {}])
def test_a_job_that_another_runner_may_serve_is_left_to_it(
    *, fleet: Aws, github: GitHub, explain: Any, final: bool, state: dict[str, Any]
) -> None:
    github.jobs[JOB]["labels"] = ["self-hosted", "GPU"]
    github.add_runner("cpu-box", labels=("self-hosted",))
    github.add_runner("gpu-box-1", labels=("Self-Hosted", "gpu", "linux"), **state)
    explain(unserved(final=final))
    assert posted(github) == []
    row = fleet.row() or {}
    assert (row["left_to"], row["left_at"] > 0) == ("gpu-box-1", True)
    assert not {"explained_at", "given_up_at"} & set(row)


def test_hundreds_of_somebody_elses_jobs_cost_one_list_of_runners_a_minute(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    github.add_runner("gpu-box-1", labels=("self-hosted", "gpu"))
    for number in range(1, 31):
        github.jobs[number] = {
            "status": "queued", "runner_name": None, "labels": ["self-hosted", "gpu"],
        }  # fmt: skip
        name = f"fleet-{number}-1"
        fleet.put_row(runner_id=name, status="FAILED", error="Job.CannotBeServed")
        explain(unserved(runner_id=name, job_id=number, final=False))
        assert (fleet.row(name) or {})["left_to"] == "gpu-box-1"
    lists = [one for one in github.stub.received if one.path.split("?")[0].endswith("/runners")]
    assert len(lists) == 1
    assert len(github.stub.received) <= 30 + 1


@pytest.mark.parametrize("scope", ["orgs/octo-org", "repos/octo-org/example"])
def test_somebody_elses_runner_is_found_wherever_it_is_registered(
    fleet: Aws,
    environment: pytest.MonkeyPatch,
    context: Any,
    scope: str,
) -> None:
    environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    environment.setenv("REGISTER_FOR", "repository")
    with GitHubTwin(repository="octo-org/example", token=TOKEN, webhook_secret="s") as twin:
        environment.setenv("GITHUB_API_URL", twin.url)
        job = twin.board.queue_run(
            read_workflow(WORKFLOW, file_name="ci.yml"),
            file_name="ci.yml",
            workspace=None,
            protected_environments=frozenset(),
        ).jobs[0]
        add_runner(twin.board, name="box", labels=["other", "gpu"], scope=f"/{scope}")
        twin.board.register(name="gpu-box", labels=["self-hosted", "gpu"]).scope = f"/{scope}"
        explain_job.handler(unserved(job_id=job.id, final=False), context)
    assert (fleet.row() or {})["left_to"] == "gpu-box"


def test_what_is_more_than_a_repositorys_share_is_marked_and_github_is_not_asked(
    fleet: Aws, github: GitHub, explain: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(unserved(log_only=True))
    assert github.calls == []
    row = fleet.row()
    assert row is not None
    assert (row["explained_as"], "given_up_at" in row) == ("log", True)
    assert metrics(capsys) == ["JobUnserved"]


def test_a_job_that_no_runner_has_all_labels_of_is_explained(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    github.jobs[JOB]["labels"] = ["self-hosted", "gpu", "class:huge"]
    github.add_runner("gpu-box-1", labels=("self-hosted", "gpu"))
    explain(unserved(final=False))
    body = posted(github)[-1][1]
    assert (body["state"], body["description"]) == ("success", f"No runner yet: {CAUSE}")


def test_whether_another_runner_serves_it_is_not_asked_of_a_job_that_the_fleet_does_serve(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    github.add_runner("gpu-box-1", labels=("self-hosted",))
    fleet.put_row(status="FAILED", error="Runner.LaunchFailed")
    explain(unserved(error="Runner.LaunchFailed"))
    assert posted(github)[-1][1]["state"] == "failure"


def test_runners_that_may_not_be_looked_at_keep_nobody_quiet(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    github.fail("list", 403)
    explain(unserved())
    assert posted(github)[-1][1]["state"] == "failure"


def test_a_refused_job_is_counted_once(
    fleet: Aws, github: GitHub, explain: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(unserved(final=False))
    explain(unserved())
    assert [body["state"] for path, body in posted(github) if "statuses" in path] == [
        "success",
        "failure",
    ]
    assert metrics(capsys) == ["JobUnserved"]


def served(**changes: Any) -> dict[str, Any]:
    said = {"error": "Job.Served", "cause": "it runs on gpu-box-1", "final": False, **changes}
    return {**unserved(**said), "detail-type": "job_served"}


@pytest.mark.parametrize("is_app", [True, False])
def test_what_was_said_is_taken_back_under_the_same_name(
    fleet: Aws, github: GitHub, explain: Any, *, is_app: bool
) -> None:
    github.is_app = is_app
    explain(unserved())
    for _ in range(2):
        explain(served())
    path = "check-runs" if is_app else "statuses"
    before, after = (body for where, body in posted(github) if path in where)
    if is_app:
        assert (before["conclusion"], after["conclusion"]) == ("failure", "neutral")
        assert before["name"] == after["name"]
        assert after["output"]["title"].startswith("A runner after all: ")
        assert "    it runs on gpu-box-1" in after["output"]["summary"]
    else:
        assert (before["state"], after["state"]) == ("failure", "success")
        assert before["context"] == after["context"]
        assert after["description"] == "A runner after all: it runs on gpu-box-1"
    assert (fleet.row() or {})["taken_back_at"] > 0


def test_what_was_said_of_a_row_that_was_begun_anew_is_taken_back_too(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    fleet.put_row(status="STARTING", live="started")
    explain(served())
    assert posted(github)[-1][1]["state"] == "success"
    assert "taken_back_at" not in (fleet.row() or {})


def test_what_github_does_not_take_back_now_is_tried_again(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    explain(unserved())
    github.fail("status", 502)
    with pytest.raises(GitHubUnavailable):
        explain(served())
    explain(served())
    assert (fleet.row() or {})["taken_back_at"] > 0


# --- a runner that waits ---------------------------------------------------------------------

FULL = "the fleet has 100 of 100 runners (max_runners)"
WAITS = {"error": "Job.Waits", "cause": FULL, "final": False}


@pytest.fixture
def waiting(fleet: Aws) -> Aws:
    fleet.put_row(status="STARTING", live="in_line", waiting_for="turn", waiting_reason=FULL)
    return fleet


def test_an_app_says_of_a_long_wait_what_stands_in_nobodys_way(
    waiting: Aws, github: GitHub, explain: Any
) -> None:
    github.is_app = True
    explain(unserved(**WAITS))
    [(_, body)] = posted(github)
    assert (body["status"], body["conclusion"]) == ("completed", "neutral")
    assert body["output"]["title"].startswith("No runner yet: ")
    assert FULL in body["output"]["summary"]
    assert (waiting.row() or {})["wait_explained_at"] > 0


def test_the_command_line_is_told_why_runners_wait_now(
    waiting: Aws, github: GitHub, explain: Any, environment: pytest.MonkeyPatch, context: Any
) -> None:
    """The row says why it joined the line; by now it is another limit that holds it up."""
    environment.setenv("MAX_RUNNERS", "1")
    waiting.put_row(
        runner_id="fleet-1-1", status="STARTING", waiting_for="capacity", waiting_reason="none"
    )
    waiting.put_row(runner_id="fleet-2-1", status="RUNNING", waiting_for="completion")
    asked = {"waiting": [RUNNER, "fleet-1-1", "fleet-2-1", "fleet-3-1"]}
    free = "no limit holds it up now: reconciliation serves the line"
    assert explain(asked) == {RUNNER: free, "fleet-1-1": "none"}, "not what was full before"
    other = sample("queued")
    other["workflow_job"]["id"] = 7
    dispatch_event.handler(bus_event(other), context)
    full = explain(asked)[RUNNER]
    assert full.startswith("the fleet has 1 of at most 1 runners: "), full
    assert not github.stub.received


def test_a_token_says_it_as_a_status_that_is_no_failure(
    waiting: Aws, github: GitHub, explain: Any
) -> None:
    explain(unserved(**WAITS))
    body = posted(github)[-1][1]
    assert (body["state"], body["description"]) == ("success", f"No runner yet: {FULL}")


def test_a_wait_is_told_once_and_the_end_still_is(
    waiting: Aws, github: GitHub, explain: Any
) -> None:
    github.is_app = True
    for _ in range(2):
        explain(unserved(**WAITS))
    assert len(posted(github)) == 1
    waiting.put_row(status="FAILED", error="Runner.LaunchFailed", wait_explained_at=5)
    explain(unserved(error="Runner.LaunchFailed", cause="no such subnet"))
    assert [body["conclusion"] for _, body in posted(github)] == ["neutral", "failure"]


def test_a_wait_that_is_over_is_not_told(waiting: Aws, github: GitHub, explain: Any) -> None:
    waiting.put_row(status="STARTING", live="started", waiting_for="runner")
    explain(unserved(**WAITS))
    assert posted(github) == []


# --- a runner that failed, and is tried again -------------------------------------------------

TRIED_AGAIN = {
    "error": "Runner.LaunchFailed",
    "cause": "User: arn:aws:sts::123456789012:assumed-role/launcher is not authorized",
    "final": False,
}


def test_what_is_tried_again_stands_in_nobodys_way_and_giving_up_does(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    github.is_app = True
    fleet.put_row(status="FAILED", error="Runner.LaunchFailed")
    for event in (TRIED_AGAIN, TRIED_AGAIN, TRIED_AGAIN | {"final": True}, TRIED_AGAIN):
        explain(unserved(**event))
    assert [body["conclusion"] for _, body in posted(github)] == ["neutral", "failure"]
    row = fleet.row() or {}
    assert row["explained_at"] > 0
    assert row["given_up_at"] > 0


def test_what_only_an_operator_can_mend_is_told_without_its_cause(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    fleet.put_row(status="FAILED", error="Runner.LaunchFailed")
    explain(unserved(**TRIED_AGAIN))
    told = json.dumps([body for _, body in posted(github)])
    assert "assumed-role" not in told
    assert CAUSES["Runner.LaunchFailed"].title in told


def test_an_account_number_is_masked_wherever_it_stands(
    fleet: Aws, github: GitHub, explain: Any
) -> None:
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/assets-123456789012-eu-west-1:1"
    explain(unserved(error="Image.BuildFailed", cause=f"{image} not found"))
    told = json.dumps([body for _, body in posted(github)])
    assert "123456789012" not in told
    assert "not found" in told
