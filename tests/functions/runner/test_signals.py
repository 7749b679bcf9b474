"""Signals over the real handler: jobs that start and end, and tasks that stop."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from ..aws_stand_in import EARLIER_TASK, TASK, Aws
from ..entry_points import stopped, waiting_for_a_job
from ..events import job, sample

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
    mine: dict[str, Any] = {"job_id": 7}
    mine |= {"started_at": 100} if phase == "completion" else {}
    mine |= {"github_runner_id": registration} if registration else {}
    aws.park(phase, **mine, stopped_tasks={EARLIER_TASK})
    before = aws.row()
    dispatch(job(name, id=999))
    assert aws.row() == before
    assert aws.resumed == []


@pytest.mark.parametrize("name", ["in_progress", "completed"])
@pytest.mark.parametrize("tasks", [{}, {"stopped_tasks": {TASK}}])
def test_a_runner_that_had_one_task_has_one_registration_whatever_its_id(
    aws: Aws, dispatch: Any, name: str, tasks: dict[str, Any]
) -> None:
    """That the ids are the same is taken on trust; no job hangs on it but where there were two."""
    aws.park("job", github_runner_id=2, **tasks)
    waiting_for_a_job(aws, "fleet-9-1")
    dispatch(sample(name))
    row = aws.row()
    assert row is not None
    assert row["job_status"] == {"in_progress": "in_progress", "completed": "success"}[name]
    assert [(token, kind) for token, kind, _ in aws.resumed] == [("token-job", "Success")]


@pytest.mark.parametrize("name", ["in_progress", "completed"])
@pytest.mark.parametrize("phase", ["runner", "job", "completion"])
def test_a_job_on_another_repositorys_runner_of_the_same_name_says_nothing_of_this_one(
    aws: Aws, dispatch: Any, name: str, phase: str
) -> None:
    """Who may register runners in a repository of their own chooses their names."""
    mine = {} if phase == "runner" else {"github_runner_id": 2}
    mine |= {"started_at": 100} if phase == "completion" else {}
    aws.park(phase, **mine, asked_by="octo-org/other", repository="octo-org/other", job_id=7)
    before = aws.row()
    dispatch(job(name, id=999))
    assert aws.row() == before
    assert aws.resumed == []


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
    ("exit_code", "stop_code", "answer"),
    [
        (0, "EssentialContainerExited", "Runner.Released"),
        (1, "EssentialContainerExited", "Success"),
        (7, "EssentialContainerExited", "Success"),
        (143, "SpotInterruption", "Success"),
    ],
)
def test_a_task_that_stopped_with_a_job_by_its_own_word_is_not_started_anew(
    aws: Aws, dispatch: Any, exit_code: int, stop_code: str, answer: str
) -> None:
    """GitHub is asked about one that exited; of another the machine finds that it has stopped."""
    aws.park("job", hook_started_at=95)
    dispatch(stopped(stopCode=stop_code, containers=[{"name": "runner", "exitCode": exit_code}]))
    ((token, error, cause),) = aws.resumed
    assert (token, error) == ("token-job", answer)
    assert ("it said that it had a job" in cause) == (exit_code == 0)
    assert "started_at" not in (aws.row() or {})


def test_a_job_of_which_github_has_not_told_yet_says_nothing_of_the_runners_version(
    aws: Aws, dispatch: Any
) -> None:
    """It exits as it likes, and the hook before it has said that it began."""
    aws.park("completion", hook_started_at=95)
    dispatch(stopped(containers=[{"name": "runner", "exitCode": 7}]))
    assert [error for _, error, _ in aws.resumed] == ["Runner.TaskStopped"]


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


@pytest.mark.parametrize("exit_code", [143, 0])
@pytest.mark.parametrize("stop_code", ["SpotInterruption", "UserInitiated"])
def test_a_runner_that_is_stopped_has_not_done_its_job_whatever_it_exits_with(
    aws: Aws, dispatch: Any, stop_code: str, exit_code: int
) -> None:
    """The shipped entrypoint exits with 143 on SIGTERM, a ready image's may exit 0."""
    aws.park("completion")
    dispatch(stopped(stopCode=stop_code, containers=[{"name": "runner", "exitCode": exit_code}]))
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
