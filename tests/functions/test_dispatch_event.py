"""Jobs and tasks over the real handler: what is started, refused, signalled and released."""

from __future__ import annotations

import json
import time
from itertools import permutations
from typing import Any
from unittest.mock import Mock

import pytest

import dispatch_event
from fleet_runtime.aws.client import client
from fleet_runtime.environment import SettingError
from fleet_runtime.images.rows import ImageRecords
from fleet_runtime.job.catalog import CatalogError
from fleet_runtime.runner.rows import RunnerRecords

from .conftest import RUNNER, TASK, Aws, bus_event, forget, job, sample


@pytest.fixture
def dispatch(aws: Aws, context: Any) -> Any:
    def send(payload: dict[str, Any]) -> None:
        event = bus_event(payload) if "workflow_job" in payload else payload
        assert dispatch_event.handler(event, context) is None

    return send


def stopped(task: str = TASK, runner: str = RUNNER, **changes: Any) -> dict[str, Any]:
    """An ECS Task State Change event, as far as it matters."""
    detail = {
        "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/fleet",
        "taskArn": task,
        "startedBy": runner,
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "stoppedAt": "2026-06-15T19:25:01.5Z",
        "version": 5,
        "containers": [{"name": "runner", "exitCode": 0}],
    } | changes
    return {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail}


def started_input(aws: Aws) -> dict[str, Any]:
    (call,) = aws.sfn.named("StartExecution")
    assert call["name"] == RUNNER
    document: dict[str, Any] = json.loads(call["input"])
    return document


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
        "class_name": "small",
        "cpu": "512",
        "memory": "1024",
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


def test_class_and_image_are_the_jobs(aws: Aws, dispatch: Any) -> None:
    labels = ["self-hosted", "class:medium", "image:ubuntu:22.04", "Docker"]
    dispatch(job("queued", labels=labels))
    document = started_input(aws)
    assert (document["class_name"], document["cpu"], document["memory"]) == (
        "Medium",
        "1024",
        "2048",
    )
    assert document["capacity"] == ["FARGATE_SPOT", "FARGATE"]
    assert set(document["usd_per_second"]) == {"FARGATE_SPOT", "FARGATE"}
    assert document["image_base"] == "public.ecr.aws/docker/library/ubuntu:22.04"
    assert document["image_tag"].startswith("ubuntu-22-04-")
    assert document["task_definition"].endswith(document["image_tag"])


