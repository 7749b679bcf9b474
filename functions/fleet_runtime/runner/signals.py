"""Signals: what happens to a runner, told to its lifecycle.

A signal is always one ``UpdateItem`` that returns the row as it is then, and after that, if the
row is parked in a phase which the signal ends, a ``SendTask*``. The lifecycle parks with the
condition that its signal has not come. Both are atomic writes to one row, so whichever comes
first, the other sees it.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from fleet_runtime.aws.client import Client
from fleet_runtime.aws.items import Value
from fleet_runtime.observability import count, logger
from fleet_runtime.runner.rows import (
    CLAIMABLE,
    OF_REGISTRATION,
    TURN,
    Runner,
    RunnerRecords,
    claimable,
)

LONGEST_CAUSE = 1000
"""Characters of a cause that are kept; Step Functions takes 32,768, people read one line."""

_TOO_LATE = frozenset({"TaskTimedOut", "InvalidToken", "TaskDoesNotExist"})
_HAS_ROW = "attribute_exists(runner_id)"
_CONTAINER = "runner"

_SAID_AND_EXITED = "it said that it had a job, and has exited"

# actions/runner says so with this code if ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE is set
_VERSION_RETIRED = 7


@dataclass(frozen=True, kw_only=True)
class StoppedTask:
    """What ECS says about a task that stopped. Times are epoch seconds."""

    runner_id: str
    task_arn: str
    stopped_at: int
    stop_code: str
    reason: str
    exit_code: int | None

    @classmethod
    def from_detail(cls, detail: Mapping[str, Any]) -> StoppedTask:
        """Read the detail of ``ECS Task State Change``; raises KeyError for any other."""
        containers = detail.get("containers") or []
        container: Mapping[str, Any] = next(
            (one for one in containers if one.get("name") == _CONTAINER), {}
        )
        exit_code = container.get("exitCode")
        code = detail.get("stopCode") or "no stop code"
        reason = f"the task stopped ({code}): {detail.get('stoppedReason') or 'no reason given'}"
        if exit_code is not None or container.get("reason"):
            reason += f"; its container exited with {exit_code}"
        if container.get("reason"):
            # where ECS says OutOfMemoryError or CannotPullContainerError
            reason += f": {container['reason']}"
        return cls(
            runner_id=detail["startedBy"],
            task_arn=detail["taskArn"],
            stopped_at=_epoch(detail.get("stoppedAt")),
            stop_code=detail.get("stopCode") or "",
            reason=reason,
            exit_code=exit_code,
        )


class Signals:
    """Writes signals to rows and resumes the lifecycles that wait for them."""

    def __init__(self, *, records: RunnerRecords, stepfunctions: Client) -> None:
        self._records = records
        self._stepfunctions = stepfunctions

    def claimed(
        self,
        runner: Runner,
        *,
        github_runner_id: int,
        events_token_hash: str,
        heartbeat_seconds: int,
    ) -> bool:
        """Signal that the runner is registered.

        Args:
            runner: The runner.
            github_runner_id: Its id at GitHub.
            events_token_hash: What its reports are told by.
            heartbeat_seconds: How often it will send a heartbeat; 0 for never.

        Returns:
            False if nobody waits for it any more.
        """
        row = self._records.update(
            runner.runner_id,
            values={
                "github_runner_id": github_runner_id,
                "events_token_hash": events_token_hash,
            },
            condition=CLAIMABLE,
            operands=claimable(runner),
        )
        return row is not None and self._succeed(
            row, signal="claimed", heartbeat_seconds=heartbeat_seconds
        )

    def registration_refused(self, runner: Runner, *, cause: str) -> None:
        """Signal that GitHub will not register the runner, ever."""
        self._fail(runner, error="Runner.RegistrationRefused", cause=cause)

    def capability_missing(self, runner: Runner, *, cause: str) -> None:
        """Signal that the runner's image cannot do what its job asks for."""
        self._fail(runner, error="Runner.CapabilityMissing", cause=cause)

    def heartbeat(self, runner: Runner, *, load: float | None) -> None:
        """Note that a runner lives, and let its lifecycle go on waiting for the job's end.

        Args:
            runner: The runner.
            load: Its load, None if it did not say.
        """
        self._records.note_heartbeat(runner.runner_id, load=load)
        if runner.waiting_for == "completion":
            try:
                self._stepfunctions.send_task_heartbeat(taskToken=runner.task_token)
            except ClientError as error:
                # the job has just ended, or the lifecycle is asking GitHub for the runner
                if not _is_too_late(error):
                    raise

    def started(
        self,
        runner_id: str,
        *,
        started_at: int | None,
        job: Mapping[str, Value],
        github_runner_id: int | None = None,
    ) -> Runner | None:
        """Signal that a job started on the runner, as GitHub says.

        Args:
            runner_id: The runner that has the job, whichever job it was started for.
            github_runner_id: Its registration that has the job. Default: the one it has now.
            started_at: When the job started. Default: now.
            job: What the row is to say about the job.

        Returns:
            The row, or None if there is none, its job has ended already, or the job is one that an
            earlier task of the runner had, or another's runner of that name.
        """
        row = self._records.update(
            runner_id,
            values={**job, "job_status": "in_progress"},
            first={"started_at": started_at or self._records.now},
            condition=f"{_of(github_runner_id)} AND attribute_not_exists(completed_at)",
            operands=_registration(github_runner_id, job),
        )
        if row and row.waiting_for == "job":
            self._succeed(row, signal="started")
        return row

    def completed(
        self,
        runner_id: str,
        *,
        started_at: int | None,
        completed_at: int | None,
        conclusion: str,
        job: Mapping[str, Value],
        github_runner_id: int | None = None,
    ) -> Runner | None:
        """Signal that the runner's job ended.

        Args:
            runner_id: The runner.
            started_at: When the job started. Default: when it ended.
            completed_at: When it ended. Default: now.
            conclusion: How.
            job: What the row is to say about the job.
            github_runner_id: The registration that had the job. Default: the one it has now.

        Returns:
            The row, or None if there is none, or the job is one that an earlier task of the runner
            had, or another's runner of that name: what runs on this one is another.
        """
        ended = completed_at or self._records.now
        row = self._records.update(
            runner_id,
            values={**job, "job_status": conclusion},
            first={"started_at": started_at or ended, "completed_at": ended},
            condition=_of(github_runner_id),
            operands=_registration(github_runner_id, job),
        )
        if row and row.waiting_for in ("job", "completion"):
            self._succeed(row, signal="completed")
        return row

    def reported_start(self, runner: Runner) -> None:
        """Note that the runner says that a job has started on it.

        No signal: whatever runs in a container can say so, and is then kept for as long as a job
        may last. GitHub's own word, an event or that the runner is busy, is what keeps it.
        """
        self._records.update(
            runner.runner_id,
            first={"hook_started_at": self._records.now},
            # the row may be about another task by now
            condition="events_token_hash = :token",
            operands={":token": runner.events_token_hash},
        )

    def has_no_job(self, runner: Runner) -> bool:
        """Signal that GitHub has no job on a runner that the lifecycle takes for one with a job.

        Returns:
            False if GitHub has told of a job on it meanwhile, or its lifecycle has gone on.
        """
        row = self._records.update(
            runner.runner_id,
            values={"removed_at": self._records.now},
            condition="waiting_for = :phase AND attribute_not_exists(started_at)",
            operands={":phase": "completion"},
        )
        return row is not None and self._succeed(row, signal="removed")

    def stopped(self, task: StoppedTask) -> Runner | None:
        """Signal that a task stopped; None if no runner's row knows it."""
        values: dict[str, Value] = {
            "stopped_at": task.stopped_at,
            "stop_code": task.stop_code,
            "stopped_reason": task.reason,
        }
        if task.exit_code is not None:
            values["exit_code"] = task.exit_code
        row = self._records.update(
            task.runner_id,
            values=values,
            add={"stopped_tasks": frozenset({task.task_arn})},
            condition=_HAS_ROW,
        )
        if row is None or row.task_id != task.task_arn:
            return row
        if row.waiting_for not in ("runner", "job", "completion"):
            return row
        # a runner that Spot or a person stops may wind down and exit 0 too
        code = task.exit_code if task.stop_code == "EssentialContainerExited" else None
        says_started = row.waiting_for == "job" and row.hook_started_at is not None
        if row.waiting_for == "completion" and (code == 0 or row.completed_at is not None):
            self._succeed(row, signal="stopped")
        elif says_started and code == 0:
            self._fail(row, error="Runner.Released", cause=_SAID_AND_EXITED)
        elif says_started:
            # no second task, whose registration would be in the way of a job that it had
            self._succeed(row, signal="stopped")
        elif code == _VERSION_RETIRED and row.started_at is None and row.hook_started_at is None:
            # a job could exit with any code, and never gets as far on a retired runner
            version = row.runner_version or "(its version is not known)"
            cause = f"GitHub no longer serves runner {version} of image {row.image_tag}"
            self._fail(row, error="Runner.VersionRetired", cause=f"{cause}: {task.reason}")
        else:
            error = "Runner.TaskExited" if code == 0 else "Runner.TaskStopped"
            self._fail(row, error=error, cause=task.reason)
        return row

    def released(
        self, runner_id: str, *, cause: str, values: Mapping[str, Value], first: Mapping[str, Value]
    ) -> Runner | None:
        """Signal that the runner is not wanted any more.

        A runner whose row does not exist yet gets one now, so that its lifecycle, if it still
        begins, ends at once.

        Args:
            runner_id: The runner.
            cause: Why.
            values: What else the row is to say.
            first: What it is to say unless it says something already: a whole row.

        Returns:
            The row, or None if the runner has started a job: then nothing was done.
        """
        row = self._records.update(
            runner_id,
            values=values,
            first={**first, "released_at": self._records.now},
            condition="attribute_not_exists(started_at)",
        )
        if row and row.waiting_for in ("capacity", "image", "runner", "job"):
            self._fail(row, error="Runner.Released", cause=cause)
        elif row and row.waiting_for == TURN:
            # no lifecycle that could end it
            self._records.leave_line(runner_id, values={"status": "OFFLINE", "end_reason": cause})
        return row

    def release_stand_in(self, runner_id: str, *, waiting_labels: str, cause: str) -> Runner | None:
        """Release a waiting runner in place of one that took another job. Once for each runner.

        Args:
            runner_id: The runner that took another job.
            waiting_labels: Its labels.
            cause: Why.

        Returns:
            The runner that was released, if one was waiting.
        """
        once = self._records.update(
            runner_id,
            values={"stand_in_released_at": self._records.now},
            condition=f"{_HAS_ROW} AND attribute_not_exists(stand_in_released_at)",
        )
        if once is None:
            return None
        for waiting in self._records.waiting(waiting_labels=waiting_labels):
            # the index may lag behind: the condition decides
            row = self._records.update(
                waiting,
                values={"released_at": self._records.now},
                condition="waiting_for = :phase AND attribute_not_exists(started_at)"
                " AND attribute_not_exists(released_at)",
                operands={":phase": "job"},
            )
            if row:
                self._fail(row, error="Runner.Released", cause=cause)
                return row
        return None

    def image_ended(
        self, runner_id: str, *, error: str, failure: str, log_url: str
    ) -> Runner | None:
        """Signal that the image the runner waits for is ready, or why it will not be.

        Args:
            runner_id: The runner.
            error: Why there is no image; empty if there is one.
            failure: The error's name among the fleet's causes; empty if there is an image.
            log_url: Where the build's log is; empty if nothing was built.
        """
        values: dict[str, Value] = {"image_ended_at": self._records.now}
        if error:
            values |= {"image_error": error, "image_failure": failure}
        if log_url:
            values["build_log_url"] = log_url
        row = self._records.update(
            runner_id,
            values=values,
            # an image that failed before may have been built now
            remove=() if error else ("image_error", "image_failure"),
            condition=_HAS_ROW,
        )
        if row and row.waiting_for == "image":
            if error:
                self._fail(row, error=failure, cause=error)
            else:
                self._succeed(row, signal="image_ended")
        return row

    def _succeed(self, runner: Runner, *, signal: str, **more: int) -> bool:
        return self._send(
            runner,
            self._stepfunctions.send_task_success,
            {"output": json.dumps({"signal": signal, **more})},
        )

    def _fail(self, runner: Runner, *, error: str, cause: str) -> bool:
        return self._send(
            runner,
            self._stepfunctions.send_task_failure,
            {"error": error, "cause": cause[:LONGEST_CAUSE]},
        )

    def _send(self, runner: Runner, call: Callable[..., object], result: Mapping[str, str]) -> bool:
        try:
            call(taskToken=runner.task_token, **result)
        except ClientError as error:
            if not _is_too_late(error):
                raise
            # the same signal came before, or a timeout did: the lifecycle has gone on
            logger.info(
                "signal too late",
                runner_id=runner.runner_id,
                phase=runner.waiting_for,
                result=result,
                code=error.response["Error"]["Code"],
            )
            count("SignalTooLate")
            return False
        return True


def _of(github_runner_id: int | None) -> str:
    """The condition that a row is there, and about a registration if one is known."""
    return _HAS_ROW if github_runner_id is None else OF_REGISTRATION


def _registration(github_runner_id: int | None, job: Mapping[str, Value]) -> dict[str, Value]:
    if github_runner_id is None:
        return {}
    return {":registration": github_runner_id, ":repository": job["repository"], ":one": 1}


def _is_too_late(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in _TOO_LATE


def _epoch(value: str | None) -> int:
    return int(datetime.datetime.fromisoformat(value).timestamp() if value else time.time())
