"""Heartbeats and events over the real handler."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleet_runtime.runner.rows import HEARTBEAT_MEMORY_SECONDS

from ..aws_stand_in import Aws
from ..entry_points import report, sha256, waiting_for_a_job
from ..events import sample
from ..github_stand_in import GitHub

# --- heartbeats ------------------------------------------------------------------------------


BEAT = {"event": "heartbeat", "load": 0.42}


@pytest.mark.usefixtures("running")
def test_a_heartbeat_is_one_small_write_beside_the_row_and_keeps_the_lifecycle_waiting(
    aws: Aws, github: GitHub, post: Any, requests: list[str]
) -> None:
    before, row = int(time.time()), aws.row()
    assert report(post, BEAT) == 202
    assert requests[-2:] == ["GetItem", "UpdateItem"]
    assert aws.sfn.calls == [("SendTaskHeartbeat", {"taskToken": "token-completion"})]
    assert github.calls == []
    heard = aws.heartbeat()
    assert heard is not None
    assert heard["last_heartbeat"] >= before
    assert heard["load"] == 0.42
    # it goes by itself
    assert heard["expires_at"] == heard["last_heartbeat"] + HEARTBEAT_MEMORY_SECONDS
    assert aws.row() == row


@pytest.mark.parametrize("phase", ["runner", "job", "image"])
def test_a_heartbeat_in_another_phase_is_only_noted(aws: Aws, post: Any, phase: str) -> None:
    aws.park(phase, events_token_hash=sha256("the-events-token"))
    assert report(post, BEAT) == 202
    heard = aws.heartbeat()
    assert heard is not None
    assert heard["last_heartbeat"] > 0
    assert aws.sfn.calls == []


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("code", ["TaskTimedOut", "InvalidToken", "TaskDoesNotExist"])
def test_a_heartbeat_between_two_waits_is_good(
    aws: Aws, post: Any, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.sfn.fail("SendTaskHeartbeat", code)
    assert report(post, BEAT) == 202
    assert "SignalTooLate" not in capsys.readouterr().out, "a heartbeat is no signal"


@pytest.mark.usefixtures("running")
def test_a_fault_of_aws_is_no_good_heartbeat(aws: Aws, post: Any) -> None:
    aws.sfn.fail("SendTaskHeartbeat", "AccessDeniedException")
    with pytest.raises(ClientError):
        report(post, BEAT)


@pytest.mark.parametrize("event", ["job_started", "job_completed"])
@pytest.mark.parametrize("known", [{}, {"runner_version": "2.330.0"}])
def test_a_version_is_the_claims_and_no_jobs_to_say(
    aws: Aws, post: Any, event: str, known: dict[str, str]
) -> None:
    """A job can report as well as its hooks, and a version has images looked at."""
    aws.park("job", events_token_hash=sha256("the-events-token"), **known)
    assert report(post, {"event": event, "runner_version": "2.338.0"}) == 202
    row = aws.row()
    assert row is not None
    assert row.get("runner_version") == known.get("runner_version")


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("token", ["wrong", "the-events-token-and-more", "\ud800"])
def test_a_heartbeat_with_a_wrong_token_changes_nothing(aws: Aws, post: Any, token: str) -> None:
    before = aws.row()
    assert report(post, BEAT, token=token) == 403
    assert aws.row() == before
    assert aws.heartbeat() is None
    assert aws.sfn.calls == []


def test_a_heartbeat_before_the_claim_is_refused(aws: Aws, post: Any) -> None:
    aws.park("runner")
    assert report(post, BEAT) == 403


@pytest.mark.parametrize("status", ["OFFLINE", "FAILED"])
def test_410_for_a_heartbeat_once_the_runner_has_ended(aws: Aws, post: Any, status: str) -> None:
    # the lifecycle has taken the token away with the same write
    aws.put_row(status=status, ended_at=100)
    before = aws.row()
    assert report(post, BEAT) == 410
    assert aws.row() == before
    assert aws.heartbeat() is None


def test_a_heartbeat_makes_no_row(aws: Aws, post: Any) -> None:
    assert report(post, BEAT) == 404
    assert aws.row() is None


# --- events ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("registered")
def test_a_start_that_a_runner_reports_is_noted_and_resumes_nothing(aws: Aws, post: Any) -> None:
    """GitHub's event does, or that it calls the runner busy."""
    body = {"event": "job_started", "job_name": "build", "run_id": "7", "repository": "o/r"}
    before = aws.row()
    assert report(post, body) == 202
    row = aws.row()
    assert row is not None
    assert row.pop("hook_started_at") > 0
    assert row == before
    assert aws.resumed == []


@pytest.mark.usefixtures("registered")
def test_a_runner_that_says_it_has_a_job_goes_with_its_own_job_all_the_same(
    aws: Aws, post: Any, dispatch: Any
) -> None:
    """And none that waits for a job with the same labels goes in its place."""
    waiting_for_a_job(aws, "fleet-9-1")
    assert report(post, {"event": "job_started"}) == 202
    assert report(post, BEAT) == 202
    dispatch(sample("completed_cancelled"))
    cancelled = "the job was cancelled before a runner had it"
    assert aws.resumed == [("token-job", "Runner.Released", cancelled)]
    assert "released_at" not in (aws.row("fleet-9-1") or {})


@pytest.mark.usefixtures("registered")
def test_githubs_word_of_a_job_counts_whatever_its_runner_has_said(
    aws: Aws, post: Any, dispatch: Any
) -> None:
    for event in ("job_started", "job_completed", "job_started"):
        assert report(post, {"event": event}) == 202
    dispatch(sample("in_progress"))
    row = aws.row()
    assert row is not None
    assert (row["started_at"], row["job_status"]) == (1781551347, "in_progress")
    assert aws.resumed == [("token-job", "Success", "")]


@pytest.mark.usefixtures("registered")
def test_a_runner_whose_job_ends_is_left_to_tell_github(
    aws: Aws, post: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = aws.row()
    assert report(post, {"event": "job_completed"}) == 202
    assert [vars(said)["runner_event"] for said in caplog.records] == ["job_completed"]
    # no write either: what GitHub says a moment later is one
    assert aws.row() == before
    assert aws.resumed == []


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("token", [None, "", "wrong", "the-events-token-and-more"])
def test_403_for_a_wrong_events_token(aws: Aws, post: Any, token: str | None) -> None:
    assert report(post, {"event": "job_started"}, token=token) == 403
    assert aws.resumed == []


def test_403_before_the_claim_and_404_without_a_row(aws: Aws, post: Any) -> None:
    assert report(post, {"event": "job_started"}) == 404
    aws.park("runner")
    assert report(post, {"event": "job_started"}) == 403