def test_a_ready_image_is_launched_as_it_is(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    ready_image(environment, X86_64="fleet-runner-abc:7")
    dispatch(sample("queued"))
    document = started_input(aws)
    assert (document["task_definition"], document["image_tag"]) == ("fleet-runner-abc:7", "default")
    assert document["image_base"] == ""


def ready_image(environment: pytest.MonkeyPatch, **task_definitions: str) -> None:
    """Deploy with a ready image of the given architectures, of which nothing else is known."""
    environment.setenv("DEFAULT_TASK_DEFINITIONS", json.dumps(task_definitions))
    environment.setenv("ARCHITECTURES", json.dumps(list(task_definitions)))
    environment.setenv("DETECTED_CAPABILITIES", "[]")
    environment.setenv("IMAGE_BUILDING", "off")
    environment.setenv("IMAGE_RECIPE", "")


def put_classes(**classes: dict[str, Any]) -> None:
    sizes = {name: {"cpu": 512, "memory": 1024, **entry} for name, entry in classes.items()}
    client("ssm").put_parameter(Name="/fleet/class-sizes", Value=json.dumps(sizes), Overwrite=True)


def test_a_class_of_another_architecture_has_its_own_image_and_price(
    aws: Aws, dispatch: Any
) -> None:
    put_classes(small={}, arm={"architecture": "ARM64"})
    dispatch(sample("queued"))
    dispatch(job("queued", labels=["self-hosted", "Linux", "ARM64"], id=999))
    x86, arm = (json.loads(call["input"]) for call in aws.sfn.named("StartExecution"))
    assert (arm["class_name"], arm["architecture"]) == ("arm", "ARM64")
    assert arm["image_base"] == x86["image_base"]
    assert arm["image_tag"].startswith("default-")
    assert arm["image_tag"] != x86["image_tag"]
    assert arm["task_definition"] == f"fleet-runner-abc-{arm['image_tag']}"
    assert arm["usd_per_second"]["FARGATE"] == pytest.approx((0.5 * 0.03238 + 0.00356) / 3600, 1e-4)


def test_a_ready_image_has_a_task_definition_for_each_architecture(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    put_classes(small={}, arm={"architecture": "ARM64"})
    ready_image(environment, X86_64="fleet:7", ARM64="fleet-arm:3")
    dispatch(job("queued", labels=["self-hosted", "arm64"]))
    assert started_input(aws)["task_definition"] == "fleet-arm:3"


def test_a_ready_image_of_one_architecture_serves_no_class_of_another(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    put_classes(small={}, arm={"architecture": "ARM64"})
    ready_image(environment, X86_64="fleet:7")
    dispatch(job("queued", labels=["self-hosted", "arm64"]))
    row = aws.row()
    assert row is not None
    assert "class 'arm' cannot be used, it is ARM64" in row["cause"]


@pytest.mark.parametrize(
    ("asked", "class_name", "needs"),
    [
        ([], "small", ""),
        (["Shell"], "small", ""),
        (["image:node:20", "NODE", "python", "shell"], "small", "node,python,shell"),
        (["Rust"], "own", "rust"),
        (["image:node:20", "rust"], "own", "rust"),
    ],
)
def test_what_only_the_image_can_tell_goes_along(
    aws: Aws, dispatch: Any, asked: list[str], class_name: str, needs: str
) -> None:
    put_classes(small={}, own={"capabilities": ["shell", "Rust"]})
    dispatch(job("queued", labels=["self-hosted", *asked]))
    document = started_input(aws)
    assert (document["class_name"], document["needs"]) == (class_name, needs)
    assert document["capabilities"] == ("shell,rust" if class_name == "own" else "")


def test_of_a_ready_image_nothing_is_known_unless_it_is_said(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    ready_image(environment, X86_64="fleet:7")
    dispatch(job("queued", labels=["self-hosted", "python"]))
    assert started_input(aws)["needs"] == "python"


@pytest.mark.parametrize("image", [[], ["image:node:20"]])
def test_what_the_recipe_declares_holds_for_every_image_that_it_makes(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch, image: list[str]
) -> None:
    environment.setenv("IMAGE_CAPABILITIES", '["Java"]')
    dispatch(job("queued", labels=["self-hosted", "java", *image]))
    assert started_input(aws)["needs"] == ""
    dispatch(job("queued", labels=["self-hosted", "python", *image], id=999))
    row = aws.row("fleet-999-1")
    assert row is not None
    assert "label 'python'" in row["cause"]


def test_a_job_in_line_says_what_it_needs(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MAX_RUNNERS", "1")
    dispatch(job("queued", id=999))
    dispatch(job("queued", labels=["self-hosted", "image:node:20", "node"]))
    row = aws.row()
    assert row is not None
    assert (row["waiting_for"], row["needs"], row["architecture"]) == ("turn", "node", "X86_64")
    assert json.loads(row["start_input"])["needs"] == "node"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ARCHITECTURES", ""),
        ("ARCHITECTURES", '"X86_64"'),
        ("IMAGE_CAPABILITIES", "[7]"),
        ("DETECTED_CAPABILITIES", "{"),
        ("DEFAULT_TASK_DEFINITIONS", "[]"),
        ("DEFAULT_TASK_DEFINITIONS", '{"X86_64": 7}'),
        ("ALLOWED_IMAGES", '{"a": 1}'),
        ("IMAGE_TABLE", ""),
    ],
)
def test_settings_that_cannot_be_read_lose_no_job(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch, key: str, value: str
) -> None:
    environment.setenv(key, value)
    with pytest.raises(SettingError, match=key):
        dispatch(sample("queued"))


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


def test_a_job_without_an_attempt_is_its_first(aws: Aws, dispatch: Any) -> None:
    payload = sample("queued")
    del payload["workflow_job"]["run_attempt"]
    dispatch(payload)
    assert started_input(aws)["runner_id"] == RUNNER


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["self-hosted", "class:huge"], "class 'huge' is not in the catalog"),
        (["self-hosted", "class:broken"], "memory is 9999, with cpu 512 Fargate has"),
        (["self-hosted", "gpu"], "no class has label 'gpu', there are small (linux, x64, shell)"),
        (["self-hosted", "class:small", "docker"], "class small has no label 'docker'"),
        (["self-hosted", "python"], "ask for an image that has it, with image:"),
        (["self-hosted", "image:"], "label 'image:' is empty"),
        (["self-hosted", "image:ghcr.io/evil/x"], "is not allowed"),
        (["self-hosted", "image:../x"], "is not an image reference"),
        (["self-hosted", "class:a", "class:b"], "different class: labels"),
        (["self-hosted", "{% 1 %}"], "characters that are not allowed"),
        (["self-hosted", "a'b\"c\n"], "characters that are not allowed"),
        (["self-hosted", "läbel"], "characters that are not allowed"),
        (["self-hosted", 7, None], "is not text"),
        (["self-hosted", "x" * 1000], "has 257 characters"),
        (["self-hosted", *map(str, range(99))], "51 labels"),
        (["self-hosted", *[f"{n:0>256}" for n in range(90)]], "characters long in all"),
    ],
)
def test_a_job_that_cannot_be_served_fails_with_its_reason(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str], labels: list[object], reason: str
) -> None:
    dispatch(job("queued", labels=labels))
    row = aws.row()
    assert row is not None
    assert (row["status"], row["error"]) == ("FAILED", "Job.CannotBeServed")
    assert reason in row["cause"]
    assert row["cause"].isprintable()
    assert (row["job_id"], row["job_name"], row["cost_usd"]) == (2832853555, "test (3.12)", 0)
    assert row["expires_at"] == row["timestamp"] + 2592000
    assert aws.sfn.calls == []
    assert '"JobRefused":[1.0]' in capsys.readouterr().out.replace(" ", "")


