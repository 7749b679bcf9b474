"""Each law is broken once here, and kept where it only looks broken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cdk_runner_fleet.local.twin.records import Job, Run, Runner
from cdk_runner_fleet.local.twin.workflows import JobLeg, JobSpec, Workflow
from testbed.laws import Evidence, broken

JOB, NAME = 41, "fleet-41-1"


def job(**changes: Any) -> Job:
    spec = JobSpec(key="build", needs=(), definition={})
    run = Run(
        id=1,
        number=1,
        workflow=Workflow(name="ci", jobs={"build": spec}, definition={}),
        file_name="ci.yml",
        repository="octo-org/octo-repo",
        workspace=None,
        protected_environments=frozenset(),
        created_at=0.0,
    )
    leg = JobLeg(name="build", labels=("self-hosted",), matrix={})
    done = {"status": "completed", "conclusion": "success", "runner_name": NAME, "started_at": 1.5}
    return Job(
        id=JOB,
        run=run,
        flow=run.flows[0],
        attempt=1,
        spec=spec,
        leg=leg,
        created_at=0.0,
        **{**done, **changes},
    )


def runner(name: str = NAME, **changes: Any) -> Runner:
    came = {"connected_once": True, "had_job": True}
    return Runner(id=1, name=name, labels=("self-hosted",), token="t", **{**came, **changes})


def task(name: str = NAME, **changes: Any) -> dict[str, Any]:
    ended = {"lastStatus": "STOPPED", "stopCode": "UserInitiated"}
    return {"startedBy": name, "taskArn": f"task/{name}", "createdAt": at(1), **ended, **changes}


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


WELL = Evidence(
    jobs=[job()],
    registered=[runner()],
    tasks=[task()],
    rows={NAME: {"status": "OFFLINE"}},
    turns={"fleet": 0},
    holders={},
)
UNSERVED = {"status": "FAILED", "cause": "no such class"}
SPOT = task(stopCode="SpotInterruption")
QUEUED = job(status="queued", conclusion=None, runner_name=None)
IDLE = [runner(had_job=False), runner(f"{NAME}-r1", had_job=False)]
MANY_IDLE = [*IDLE, *(runner(f"{NAME}-r{number}", had_job=False) for number in (2, 3, 4))]


def test_a_job_that_was_served() -> None:
    assert broken(WELL) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jobs": [QUEUED]}, "is queued (None), not explained"),
        ({"jobs": [QUEUED], "rows": {NAME: UNSERVED}}, "not explained"),
        ({"jobs": [job(conclusion="cancelled", runner_name=None)]}, "not explained"),
        ({"tasks": [task(lastStatus="RUNNING")]}, "is RUNNING"),
        ({"executions": [NAME]}, "is open"),
        ({"present": [runner()]}, "is registered at GitHub"),
        ({"jobs": [job(conclusion="cancelled")]}, "was stopped while it had job 41"),
        (
            {"jobs": [job(conclusion="cancelled")], "tasks": [task(), SPOT | {"createdAt": at(2)}]},
            "was stopped while it had job 41",
        ),
        ({"jobs": [job(deserted_by={NAME: 2.0})]}, "was stopped while it had job 41"),
        ({"registered": IDLE}, "job 41 had 2 needless runners: fleet-41-1, fleet-41-1-r1"),
        (
            {"registered": MANY_IDLE, "jobs": [job(held_back=True)]},
            "job 41 had 5 needless runners: " + ", ".join(one.name for one in MANY_IDLE),
        ),
        ({"rows": {NAME: {"status": "RUNNING"}}}, "is RUNNING"),
        ({"rows": {NAME: {"status": "OFFLINE", "live": "started"}}}, "has ['live']"),
        (
            {"turns": {"class:medium": 1}, "holders": {NAME: ["class:medium"]}},
            "fleet-41-1 holds a turn of class:medium",
        ),
        ({"turns": {"class:medium": 1}}, "of class:medium 1 turns are counted, 0 held"),
        ({"unfinished": ["a turn of fleet-41-1 was counted"]}, "fleet-41-1 was counted"),
    ],
)
def test_a_law_that_is_broken(changes: dict[str, Any], said: str) -> None:
    problems = broken(replace(WELL, **changes))
    assert len(problems) == 1
    assert said in problems[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"jobs": [QUEUED], "rows": {NAME: UNSERVED | {"explained_at": "1"}}},
        {"jobs": [QUEUED], "rows": {NAME: UNSERVED | {"given_up_at": "1"}}},
        {"jobs": [job(status="waiting", conclusion=None, runner_name=None)]},
        {"jobs": [job(conclusion="skipped", runner_name=None)]},
        {"jobs": [job(conclusion="cancelled", runner_name=None)], "cancelled": {JOB}},
        {"jobs": [job(conclusion="cancelled")], "cancelled": {JOB}},
        {"jobs": [job(conclusion="failure")], "tasks": [SPOT]},
        {"jobs": [job(conclusion="failure")], "tasks": [SPOT, task(createdAt=at(2))]},
        {"jobs": [job(deserted_by={NAME: 3.0})], "tasks": [task(), SPOT | {"createdAt": at(2)}]},
        {"jobs": [job(deserted_by={NAME: 1.8})], "tasks": [SPOT, task(createdAt=at(2))]},
        {"registered": IDLE[:1]},
        {"registered": IDLE, "tasks": [SPOT]},
        {"registered": MANY_IDLE[:4], "jobs": [job(held_back=True)]},
        {"registered": [*IDLE[:1], runner(f"{NAME}-r1", connected_once=False, had_job=False)]},
        {"present": [runner(job=job(status="in_progress", conclusion=None))]},
    ],
)
def test_a_law_that_is_kept(changes: dict[str, Any]) -> None:
    assert broken(replace(WELL, **changes)) == []
