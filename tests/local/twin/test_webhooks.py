"""Webhooks: GitHub's published schemas, the signature, and scripted faults."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

SECRET = "webhook-secret"
STEPS = "steps: [{run: 'true'}]"
ONE = f"on: push\njobs: {{a: {{runs-on: [self-hosted], {STEPS}}}}}"
GATED = f"on: push\njobs: {{a: {{runs-on: [self-hosted], environment: production, {STEPS}}}}}"
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "workflow_job.schema.json").read_bytes())


@pytest.fixture(autouse=True)
def _every_event_is_githubs(github: Any) -> Any:
    """Whatever a test made the twin send is held against GitHub's schema."""
    yield
    validator = Draft7Validator(SCHEMA)
    for taken in github.receiver.taken:
        validator.validate(taken["event"])


def work(github: Any, conclusion: str = "success") -> None:
    github.runner().work(conclusion)


def test_a_job_is_announced_in_three_events(github: Any) -> None:
    run_id = github.queue(ONE)
    github.until(lambda: github.receiver.actions() == ["queued"])
    runner = github.runner(name="r-1")
    runner.take()
    github.until(lambda: len(github.receiver.taken) == 2)
    runner.session.send(
        "completed",
        conclusion="success",
        outputs={},
        steps=[{"name": "s", "conclusion": "success", "started_at": 1.0, "completed_at": 2.0}],
    )
    github.until(lambda: len(github.receiver.taken) == 3)
    assert github.receiver.actions() == ["queued", "in_progress", "completed"]
    queued, started, completed = (each["event"]["workflow_job"] for each in github.receiver.taken)
    assert (queued["runner_id"], queued["runner_name"]) == (None, None)
    assert (started["status"], started["runner_name"]) == ("in_progress", "r-1")
    assert (completed["conclusion"], completed["runner_name"]) == ("success", "r-1")
    assert completed["steps"][0]["name"] == "s"
    assert queued["run_id"] == run_id
    assert queued["labels"] == ["self-hosted"]


def test_it_is_signed_and_headed_as_github_does(github: Any) -> None:
    github.queue(ONE.replace("runs-on", "name: ü-✓, runs-on", 1))
    github.until(lambda: github.twin.deliveries)
    (taken,) = github.receiver.taken
    digest = hmac.new(SECRET.encode(), taken["body"], hashlib.sha256).hexdigest()
    headers = {name.lower(): value for name, value in taken["headers"].items()}
    assert headers["x-hub-signature-256"] == f"sha256={digest}"
    assert headers["x-github-event"] == "workflow_job"
    assert headers["x-github-hook-id"] == "1"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("GitHub-Hookshot/")
    assert headers["x-github-delivery"] == github.twin.deliveries[0].guid
    assert taken["event"]["workflow_job"]["name"] == "ü-✓"


def test_skipped_and_cancelled_jobs_are_announced_without_a_runner(github: Any) -> None:
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: x, {STEPS}}}, b: {{needs: a, runs-on: x, {STEPS}}}}}"
    )
    job = github.jobs(run_id)["a"]
    github.call("POST", f"/_twin/jobs/{job['id']}/cancel")
    github.until(lambda: github.receiver.actions().count("completed") == 2)
    conclusions = {
        each["event"]["workflow_job"]["name"]: each["event"]["workflow_job"]["conclusion"]
        for each in github.receiver.taken
        if each["event"]["action"] == "completed"
    }
    assert conclusions == {"a": "cancelled", "b": "skipped"}
    assert all(each["event"]["workflow_job"]["runner_id"] is None for each in github.receiver.taken)


def test_an_approval_is_queued_waiting_queued(github: Any) -> None:
    run_id = github.queue(GATED, protected_environments=["production"])
    github.until(lambda: sorted(github.receiver.actions()) == ["queued", "waiting"])
    assert {each["event"]["workflow_job"]["status"] for each in github.receiver.taken} == {
        "waiting"
    }
    assert all("deployment" in each["event"] for each in github.receiver.taken)
    runner = github.runner()
    job = github.jobs(run_id)["a"]
    assert job["status"] == "waiting"
    assert github.call("POST", f"/_twin/jobs/{job['id']}/approve")[0] == 202
    runner.work()
    github.until_completed(run_id)
    github.until(lambda: len(github.receiver.taken) == 5)
    queued = [
        each["event"] for each in github.receiver.taken if each["event"]["action"] == "queued"
    ]
    assert sorted(each["workflow_job"]["status"] for each in queued) == ["queued", "waiting"]
    assert github.call("POST", f"/_twin/jobs/{job['id']}/approve")[0] == 409