def test_a_refused_job_is_refused_once(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        dispatch(job("queued", labels=["self-hosted", "class:huge"]))
    assert capsys.readouterr().out.count('"JobRefused"') == 2  # name and value of one EMF line


def unserved(aws: Aws) -> list[dict[str, Any]]:
    """Details of the events that a job has no runner."""
    entries = [entry for call in aws.events.named("PutEvents") for entry in call["Entries"]]
    assert all(entry["DetailType"] == "job_unserved" for entry in entries)
    return [json.loads(entry["Detail"]) for entry in entries]


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
            "final": True,
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


@pytest.mark.parametrize(
    ("error", "told"), [("Runner.LaunchFailed", True), ("Runner.BootTimeout", False)]
)
def test_the_author_is_told_of_what_another_runner_would_meet_again(
    aws: Aws, dispatch: Any, error: str, told: bool
) -> None:
    aws.put_row(
        status="FAILED",
        error=error,
        cause="no such subnet",
        job_id=2832853555,
        repository="octo-org/example",
        class_name="small",
        image_tag="default-1",
    )
    event = {"name": RUNNER, "status": "FAILED"}
    dispatch({"detail-type": "Step Functions Execution Status Change", "detail": event})
    said = [(each["runner_id"], each["error"], each["cause"]) for each in unserved(aws)]
    assert said == ([(RUNNER, error, "no such subnet")] if told else [])


def ended(status: str = "SUCCEEDED", runner: str = RUNNER) -> dict[str, Any]:
    """Step Functions' event that a runner's execution has ended, as far as it matters."""
    return {
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"name": runner, "status": status},
    }


