"""What is known of a job of the local fleet, kept in files for whoever looks into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.runner_name import execution_arn
from testbed.laws import collect, job_of


def keep(fleet: LocalFleet, job_id: int, folder: Path) -> Path:
    """Write down what GitHub, the tables, ECS and Step Functions say of a job and its runners.

    Args:
        fleet: The fleet; it has a twin, and still runs.
        job_id: The job.
        folder: Where to.

    Returns:
        The file.
    """
    assert fleet.twin
    job = fleet.twin.board.jobs[job_id]
    seen = collect(fleet, [*fleet.twin.board.jobs.values()])
    # GitHub may have given it another job's runner
    names = {job.runner_name, *job.deserted_by}
    runners = sorted(name for name in seen.rows if name in names or job_of(name) == job_id)
    story = {
        "job": {
            key: getattr(job, key)
            for key in ("id", "conclusion", "runner_name", "runner_id", "started_at")
        },
        "log": [*job.log],
        "deserted_by": job.deserted_by,
        "deliveries": [
            {"action": one.action, "status": one.status_code, "sent_at": one.sent_at}
            for one in fleet.twin.deliveries
            if one.job_id == job_id
        ],
        "rows": {name: seen.rows[name] for name in runners},
        "tasks": {name: seen.tasks_of(name) for name in runners},
        "histories": {name: _history(fleet, name) for name in runners},
    }
    path = folder / f"job-{job_id}.json"
    path.write_text(json.dumps(story, indent=1, default=str), encoding="utf-8")
    return path


def _history(fleet: LocalFleet, runner: str) -> list[Any]:
    arn = execution_arn(fleet.outputs["StateMachineArn"], runner)
    pages = fleet.client("stepfunctions").get_paginator("get_execution_history")
    return [event for page in pages.paginate(executionArn=arn) for event in page["events"]]