def test_an_environment_without_protection_only_carries_its_deployment(github: Any) -> None:
    github.queue(GATED)
    github.until(lambda: github.receiver.taken)
    event = github.receiver.taken[0]["event"]
    assert event["workflow_job"]["status"] == "queued"
    assert event["deployment"]["environment"] == "production"


def test_a_refused_or_unanswered_delivery_is_not_repeated(github: Any) -> None:
    github.receiver.status = 503
    github.queue(ONE)
    github.until(lambda: github.twin.deliveries)
    github.twin.webhook_url = "http://127.0.0.1:9/"
    github.queue(ONE)
    github.until(lambda: len(github.twin.deliveries) == 2)
    assert [each.status_code for each in github.twin.deliveries] == [503, 0]
    assert len(github.receiver.taken) == 1
    listed = github.call("GET", "/_twin/deliveries")[1]
    assert [each["status_code"] for each in listed] == [503, 0]


def fault(github: Any, **fields: object) -> None:
    assert github.call("POST", "/_twin/faults", {"webhook": fields})[0] == 201


def test_a_dropped_delivery_never_comes(github: Any) -> None:
    fault(github, fault="drop", action="queued")
    run_id = github.queue(ONE)
    work(github)
    github.until_completed(run_id)
    github.until(lambda: len(github.receiver.taken) == 2)
    assert sorted(github.receiver.actions()) == ["completed", "in_progress"]
    assert [each.status_code for each in github.twin.deliveries if each.action == "queued"] == [
        None
    ]


def test_a_duplicate_has_the_same_delivery_id(github: Any) -> None:
    fault(github, fault="duplicate", job_name="a*")
    github.queue(ONE)
    github.until(lambda: len(github.receiver.taken) == 2)
    first, second = github.receiver.taken
    assert first["body"] == second["body"]
    assert first["headers"]["X-Github-Delivery"] == second["headers"]["X-Github-Delivery"]


@pytest.mark.parametrize("kind", [{"fault": "reorder"}, {"fault": "delay", "seconds": 2.0}])
def test_a_queued_event_can_come_after_its_completed(github: Any, kind: dict[str, object]) -> None:
    fault(github, action="queued", **kind)
    run_id = github.queue(ONE)
    work(github)
    github.until_completed(run_id)
    github.until(lambda: len(github.receiver.taken) == 3)
    assert github.receiver.actions()[0] != "queued"


def test_a_fault_meets_only_its_action_and_job(github: Any) -> None:
    fault(github, fault="drop", action="queued", job_name="b")
    fault(github, fault="drop", action="waiting")
    github.queue(f"on: push\njobs: {{a: {{runs-on: x, {STEPS}}}, b: {{runs-on: x, {STEPS}}}}}")
    github.queue(f"on: push\njobs: {{b: {{runs-on: x, {STEPS}}}}}")
    github.until(lambda: len(github.receiver.taken) == 2)
    assert sorted(each["event"]["workflow_job"]["name"] for each in github.receiver.taken) == [
        "a",
        "b",
    ]


def test_a_webhook_is_under_way_until_it_is_answered(github: Any) -> None:
    github.receiver.answers.clear()
    github.queue(ONE)
    assert github.twin.deliveries_under_way == 1
    assert github.receiver.taken == []
    github.receiver.answers.set()
    github.until(lambda: not github.twin.deliveries_under_way)
    assert github.receiver.actions() == ["queued"]
    assert [delivery.status_code for delivery in github.twin.deliveries] == [202]


def test_stopping_sends_nothing_more(github: Any) -> None:
    fault(github, fault="delay", seconds=5.0)
    github.queue(ONE)
    github.twin.stop()
    for timer in github.twin.hook_deliveries._timers:
        timer.join()
    assert github.receiver.taken == []
