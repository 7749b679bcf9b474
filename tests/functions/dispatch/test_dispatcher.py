"""Jobs over the real handler: what is started, refused, released and replaced."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet_runtime.runner.signals import Signals

from ..aws_stand_in import EARLIER_TASK, RUNNER, Aws
from ..entry_points import started_input, told, unserved, waiting_for_a_job
from ..events import job, sample
from ..lines import lines, measured

JOB = 2832853555

# --- queued ---------------------------------------------------------------------------------


def test_a_queued_job_starts_its_lifecycle(aws: Aws, dispatch: Any) -> None:
    dispatch(sample("queued"))
    document = started_input(aws)
    tag = document["image_tag"]
    assert document == {
        "runner_id": RUNNER,
        "repository": "octo-org/example",
        "job_id": 2832853555,
        "run_id": 940463255,
        "run_attempt": 1,
        "job_name": "test (3.12)",
        "workflow_name": "Build",
        "job_url": "https://github.com/octo-org/example/actions/runs/940463255/job/2832853555",
        "head_sha": "e3103f8eb03e1ad7f2331c5446b23c070fc54055",
        "runner_labels": "self-hosted,linux",
        "waiting_labels": "linux,self-hosted",
        "registered_for": "repos/octo-org/example",
        "class_name": "small",
        "cpu": "512",
        "memory": "1024",
        "ephemeral_storage": 20,
        "timeouts": {},
        "architecture": "X86_64",
        "capabilities": "",
        "needs": "",
        "capacity": ["FARGATE"],
        "usd_per_second": {"FARGATE": 6.8569e-06},
        "image_tag": tag,
        "image_base": "public.ecr.aws/ubuntu/ubuntu:24.04",
        "task_definition": f"fleet-runner-abc-{tag}",
        "queued_at": 1781551340,
        "queued_delivery": "d",
        "queued_received_at": 1781551342,
    }
    assert tag.startswith("default-")
    assert aws.row() is None, "the lifecycle writes its row"


def test_the_same_event_twice_starts_one_runner(aws: Aws, dispatch: Any) -> None:
    dispatch(sample("queued"))
    aws.sfn.fail("StartExecution", "ExecutionAlreadyExists")
    dispatch(sample("queued"))
    assert {call["name"] for call in aws.sfn.named("StartExecution")} == {RUNNER}


def test_other_trouble_of_step_functions_is_tried_again(aws: Aws, dispatch: Any) -> None:
    aws.sfn.fail("StartExecution", "StateMachineDoesNotExist")
    with pytest.raises(Exception, match="StateMachineDoesNotExist"):
        dispatch(sample("queued"))


def test_a_stale_runner_id_on_a_queued_job_is_not_believed(aws: Aws, dispatch: Any) -> None:
    dispatch(sample("queued_stale_runner"))
    assert started_input(aws)["runner_id"] == RUNNER
    assert aws.resumed == []


def test_a_refused_job_is_refused_once(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        dispatch(job("queued", labels=["self-hosted", "class:huge"]))
    assert capsys.readouterr().out.count('"JobRefused"') == 2  # name and value of one EMF line


def test_a_refused_jobs_author_is_to_be_told(aws: Aws, dispatch: Any) -> None:
    dispatch(job("queued", labels=["self-hosted", "class:huge"]))
    row = aws.row()
    assert row is not None
    assert (row["queued_delivery"], row["queued_received_at"]) == ("d", 1781551342)
    assert unserved(aws) == [
        {
            "runner_id": RUNNER,
            "repository": "octo-org/example",
            "job_id": 2832853555,
            "run_id": 940463255,
            "run_attempt": 1,
            "job_name": "test (3.12)",
            "job_url": row["job_url"],
            "head_sha": "e3103f8eb03e1ad7f2331c5446b23c070fc54055",
            "error": "Job.CannotBeServed",
            "cause": row["cause"],
            "final": False,
            "log_only": False,
        }
    ]


def test_a_refusal_that_was_written_but_not_told_is_told_by_the_next_event(
    aws: Aws, dispatch: Any
) -> None:
    aws.events.fail("PutEvents", "InternalException")
    refused = job("queued", labels=["self-hosted", "class:huge"])
    with pytest.raises(Exception, match="InternalException"):
        dispatch(refused)
    assert aws.row() is not None
    aws.events.answers["PutEvents"] = {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
    before = len(unserved(aws))
    dispatch(refused)
    assert len(unserved(aws)) == before + 1


def test_a_job_whose_row_is_anothers_doing_is_not_said_to_be_refused(
    aws: Aws, dispatch: Any
) -> None:
    aws.put_row(status="OFFLINE", released_at=1, job_status="cancelled")
    dispatch(job("queued", labels=["self-hosted", "class:huge"]))
    assert unserved(aws) == []


# --- in progress and completed --------------------------------------------------------------


def test_a_cancelled_jobs_row_names_the_delivery_too(aws: Aws, dispatch: Any) -> None:
    dispatch(sample("completed_cancelled"))
    row = aws.row()
    assert row is not None
    assert (row["completed_delivery"], row["completed_received_at"]) == ("d", 1781551342)


def test_signals_go_by_the_runners_name(aws: Aws, dispatch: Any) -> None:
    aws.park("job", runner_labels="self-hosted,linux")
    aws.put_row(runner_id="fleet-999-1", runner_labels="self-hosted,linux")
    dispatch(job("in_progress_old_server", id=999, run_id=888, name="another"))
    row = aws.row()
    assert row is not None
    assert (row["job_id"], row["run_id"], row["job_name"]) == (999, 888, "another")
    assert aws.resumed == [("token-job", "Success", "")]


def told_of(printed: str, message: str) -> list[dict[str, Any]]:
    return [line for line in lines(printed) if line.get("message") == message]


def test_a_start_says_how_long_its_phases_took(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"queued_at": 1781551340, "timestamp": 1781551343, "launched_at": 1781551350}
    aws.park("job", class_name="small", **times | {"claimed_at": 1781551370})
    dispatch(job("in_progress", started_at="2026-06-15T19:22:55Z"))
    [line] = told_of(capsys.readouterr().out, "job started")
    assert measured(line) == {
        "QueueSeconds": (35, ("fleet",)),
        "AdmissionSeconds": (3, ("fleet",)),
        "LaunchSeconds": (7, ("fleet",)),
        "BootSeconds": (20, ("fleet",)),
        "AssignmentSeconds": (5, ("fleet",)),
    }
    assert (line["runner_id"], line["class_name"], line["job_id"]) == (RUNNER, "small", JOB)


def test_a_start_that_is_heard_of_with_the_end_is_told_then_and_once(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.park("job", queued_at=1781551340)
    dispatch(sample("completed"))
    dispatch(sample("in_progress"))
    printed = capsys.readouterr().out
    assert len(told_of(printed, "job started")) == 1
    assert len(told_of(printed, "job ended")) == 1


def test_a_start_that_was_heard_of_is_not_told_again_with_the_end(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.park("job", queued_at=1781551340)
    dispatch(sample("in_progress"))
    dispatch(sample("completed"))
    printed = capsys.readouterr().out
    assert len(told_of(printed, "job started")) == 1
    [ended] = told_of(printed, "job ended")
    assert measured(ended) == {"JobEnded": (1, ("fleet", "success"))}


@pytest.mark.parametrize(
    ("conclusion", "counted"),
    [("failure", "failure"), ("skipped", "skipped"), ("stale", "other"), (None, "other")],
)
def test_a_job_that_had_no_runner_counts_by_what_became_of_it(
    conclusion: str | None,
    counted: str,
    aws: Aws,
    dispatch: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dispatch(job("completed_cancelled", conclusion=conclusion))
    [ended] = told_of(capsys.readouterr().out, "job ended")
    assert measured(ended) == {"JobEnded": (1, ("fleet", counted))}


@pytest.mark.usefixtures("aws")
def test_a_job_that_ran_on_somebody_elses_runner_is_not_the_fleets(
    dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    dispatch(job("in_progress", runner_name="theirs"))
    dispatch(job("completed", runner_name="theirs"))
    assert not [line for line in lines(capsys.readouterr().out) if "_aws" in line]


@pytest.mark.parametrize("name", ["in_progress", "completed"])
def test_jobs_of_other_runners_leave_no_row(aws: Aws, dispatch: Any, name: str) -> None:
    dispatch(job(name, runner_name="somebody-elses"))
    assert aws.row("somebody-elses") is None
    assert aws.resumed == []


def test_a_start_without_a_runner_is_nothing(aws: Aws, dispatch: Any) -> None:
    aws.park("job")
    dispatch(job("in_progress", runner_name=None))
    assert aws.resumed == []


@pytest.mark.parametrize("phase", ["runner", "job"])
def test_a_task_whose_runner_has_done_its_job_is_not_wanted(
    aws: Aws, dispatch: Any, phase: str
) -> None:
    registration = {"github_runner_id": 2} if phase == "job" else {}
    aws.park(phase, stopped_tasks={EARLIER_TASK}, **registration)
    dispatch(sample("completed"))
    ((token, error, cause),) = aws.resumed
    assert (token, error) == (f"token-{phase}", "Runner.Released")
    assert cause == "the task before this one has done the job"
    row = aws.row()
    assert row is not None
    assert row["job_status"] == "success"


def test_a_task_that_has_another_job_by_then_keeps_it_and_that_jobs_runner_goes(
    aws: Aws, dispatch: Any
) -> None:
    aws.park(
        "completion", stopped_tasks={EARLIER_TASK}, github_runner_id=2, started_at=100, job_id=9
    )
    waiting_for_a_job(aws, "fleet-9-1")
    dispatch(sample("completed"))
    assert [(token, error) for token, error, _ in aws.resumed] == [
        ("token-fleet-9-1", "Runner.Released")
    ]
    row = aws.row()
    assert row is not None
    assert not {"completed_at", "released_at"} & set(row)


# --- on somebody else's runner ---------------------------------------------------------------

OTHERS = ("gpu-box-1", "other-2832853555-1", "fleet-gpu-2832853555-1")
"""A machine, and the runners of two other fleets: of another prefix, of one that begins alike."""


@pytest.mark.parametrize("name", ["in_progress", "completed"])
@pytest.mark.parametrize("runner", OTHERS)
@pytest.mark.parametrize("phase", ["runner", "job"])
def test_a_job_that_runs_elsewhere_needs_its_runner_no_more(
    *, aws: Aws, dispatch: Any, name: str, runner: str, phase: str
) -> None:
    aws.park(phase)
    for _ in range(2):
        dispatch(job(name, runner_name=runner))
    assert {(token, error) for token, error, _ in aws.resumed} == {
        (f"token-{phase}", "Runner.Released")
    }
    row = aws.row()
    assert row is not None
    assert row["ran_on"] == runner
    assert row["released_at"] > 0
    assert row.get("job_status") == ("success" if name == "completed" else None)
    assert aws.row(runner) is None


def test_a_job_that_ran_elsewhere_before_it_was_heard_of_starts_nothing(
    aws: Aws, dispatch: Any
) -> None:
    dispatch(job("in_progress", runner_name="gpu-box-1"))
    row = aws.row()
    assert row is not None
    assert (row["status"], row["ran_on"]) == ("OFFLINE", "gpu-box-1")
    assert row["released_at"] > 0


def test_a_refused_job_that_runs_elsewhere_is_refused_no_more(aws: Aws, dispatch: Any) -> None:
    labels = ["self-hosted", "gpu"]
    dispatch(job("queued", labels=labels))
    dispatch(job("in_progress", labels=labels, runner_name="gpu-box-1"))
    dispatch(job("completed", labels=labels, runner_name="gpu-box-1"))
    row = aws.row()
    assert row is not None
    assert (row["status"], row["ran_on"], row["job_status"]) == ("OFFLINE", "gpu-box-1", "success")
    assert "no class has label 'gpu'" in row["cause"]


def test_a_job_that_runs_elsewhere_while_it_is_being_refused_is_refused_no_more(
    aws: Aws, dispatch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = ["self-hosted", "gpu"]
    released = Signals.released

    def refused_meanwhile(*given: Any, **values: Any) -> Any:
        monkeypatch.undo()
        dispatch(job("queued", labels=labels))
        return released(*given, **values)

    monkeypatch.setattr(Signals, "released", refused_meanwhile)
    dispatch(job("completed", labels=labels, runner_name="gpu-box-1"))
    row = aws.row()
    assert row is not None
    assert (row["status"], row["ran_on"], row["job_status"]) == ("OFFLINE", "gpu-box-1", "success")


def test_a_runner_whose_job_ran_elsewhere_and_that_took_another_is_kept(
    aws: Aws, dispatch: Any
) -> None:
    aws.park("completion", started_at=100, job_id=9)
    waiting_for_a_job(aws, "fleet-9-1")
    dispatch(job("in_progress", runner_name="gpu-box-1"))
    assert [token for token, _, _ in aws.resumed] == ["token-fleet-9-1"]


@pytest.mark.usefixtures("environment")
def test_a_strangers_job_on_a_strangers_runner_leaves_no_trace(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("REQUIRED_LABELS", '["fleet-prod"]')
    dispatch(job("in_progress", runner_name="fleet-gpu-2832853555-1"))
    assert aws.row() is None


@pytest.mark.parametrize("name", ["in_progress", "completed"])
@pytest.mark.parametrize("runner", [RUNNER, "gpu-box-1", "fleet-9-1"])
def test_what_was_said_of_a_job_is_taken_back_when_it_runs(
    *, aws: Aws, dispatch: Any, name: str, runner: str
) -> None:
    said = {"explained_as": "commit_status", "job_name": "test (3.12)", "head_sha": "e" * 40}
    aws.put_row(status="WAITING_FOR_JOB", job_id=2832853555, explained_at=5, **said)
    aws.put_row(runner_id="fleet-9-1", job_id=9, status="WAITING_FOR_JOB")
    dispatch(job(name, runner_name=runner))
    (event,) = told(aws, "job_served")
    assert (event["runner_id"], event["error"], event["final"]) == (RUNNER, "Job.Served", False)
    assert event["cause"] == f"it runs on {runner}"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"explained_as": "log", "explained_at": 5},
        {"explained_as": "check_run", "explained_at": 5, "taken_back_at": 5},
        {"explained_as": "check_run", "given_up_at": 5, "taken_back_at": 9},
    ],
)
def test_what_was_not_said_or_is_taken_back_is_not_taken_back(
    aws: Aws, dispatch: Any, said: dict[str, Any]
) -> None:
    aws.put_row(status="WAITING_FOR_JOB", job_id=2832853555, **said)
    dispatch(job("in_progress", runner_name="gpu-box-1"))
    assert told(aws, "job_served") == []


def test_the_last_word_of_several_runners_is_taken_back(aws: Aws, dispatch: Any) -> None:
    said = {"status": "FAILED", "job_id": 2832853555, "explained_as": "check_run"}
    aws.put_row(explained_at=5, taken_back_at=6, **said)
    aws.put_row(runner_id=f"{RUNNER}-r1", given_up_at=9, **said)
    dispatch(job("in_progress", runner_name="gpu-box-1"))
    assert [event["runner_id"] for event in told(aws, "job_served")] == [f"{RUNNER}-r1"]


# --- released -------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["image", "runner", "job"])
def test_a_job_cancelled_before_it_started_releases_its_runner(
    aws: Aws, dispatch: Any, phase: str
) -> None:
    aws.park(phase)
    dispatch(sample("completed_cancelled"))
    ((token, error, cause),) = aws.resumed
    assert (token, error) == (f"token-{phase}", "Runner.Released")
    assert cause == "the job was cancelled before a runner had it"
    row = aws.row()
    assert row is not None
    assert row["job_status"] == "cancelled"
    assert row["released_at"] > 0
    assert row["status"] != "OFFLINE", "the lifecycle writes that"


def test_a_cancelled_job_releases_the_runner_that_followed_its_own(aws: Aws, dispatch: Any) -> None:
    aws.put_row(status="OFFLINE", claimed_at=5, ended_at=9)
    aws.put_row(runner_id=f"{RUNNER}-r1", status="FAILED", ended_at=9)
    aws.park("job", runner_id=f"{RUNNER}-r2")
    dispatch(sample("completed_cancelled"))
    assert [(token, error) for token, error, _ in aws.resumed] == [("token-job", "Runner.Released")]
    last = aws.row(f"{RUNNER}-r2")
    assert last is not None
    assert last["released_at"] > 0
    dispatch(sample("completed_cancelled"))
    assert len(aws.resumed) == 2, "the same once more, to whoever waits still"
    assert aws.row(f"{RUNNER}-r3") is None


def test_a_job_cancelled_before_its_row_exists_leaves_a_tombstone(aws: Aws, dispatch: Any) -> None:
    dispatch(sample("completed_cancelled"))
    row = aws.row()
    assert row is not None
    assert (row["status"], row["job_status"]) == ("OFFLINE", "cancelled")
    assert row["expires_at"] == row["timestamp"] + 2592000
    assert (row["repository"], row["job_id"]) == ("octo-org/example", 2832853555)
    assert aws.resumed == []


def test_a_refused_job_that_is_cancelled_stays_refused(aws: Aws, dispatch: Any) -> None:
    labels = ["self-hosted", "class:huge"]
    dispatch(job("queued", labels=labels))
    dispatch(job("completed_cancelled", labels=labels))
    row = aws.row()
    assert row is not None
    assert (row["status"], row["job_status"]) == ("FAILED", "cancelled")


def test_a_stand_in_is_released_for_a_runner_that_took_another_job(aws: Aws, dispatch: Any) -> None:
    aws.park("completion", started_at=100)
    waiting_for_a_job(aws, "fleet-7-1", started_at=90)
    waiting_for_a_job(aws, "fleet-8-1", released_at=90)
    waiting_for_a_job(aws, "fleet-9-1")
    aws.park("job", runner_id="fleet-10-1", waiting_labels="gpu,self-hosted")
    dispatch(sample("completed_cancelled"))
    assert [(token, error) for token, error, _ in aws.resumed] == [
        ("token-fleet-9-1", "Runner.Released")
    ]
    row, stand_in = aws.row(), aws.row("fleet-9-1")
    assert row is not None
    assert stand_in is not None
    assert "released_at" not in row
    assert row["stand_in_released_at"] > 0
    assert stand_in["released_at"] > 0


def test_one_job_releases_one_stand_in_however_often_it_is_told(aws: Aws, dispatch: Any) -> None:
    aws.park("completion", started_at=100)
    waiting_for_a_job(aws, "fleet-9-1")
    dispatch(sample("completed_cancelled"))
    waiting_for_a_job(aws, "fleet-10-1")
    dispatch(sample("completed_cancelled"))
    assert len(aws.resumed) == 1


def test_without_a_waiting_runner_nobody_stands_in(aws: Aws, dispatch: Any) -> None:
    aws.park("completion", started_at=100)
    dispatch(sample("completed_cancelled"))
    dispatch(job("completed_cancelled", labels=["self-hosted", "{%"]))
    assert aws.resumed == []


# --- a runner that takes another runner's job -----------------------------------------------


OTHER = "fleet-7-1"


OTHER_INPUT = {
    "runner_id": OTHER,
    "job_id": 7,
    "repository": "octo-org/example",
    "runner_labels": "self-hosted,class:medium",
    "class_name": "Medium",
    "image_tag": "default-0123",
}


@pytest.fixture
def taken(aws: Aws, dispatch: Any) -> Any:
    """A job of the sample's labels starts on a runner that a ``class:medium`` job was to have."""
    aws.sfn.answers["DescribeExecution"] = {"input": json.dumps(OTHER_INPUT)}

    def take(
        name: str = "in_progress", *, runner: str = OTHER, labels: str = "self-hosted,class:medium"
    ) -> None:
        aws.park("job", runner_id=runner, task_token="token-other", runner_labels=labels)
        dispatch(job(name, runner_name=runner))

    return take


