"""Turns events into runners' lives: jobs that are queued start one, all others signal one."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from fleet_runtime import labels, settings
from fleet_runtime.aws import Client, client
from fleet_runtime.catalog import CatalogReader
from fleet_runtime.items import Value
from fleet_runtime.jobs import Job, execution_input
from fleet_runtime.labels import Refusal
from fleet_runtime.observability import count, logger, observed
from fleet_runtime.records import Runner, RunnerRecords
from fleet_runtime.replacements import first_runner_id, start_replacement, swap
from fleet_runtime.signals import Signals, StoppedTask

_CONTAINER = "runner"
_CANCELLED = "the job was cancelled before a runner had it"
_TAKEN = "the job has another runner"


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """Handles the fleet's events. Each may come twice, late, or in any order."""

    config: settings.DispatchEvent
    catalog: CatalogReader
    records: RunnerRecords
    signals: Signals
    stepfunctions: Client

    def job(self, job: Job) -> None:
        """Handle what GitHub says about a job."""
        if job.action == "queued":
            self._start(job)
        elif job.action == "in_progress" and job.runner_name:
            # by the runner's name: GitHub may have given it another job than its own
            runner = self.signals.started(
                job.runner_name, started_at=job.started_at, job=job.identity
            )
            self._make_up_for(job, runner)
        elif job.action == "completed" and job.runner_name:
            runner = self.signals.completed(
                job.runner_name,
                started_at=job.started_at,
                completed_at=job.completed_at,
                conclusion=job.conclusion or "completed",
                job=job.identity,
            )
            # once more: this event may be the first of the two to come
            self._make_up_for(job, runner)
        elif job.action == "completed":
            values = {"job_status": job.conclusion or "completed"}
            self._release(job, cause=_CANCELLED, values=values)

    def _start(self, job: Job) -> None:
        runner_id = job.runner_id(prefix=self.config.runner_name_prefix)
        document = execution_input(
            job, catalog=self.catalog.catalog(), config=self.config, now=self.records.now
        )
        if isinstance(document, Refusal):
            self._refuse(job, runner_id, document)
            return
        try:
            self.stepfunctions.start_execution(
                stateMachineArn=self.config.state_machine_arn,
                name=runner_id,
                input=json.dumps(document),
            )
        except self.stepfunctions.exceptions.ExecutionAlreadyExists:
            logger.info("runner exists", runner_id=runner_id)
            return
        logger.info("runner started", runner_id=runner_id, class_name=document["class_name"])

    def _refuse(self, job: Job, runner_id: str, refusal: Refusal) -> None:
        now = self.records.now
        row = self._row(job) | {
            "status": "FAILED",
            "error": "Job.CannotBeServed",
            "cause": refusal.reason,
            "job_status": "queued",
            "queued_at": job.created_at if job.created_at is not None else now,
            "ended_at": now,
            "cost_usd": 0,
        }
        if self.records.create(runner_id, values=row):
            logger.warning("job refused", runner_id=runner_id, reason=refusal.reason)
            count("JobRefused")

    def _make_up_for(self, job: Job, runner: Runner | None) -> None:
        """See to it that each job keeps a runner when this one has taken another's."""
        own_id = job.runner_id(prefix=self.config.runner_name_prefix)
        if runner is None or first_runner_id(runner.runner_id) == own_id:
            return
        own = self.records.find(own_id)
        if own and swap(own, runner):
            return
        if runner.released_at is None:
            replacement = start_replacement(
                runner,
                stepfunctions=self.stepfunctions,
                state_machine_arn=self.config.state_machine_arn,
            )
            if replacement:
                logger.info("runner replaced", runner_id=runner.runner_id, by=replacement)
                count("RunnerReplaced")
        self._release(job, cause=_TAKEN, values={"ran_on": runner.runner_id})

    def _release(self, job: Job, *, cause: str, values: Mapping[str, Value]) -> None:
        runner_id = job.runner_id(prefix=self.config.runner_name_prefix)
        released = self.signals.released(
            runner_id,
            cause=cause,
            values=values,
            first=self._row(job) | {"status": "OFFLINE"},
        )
        if released:
            logger.info("runner released", runner_id=runner_id)
            return
        request = labels.read(job.labels)
        if isinstance(request, Refusal):
            return
        # its runner has another job, whose own runner is now one too many
        stand_in = self.signals.release_stand_in(
            runner_id, waiting_labels=request.waiting_labels, cause=cause
        )
        if stand_in:
            logger.info("runner released", runner_id=stand_in.runner_id, in_place_of=runner_id)

    def _row(self, job: Job) -> dict[str, Value]:
        now = self.records.now
        texts = [label for label in job.labels if isinstance(label, str)]
        return {
            **job.identity,
            "timestamp": now,
            "runner_labels": ",".join(texts)[: labels.MAX_TOTAL_LENGTH],
            "expires_at": now + self.config.row_ttl_seconds,
        }


@cache
def _dispatcher() -> Dispatcher:
    config = settings.dispatch_event()
    stepfunctions = client("stepfunctions")
    records = RunnerRecords(dynamodb=client("dynamodb"), table=config.runner_table)
    return Dispatcher(
        config=config,
        catalog=CatalogReader(ssm=client("ssm"), parameter=config.class_sizes_param),
        records=records,
        signals=Signals(records=records, stepfunctions=stepfunctions),
        stepfunctions=stepfunctions,
    )


@observed
def handler(event: Mapping[str, Any], context: object) -> None:  # noqa: ARG001
    """Lambda's entry point for the fleet's bus and for ECS.

    Raises:
        KeyError: if an event lacks what its kind has; it ends in the dead-letter queue.
    """
    kind, detail = event["detail-type"], event["detail"]
    if kind == "workflow_job":
        _dispatcher().job(Job.from_detail(detail))
    elif kind == "ECS Task State Change":
        if detail["lastStatus"] == "STOPPED" and detail.get("startedBy"):
            _dispatcher().signals.stopped(_stopped_task(detail))
    else:
        logger.warning("event not used", detail_type=kind)


def _stopped_task(detail: Mapping[str, Any]) -> StoppedTask:
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
    return StoppedTask(
        runner_id=detail["startedBy"],
        task_arn=detail["taskArn"],
        stopped_at=_epoch(detail.get("stoppedAt")),
        stop_code=detail.get("stopCode") or "",
        reason=reason,
        exit_code=exit_code,
    )


def _epoch(value: str | None) -> int:
    return int(datetime.datetime.fromisoformat(value).timestamp() if value else time.time())
