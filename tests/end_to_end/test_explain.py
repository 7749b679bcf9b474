"""Why does my job wait: told at GitHub, told by the command line, and what failed is made good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cdk_runner_fleet.cli import main
from cdk_runner_fleet.local.twin.payloads import HEAD_SHA
from cdk_runner_fleet.local.twin.records import Job
from cdk_runner_fleet.local.twin.workflows import read_workflow
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws.ledger import Ledger
from tests.waiting import until

from .conftest import Fleet, runner_id

WORKFLOW = """
name: ci
on: push
jobs:
  %(name)s:
    runs-on: [%(labels)s]
    steps: [{run: 'true'}]
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, looking at the fleet."""
    for name in ("RUNNER_TABLE", "RUNNER_STATE_TABLE", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": fleet.local.endpoint_url,
        "AWS_REGION": fleet.local.region,
        "AWS_ACCESS_KEY_ID": fleet.local.access_key_id,
        "AWS_SECRET_ACCESS_KEY": fleet.local.secret_access_key,
    }.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return int(ended.value.code or 0), capsys.readouterr().out

    return call


def queue(fleet: Fleet, name: str, *labels: str) -> Job:
    """Queue a run of one job at the twin."""
    assert fleet.local.twin
    text = WORKFLOW % {"name": name, "labels": ", ".join(("self-hosted", *labels))}
    run_id = fleet.local.queue_run(read_workflow(text, file_name="ci.yml"), file_name="ci.yml")
    [job] = fleet.local.twin.board.runs[run_id].jobs
    return job


def url(job: Job) -> str:
    return f"https://github.com/octo-org/octo-repo/actions/runs/{job.run.id}/job/{job.id}"


def statuses(fleet: Fleet, name: str) -> list[dict[str, Any]]:
    assert fleet.local.twin
    said = fleet.local.twin.checks.statuses
    return [each for each in said if each["context"] == f"runner-fleet / {name}"]


def cancel(fleet: Fleet, job: Job) -> None:
    assert fleet.local.twin
    fleet.local.twin.board.cancel(job)


def test_the_author_of_a_job_that_cannot_be_served_is_told_at_the_commit(
    fleet: Fleet, run: Run
) -> None:
    job = queue(fleet, "too-big", "class:gigantic")
    [said] = until(lambda: statuses(fleet, "too-big"))
    # another runner may have what this fleet lacks
    assert said["state"] == "success"
    assert said["description"] == (
        "No runner yet: class 'gigantic' is not in the catalog, use one of small, medium, large, "
        "or add it to the class sizes parameter"
    )
    assert said["target_url"] == url(job)
    row = fleet.until(f"fleet-{job.id}-1", lambda row: "explained_at" in row)
    assert (row["explained_as"], row["head_sha"]) == ("commit_status", HEAD_SHA)

    status, out = run("explain", url(job))
    assert status == 0
    for line in (
        "refused: class 'gigantic' is not in the catalog, use one of small, medium, large",
        "its author was told with a commit status",
        "github: says queued, no runner, labels self-hosted, class:gigantic",
        "verdict: The fleet refused the job",
        "remedy: Author: change runs-on",
    ):
        assert line in out
    cancel(fleet, job)


def test_a_finished_job_has_one_timeline_from_its_queue_to_its_end(fleet: Fleet, run: Run) -> None:
    job = queue(fleet, "short")
    actions = ("queued", "in_progress", "completed")
    # a short job's task can have ended before its deliveries are handled
    told = {f"{action}_delivery" for action in actions}
    fleet.until(f"fleet-{job.id}-1", lambda row: row["status"] == "OFFLINE" and told <= row.keys())
    status, out = run("explain", str(job.id), "--json")
    assert status == 0
    found = json.loads(out)
    assert found["verdict"] == f"The job is over: success on fleet-{job.id}-1."
    assert found["github"]["runner_name"] == f"fleet-{job.id}-1"
    assert found["unknown"] == []
    timeline = found["timeline"]
    assert timeline == sorted(timeline, key=lambda entry: int(entry["at"]))
    assert fleet.local.twin
    guids = {d.action: d.guid for d in fleet.local.twin.deliveries if d.job_id == job.id}
    what = [entry["what"] for entry in timeline]
    for action in actions:
        assert any(line == f"delivery {guids[action]} came: {action}" for line in what), what
    states = {entry["what"]: entry for entry in timeline if entry["source"] == "state"}
    assert {"RecordRunner", "LaunchTask", "WaitForRunner", "RunJob", "RecordOffline"} <= set(states)
    assert all(entry["seconds"] >= 0 for entry in states.values())
    for part in ("admitted: ", "task ", "booted and registered", "job ended: success", "OFFLINE: "):
        assert any(line.startswith(part) for line in what), part
    # the same by the name of its runner, for people
    assert f"admitted: fleet-{job.id}-1 is started" in run("explain", f"fleet-{job.id}-1")[1]


def test_an_unknown_job_is_told_apart_by_what_github_says(fleet: Fleet, run: Run) -> None:
    status, out = run("explain", "https://github.com/octo-org/octo-repo/actions/runs/1/job/123456")
    assert status == 1
    assert "The fleet has never heard of job 123456." in out
    assert "could not be asked: GitHub answered 404" in out
    assert "Recent Deliveries" in out


def test_an_event_that_failed_is_handed_to_its_function_again(fleet: Fleet, run: Run) -> None:
    job = fleet.job()
    runner = runner_id(job)
    # as often as Lambda tries: then the event is in the dead-letter queue
    fleet.fault(
        on="states:StartExecution",
        outcome="error",
        code="AccessDeniedException",
        status=400,
        match=runner,
        times=3,
    )
    assert fleet.send("queued", job)[0] == 202

    def listed() -> list[dict[str, Any]]:
        found = json.loads(run("events", "list", "--output", "json")[1])
        return [each for each in found if str(job["id"]) in each["about"]]

    [failed] = until(listed)
    assert failed["about"] == f"workflow_job queued {job['id']}"
    assert "AccessDeniedException" in failed["why"]
    assert fleet.executions(runner) == []
    status, out = run("events", "redrive")
    assert status == 0
    assert f"workflow_job queued {job['id']}: handed to" in out
    fleet.status(runner, "WAITING_FOR_JOB")
    assert listed() == []
    fleet.send("completed", job | {"status": "completed", "conclusion": "cancelled"})
    fleet.status(runner, "OFFLINE")
    fleet.nothing_is_left_of(runner)


def test_replaying_all_that_happened_changes_nothing(fleet: Fleet, run: Run) -> None:
    done, refused = queue(fleet, "done"), queue(fleet, "refused", "class:gigantic")
    runners = [f"fleet-{job.id}-1" for job in (done, refused)]
    fleet.status(runners[0], "OFFLINE")
    fleet.until(runners[1], lambda row: "explained_at" in row)
    until(lambda: fleet.executions(runners[0]) == ["SUCCEEDED"])
    settle(fleet)
    before = [fleet.row(runner) for runner in runners]
    turns, registered, invoked = ledger(fleet), fleet.registered(), fleet.invocations()
    hour = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    status, out = run("events", "replay", "--from", hour, "--output", "json")
    assert status == 0
    name = json.loads(out)["replay"]
    events = fleet.local.client("events")
    until(lambda: events.describe_replay(ReplayName=name)["State"] == "COMPLETED")
    settle(fleet)
    assert fleet.invocations() > invoked + 5, "the events came again"
    assert [fleet.row(runner) for runner in runners] == before
    assert ledger(fleet) == turns
    assert [fleet.executions(runner) for runner in runners] == [["SUCCEEDED"], []]
    assert len(statuses(fleet, "refused")) == 1
    assert fleet.registered() == registered
    cancel(fleet, refused)


def settle(fleet: Fleet) -> None:
    """Wait until no function has been called for a second."""
    seen: list[tuple[float, int]] = []

    def has_settled() -> bool:
        seen.append((time.monotonic(), fleet.invocations()))
        same = [at for at, made in seen if made == seen[-1][1]]
        return same[-1] - same[0] >= 1 and not fleet.stats()["invocations_running"]

    until(has_settled, "the functions come to rest")


def ledger(fleet: Fleet) -> tuple[object, ...]:
    """Who holds a turn, who waits for one, and what was spent."""
    table = fleet.local.outputs["LedgerTableName"]
    entry = TurnsEntry(Ledger(dynamodb=fleet.local.client("dynamodb"), table=table))
    turns = entry.read()
    counts = {scope: count for scope, count in turns.counts.items() if count}
    return entry.holders(), counts, turns.last_in_line, turns.given, turns.spent_usd