def replacements(aws: Aws) -> list[dict[str, Any]]:
    return [
        {"name": call["name"], "input": json.loads(call["input"])}
        for call in aws.sfn.named("StartExecution")
    ]


@pytest.mark.parametrize("name", ["in_progress", "completed"])
def test_a_runner_that_a_lesser_job_took_is_replaced_and_that_jobs_own_released(
    aws: Aws, taken: Any, name: str
) -> None:
    aws.park("runner", runner_labels="self-hosted,linux")
    taken(name)
    assert replacements(aws) == [
        {"name": f"{OTHER}-r1", "input": OTHER_INPUT | {"runner_id": f"{OTHER}-r1"}}
    ]
    (described,) = aws.sfn.named("DescribeExecution")
    assert described["executionArn"].endswith(f":execution:lifecycle:{OTHER}")
    assert [(token, error) for token, error, _ in aws.resumed] == [
        ("token-other", "Success"),
        ("token-runner", "Runner.Released"),
    ]


def test_the_same_news_twice_replaces_once(
    aws: Aws, taken: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    taken()
    aws.sfn.fail("StartExecution", "ExecutionAlreadyExists")
    taken("completed")
    assert {one["name"] for one in replacements(aws)} == {f"{OTHER}-r1"}
    assert capsys.readouterr().out.count('"RunnerReplaced"') == 2  # one EMF line


def test_runners_with_the_same_labels_swap(aws: Aws, taken: Any) -> None:
    aws.park("runner", runner_labels="linux,Self-Hosted")
    taken(labels="self-hosted,Linux")
    assert replacements(aws) == []
    assert aws.resumed == [("token-other", "Success", "")]


def test_a_replacement_that_loses_its_job_is_replaced_in_turn(aws: Aws, taken: Any) -> None:
    taken(runner=f"{OTHER}-r1")
    assert [one["name"] for one in replacements(aws)] == [f"{OTHER}-r2"]


def test_a_replacement_that_gets_its_own_job_is_as_good_as_the_first(aws: Aws, taken: Any) -> None:
    taken(runner=f"{RUNNER}-r1", labels="self-hosted,linux")
    assert replacements(aws) == []
    assert aws.row() is None


def test_a_runner_nobody_wanted_any_more_is_not_replaced(aws: Aws, dispatch: Any) -> None:
    aws.park("job", runner_id=OTHER, runner_labels="self-hosted,class:medium", released_at=5)
    dispatch(job("in_progress", runner_name=OTHER))
    assert replacements(aws) == []


# --- images of somebody's choice ------------------------------------------------------------

CHOSEN = {"runner_labels": "self-hosted,linux,image:python:3.13", "asked_by": "octo-org/other"}


def foreign(out: str) -> int:
    return out.count('"ForeignJobOnImage": 1')


@pytest.mark.parametrize("name", ["in_progress", "completed"])
@pytest.mark.parametrize(
    ("row", "labels"),
    [
        (CHOSEN, ["self-hosted", "linux"]),
        (CHOSEN, ["self-hosted", "Image:python:3.13"]),
        (CHOSEN | {"asked_by": "Octo-Org/Example"}, ["self-hosted"]),
    ],
    ids=["another repository's", "another repository's that chose it too", "one that chose none"],
)
def test_a_job_in_an_image_of_anothers_choice_is_an_alarm_once(
    *,
    aws: Aws,
    dispatch: Any,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    name: str,
    row: dict[str, Any],
    labels: list[str],
) -> None:
    aws.park("job", **row)
    dispatch(job(name, labels=labels, runner_name=RUNNER))
    dispatch(job("completed", labels=labels, runner_name=RUNNER))
    noted = aws.row()
    assert noted is not None
    assert (noted["foreign_repository"], noted["foreign_job_id"]) == ("octo-org/example", JOB)
    assert noted["asked_by"] == row["asked_by"], "who chose the image stays"
    assert noted["foreign_at"] > 0
    out = capsys.readouterr().out
    assert foreign(out) == 1
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.message == "foreign job on an image of somebody's choice"


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        (CHOSEN | {"asked_by": "octo-org/example"}, ["self-hosted", "IMAGE:python:3.13"]),
        ({"runner_labels": "self-hosted,linux", "asked_by": "octo-org/other"}, ["self-hosted"]),
    ],
    ids=["its own", "the fleet's own image"],
)
def test_a_job_in_an_image_of_its_choice_or_the_fleets_is_none(
    *,
    aws: Aws,
    dispatch: Any,
    capsys: pytest.CaptureFixture[str],
    row: dict[str, Any],
    labels: list[str],
) -> None:
    aws.park("job", **row)
    dispatch(job("in_progress", labels=labels, runner_name=RUNNER))
    assert "foreign_job_id" not in (aws.row() or {})
    assert foreign(capsys.readouterr().out) == 0


def test_who_asked_stands_on_every_row_from_its_beginning(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    """In line, refused and cancelled; the state machine's own is looked at in executed tests."""
    environment.setenv("MAX_RUNNERS", "1")
    dispatch(job("queued", labels=["self-hosted", "class:huge"]))
    dispatch(job("queued", id=8))
    dispatch(job("queued", id=9))
    dispatch(job("completed_cancelled", id=10))
    found = [aws.row(name) or {} for name in (RUNNER, "fleet-9-1", "fleet-10-1")]
    assert [row["asked_by"] for row in found] == ["octo-org/example"] * 3