def put_ended(aws: Aws, runner: str = RUNNER, **values: Any) -> None:
    row = {
        "runner_id": runner,
        "status": "OFFLINE",
        "repository": "octo-org/example",
        "job_id": 2832853555,
        "class_name": "small",
        "image_tag": "default-1",
        "launched_at": 5,
        "runner_version": "2.338.0",
    }
    aws.put_row(**row | values)


def test_the_image_of_a_runner_that_ends_is_in_use(aws: Aws, dispatch: Any) -> None:
    put_ended(aws)
    before = int(time.time())
    dispatch(ended())
    row = aws.image("default-1")
    assert row is not None
    assert before <= row["used_at"] <= time.time()
    assert row["runner_version"] == "2.338.0"


def test_an_images_use_is_written_down_once_an_hour(
    aws: Aws, dispatch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = []
    monkeypatch.setattr(
        ImageRecords, "used", lambda _, tag, *, at, runner_version: uses.append((tag, at))
    )
    now = [0]
    monkeypatch.setattr(RunnerRecords, "now", property(lambda _: now[0]))
    for at, tag in ((0, "a"), (1, "b"), (3599, "a"), (3600, "a"), (3601, "a"), (3601, "b")):
        now[0] = 1795260000 + at
        put_ended(aws, image_tag=tag)
        dispatch(ended())
    assert [(tag, at - 1795260000) for tag, at in uses] == [
        ("a", 0),
        ("b", 1),
        ("a", 3600),
        ("b", 3601),
    ]


def test_a_use_that_could_not_be_written_down_is_tried_again(
    aws: Aws, dispatch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_ended(aws)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(ImageRecords, "used", Mock(side_effect=RuntimeError))
        dispatch(ended())
    dispatch(ended())
    assert aws.image("default-1") is not None


def test_an_image_that_was_not_launched_is_not_in_use(aws: Aws, dispatch: Any) -> None:
    aws.put_row(status="FAILED", error="Image.BuildFailed", image_tag="default-1")
    dispatch(ended("FAILED"))
    assert aws.image("default-1") is None


def retired(aws: Aws) -> list[dict[str, Any]]:
    entries = [entry for call in aws.events.named("PutEvents") for entry in call["Entries"]]
    return [
        json.loads(entry["Detail"])
        for entry in entries
        if entry["DetailType"] == "retired_runner_found"
    ]


def test_a_version_that_github_retired_is_told_of(aws: Aws, dispatch: Any) -> None:
    put_ended(aws, status="FAILED", error="Runner.VersionRetired", cause="exited with 7")
    dispatch(ended("FAILED"))
    assert retired(aws) == [{"runner_version": "2.338.0", "image_tag": "default-1"}]


@pytest.mark.parametrize(
    "values",
    [
        {"error": "Runner.TaskStopped"},
        {"error": "Runner.VersionRetired", "runner_version": ""},
        {"status": "OFFLINE"},
    ],
)
def test_otherwise_no_version_is_said_to_be_retired(
    aws: Aws, dispatch: Any, values: dict[str, str]
) -> None:
    put_ended(aws, **{"status": "FAILED", **values})
    dispatch(ended("FAILED"))
    assert retired(aws) == []


def test_without_building_or_a_ready_image_jobs_are_refused(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IMAGE_BUILDING", "off")
    dispatch(sample("queued"))
    row = aws.row()
    assert row is not None
    assert "the fleet has no runner image" in row["cause"]


def test_a_catalog_that_cannot_be_read_loses_no_job(aws: Aws, dispatch: Any) -> None:
    client("ssm").put_parameter(Name="/fleet/class-sizes", Value="{", Overwrite=True)
    with pytest.raises(CatalogError):
        dispatch(sample("queued"))
    assert aws.row() is None


# --- in progress and completed --------------------------------------------------------------


def test_a_started_job_resumes_its_runner(aws: Aws, dispatch: Any) -> None:
    aws.park("job")
    dispatch(sample("in_progress"))
    row = aws.row()
    assert row is not None
    assert (row["started_at"], row["job_status"]) == (1781551347, "in_progress")
    assert aws.resumed == [("token-job", "Success", "")]


@pytest.mark.parametrize("action", ["in_progress", "completed"])
def test_the_row_names_the_delivery_that_told_it(aws: Aws, dispatch: Any, action: str) -> None:
    aws.park("job")
    dispatch(sample(action))
    row = aws.row()
    assert row is not None
    assert (row[f"{action}_delivery"], row[f"{action}_received_at"]) == ("d", 1781551342)
    assert row["head_sha"] == "e3103f8eb03e1ad7f2331c5446b23c070fc54055"


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


@pytest.mark.parametrize("name", ["in_progress", "completed"])
def test_jobs_of_other_runners_leave_no_row(aws: Aws, dispatch: Any, name: str) -> None:
    dispatch(job(name, runner_name="somebody-elses"))
    assert aws.row("somebody-elses") is None
    assert aws.resumed == []


def test_a_start_without_a_runner_is_nothing(aws: Aws, dispatch: Any) -> None:
    aws.park("job")
    dispatch(job("in_progress", runner_name=None))
    assert aws.resumed == []


@pytest.mark.parametrize("phase", ["job", "completion"])
def test_a_completed_job_resumes_its_runner(aws: Aws, dispatch: Any, phase: str) -> None:
    aws.park(phase, started_at=1781551346)
    dispatch(sample("completed"))
    row = aws.row()
    assert row is not None
    assert (row["started_at"], row["completed_at"]) == (1781551346, 1781551500)
    assert row["job_status"] == "success"
    assert aws.resumed == [(f"token-{phase}", "Success", "")]


def test_a_start_behind_the_completion_changes_nothing(aws: Aws, dispatch: Any) -> None:
    aws.park("completion")
    dispatch(sample("completed"))
    before = aws.row()
    dispatch(sample("in_progress"))
    assert aws.row() == before
    assert len(aws.resumed) == 1


@pytest.mark.parametrize("name", ["in_progress", "completed"])
@pytest.mark.parametrize(
    ("phase", "registration"), [("job", 2), ("completion", 2), ("runner", None)]
)
def test_a_job_of_an_earlier_task_says_nothing_of_this_ones(
    aws: Aws, dispatch: Any, name: str, phase: str, registration: int | None
) -> None:
    """Its events may come after the task's end, and after the next task has another job."""
    mine = {"job_id": 7, **({"started_at": 100} if phase == "completion" else {})}
    aws.park(phase, **mine, **({"github_runner_id": registration} if registration else {}))
    before = aws.row()
    dispatch(job(name, id=999))
    assert aws.row() == before
    assert aws.resumed == []


@pytest.mark.parametrize("phase", ["runner", "job"])
def test_a_task_whose_runner_has_done_its_job_is_not_wanted(
    aws: Aws, dispatch: Any, phase: str
) -> None:
    aws.park(phase, **({"github_runner_id": 2} if phase == "job" else {}))
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
    aws.park("completion", github_runner_id=2, started_at=100, job_id=9)
    _waiting(aws, "fleet-9-1")
    dispatch(sample("completed"))
    assert [(token, error) for token, error, _ in aws.resumed] == [
        ("token-fleet-9-1", "Runner.Released")
    ]
    row = aws.row()
    assert row is not None
    assert not {"completed_at", "released_at"} & set(row)


@pytest.mark.parametrize("code", ["TaskTimedOut", "InvalidToken", "TaskDoesNotExist"])
def test_a_signal_too_late_is_counted_and_no_error(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    aws.park("job")
    aws.sfn.fail("SendTaskSuccess", code)
    dispatch(sample("in_progress"))
    assert "SignalTooLate" in capsys.readouterr().out


def test_other_trouble_with_a_signal_is_tried_again(aws: Aws, dispatch: Any) -> None:
    aws.park("job")
    aws.sfn.fail("SendTaskSuccess", "AccessDeniedException")
    with pytest.raises(Exception, match="AccessDenied"):
        dispatch(sample("in_progress"))


@pytest.mark.parametrize(
    "order", list(permutations(["in_progress", "completed", "task_stopped"])), ids="-".join
)
def test_every_order_leaves_the_same_times(aws: Aws, dispatch: Any, order: tuple[str, ...]) -> None:
    aws.put_row(status="WAITING_FOR_JOB", job_id=2832853555, github_runner_id=1)
    for name in order * 2:
        dispatch(stopped() if name == "task_stopped" else sample(name))
    row = aws.row()
    assert row is not None
    assert (row["started_at"], row["completed_at"]) == (1781551347, 1781551500)
    assert (row["job_status"], row["stopped_tasks"]) == ("success", {TASK})
    assert aws.resumed == [], "nothing is parked: the state machine sees the row"


# --- tasks that stop ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "exit_code", "completed", "answer"),
    [
        ("runner", 0, False, "Runner.TaskExited"),
        ("runner", 1, False, "Runner.TaskStopped"),
        ("job", 0, False, "Runner.TaskExited"),
        ("job", 137, False, "Runner.TaskStopped"),
        ("completion", 0, False, "Success"),
        ("completion", 137, True, "Success"),
        ("completion", 137, False, "Runner.TaskStopped"),
        ("completion", None, False, "Runner.TaskStopped"),
        ("runner", 7, False, "Runner.VersionRetired"),
        ("job", 7, False, "Runner.VersionRetired"),
        ("completion", 7, False, "Runner.TaskStopped"),
        ("completion", 7, True, "Success"),
    ],
)
def test_a_stopped_task_ends_the_phase_its_runner_is_in(
    *, aws: Aws, dispatch: Any, phase: str, exit_code: int | None, completed: bool, answer: str
) -> None:
    started = {"started_at": 90} if phase == "completion" else {}
    aws.park(phase, **started, **({"completed_at": 100} if completed else {}))
    container = {"name": "runner"} | ({} if exit_code is None else {"exitCode": exit_code})
    dispatch(stopped(containers=[{"name": "sidecar", "exitCode": 9}, container]))
    ((token, error, _),) = aws.resumed
    assert (token, error) == (f"token-{phase}", answer)
    row = aws.row()
    assert row is not None
    assert row["stopped_tasks"] == {TASK}
    assert (row["stopped_at"], row["stop_code"]) == (1781551501, "EssentialContainerExited")
    assert row.get("exit_code") == exit_code


@pytest.mark.parametrize(
    ("known", "said"),
    [("2.330.0", "runner 2.330.0 of image"), (None, "runner (its version is not known) of image")],
)
def test_a_runner_that_github_serves_no_longer_says_which(
    aws: Aws, dispatch: Any, known: str | None, said: str
) -> None:
    aws.park("job", image_tag="ubuntu-0123456789ab", **({"runner_version": known} if known else {}))
    dispatch(stopped(containers=[{"name": "runner", "exitCode": 7}]))
    ((_, _, cause),) = aws.resumed
    assert f"{said} ubuntu-0123456789ab: the task stopped (EssentialContainerExited)" in cause
    assert "exited with 7" in cause


def test_a_task_that_is_stopped_does_not_speak_for_its_version(aws: Aws, dispatch: Any) -> None:
    aws.park("job")
    dispatch(stopped(stopCode="UserInitiated", containers=[{"name": "runner", "exitCode": 7}]))
    assert aws.resumed[0][1] == "Runner.TaskStopped"


@pytest.mark.parametrize("stop_code", ["SpotInterruption", "UserInitiated"])
def test_a_runner_that_is_stopped_winds_down_and_exits_0_all_the_same(
    aws: Aws, dispatch: Any, stop_code: str
) -> None:
    aws.park("completion")
    dispatch(stopped(stopCode=stop_code))
    ((_, error, cause),) = aws.resumed
    assert error == "Runner.TaskStopped"
    assert stop_code in cause


@pytest.mark.parametrize("phase", ["image", "runner", "job", "completion"])
def test_a_task_of_an_earlier_launch_is_only_noted(aws: Aws, dispatch: Any, phase: str) -> None:
    aws.park(phase)
    dispatch(stopped(task=TASK + "-earlier"))
    row = aws.row()
    assert row is not None
    assert row["stopped_tasks"] == {TASK + "-earlier"}
    assert aws.resumed == []


def test_the_reason_is_for_people(aws: Aws, dispatch: Any) -> None:
    aws.park("runner")
    dispatch(
        stopped(
            stopCode="TaskFailedToStart",
            stoppedReason="CannotPullContainerError: pull image manifest: not found",
            containers=[{"name": "runner", "reason": "CannotPullContainerError: not found"}],
        )
    )
    ((_, error, cause),) = aws.resumed
    assert error == "Runner.TaskStopped"
    assert cause.startswith("the task stopped (TaskFailedToStart): CannotPullContainerError: pull")
    aws.park("completion")
    killed = {"name": "runner", "exitCode": 137, "reason": "OutOfMemoryError: killed"}
    dispatch(stopped(containers=[killed]))
    assert "exited with 137: OutOfMemoryError: killed" in aws.resumed[-1][2]


def test_an_endless_reason_is_cut(aws: Aws, dispatch: Any) -> None:
    aws.park("runner")
    dispatch(stopped(stoppedReason="x" * 5000, containers=[]))
    assert len(aws.resumed[0][2]) == 1000


def test_tasks_that_are_no_runners_or_not_stopped_are_nothing(aws: Aws, dispatch: Any) -> None:
    aws.park("runner")
    dispatch(stopped(runner="ecs-svc/123"))
    dispatch(stopped(lastStatus="DEPROVISIONING"))
    event = stopped()
    del event["detail"]["startedBy"]
    dispatch(event)
    assert aws.resumed == []
    assert aws.row("ecs-svc/123") is None


def test_an_unknown_event_is_nothing_and_a_malformed_one_an_error(aws: Aws, dispatch: Any) -> None:
    dispatch({"detail-type": "Something Else", "detail": {}})
    with pytest.raises(KeyError):
        dispatch({"detail-type": "workflow_job", "detail": {"action": "queued"}})


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


def _waiting(aws: Aws, runner_id: str, **attributes: Any) -> None:
    aws.park(
        "job",
        runner_id=runner_id,
        waiting_labels="linux,self-hosted",
        task_token=f"token-{runner_id}",
        **attributes,
    )


def test_a_stand_in_is_released_for_a_runner_that_took_another_job(aws: Aws, dispatch: Any) -> None:
    aws.park("completion", started_at=100)
    _waiting(aws, "fleet-7-1", started_at=90)
    _waiting(aws, "fleet-8-1", released_at=90)
    _waiting(aws, "fleet-9-1")
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
    _waiting(aws, "fleet-9-1")
    dispatch(sample("completed_cancelled"))
    _waiting(aws, "fleet-10-1")
    dispatch(sample("completed_cancelled"))
    assert len(aws.resumed) == 1


def test_without_a_waiting_runner_nobody_stands_in(aws: Aws, dispatch: Any) -> None:
    aws.park("completion", started_at=100)
    dispatch(sample("completed_cancelled"))
    dispatch(job("completed_cancelled", labels=["self-hosted", "{%"]))
    assert aws.resumed == []


def test_a_missing_setting_is_named(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("RUNNER_TABLE")
    forget()
    with pytest.raises(Exception, match="environment variable RUNNER_TABLE is not set"):
        dispatch(sample("queued"))


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
