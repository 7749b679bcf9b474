"""Webhooks' logs and redelivery, runs that are cancelled by force, jobs that run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

ACTIONS = "/repos/octo/fleet/actions"
HOOK = "/repos/octo/fleet/hooks/1"
SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "rest.schema.json").read_bytes())
WORKFLOW = "on: push\njobs: {a: {runs-on: [self-hosted], steps: [{run: 'true'}]}}"
CHAIN = """
on: push
jobs:
  a: {runs-on: [self-hosted], steps: [{run: 'true'}]}
  b: {runs-on: [self-hosted, other], steps: [{run: 'true'}]}
  c: {needs: a, runs-on: [self-hosted], steps: [{run: 'true'}]}
"""


def check(shape: str, answer: object) -> None:
    Draft7Validator(SCHEMAS[shape]).validate(answer)


def deliveries(github: Any, query: str = "", hook: str = HOOK) -> list[dict[str, Any]]:
    status, listed = github.call("GET", f"{hook}/deliveries{query}")
    assert status == 200
    check("deliveries", listed)
    found: list[dict[str, Any]] = listed
    return found


@pytest.mark.parametrize(
    ("scope", "shape"), [("/repos/octo/fleet", "hooks"), ("/orgs/octo", "organization_hooks")]
)
def test_the_hook_says_where_it_goes(github: Any, scope: str, shape: str) -> None:
    status, hooks = github.call("GET", f"{scope}/hooks")
    assert status == 200
    check(shape, hooks)
    (hook,) = hooks
    assert hook["config"]["url"] == github.receiver.url
    assert hook["deliveries_url"] == f"{github.twin.url}{scope}/hooks/1/deliveries"


def test_a_failed_delivery_is_sent_again_as_it_was(github: Any) -> None:
    github.receiver.status = 503
    github.queue(WORKFLOW)
    github.until(lambda: github.receiver.taken)
    github.until(lambda: deliveries(github))
    (failed,) = deliveries(github)
    assert (failed["status_code"], failed["redelivery"]) == (503, False)
    assert failed["status"] != "OK"
    github.receiver.status = 202
    assert github.call("POST", f"{HOOK}/deliveries/{failed['id']}/attempts") == (202, {})
    github.until(lambda: len(deliveries(github)) == 2)
    again, first = deliveries(github)
    assert first == failed, "the failed attempt stays in the log"
    assert (again["guid"], again["redelivery"], again["status"]) == (failed["guid"], True, "OK")
    assert again["id"] > failed["id"]
    bodies = [each["body"] for each in github.receiver.taken]
    assert bodies[0] == bodies[1]
    guids = {each["headers"]["X-Github-Delivery"] for each in github.receiver.taken}
    assert guids == {failed["guid"]}


def test_what_was_never_sent_is_in_no_log(github: Any) -> None:
    github.call("POST", "/_twin/faults", {"webhook": {"fault": "drop"}})
    github.queue(WORKFLOW)
    github.until(lambda: github.twin.deliveries)
    assert deliveries(github) == []


def test_an_answer_that_never_came_is_no_success(github: Any) -> None:
    github.twin.webhook_url = "http://127.0.0.1:9/nobody"
    github.queue(WORKFLOW)
    github.until(lambda: deliveries(github))
    (failed,) = deliveries(github)
    assert failed["status_code"] == 0
    assert failed["status"] == "failed to connect to host"


def test_the_log_has_pages_by_cursor(github: Any) -> None:
    for _ in range(5):
        github.queue(WORKFLOW)
    github.until(lambda: len(deliveries(github)) == 5)
    status, page, headers = github.call_in_full("GET", f"{HOOK}/deliveries?per_page=2")
    seen = [each["id"] for each in page]
    while 'rel="next"' in headers.get("Link", ""):
        path = headers["Link"].partition(">")[0].removeprefix(f"<{github.twin.url}")
        status, page, headers = github.call_in_full("GET", path)
        assert status == 200
        seen += [each["id"] for each in page]
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)
    assert github.call("GET", f"{HOOK}/deliveries?cursor=x")[0] == 400


def test_another_hook_or_delivery_is_not_found(github: Any) -> None:
    assert github.call("GET", "/repos/octo/fleet/hooks/2/deliveries")[0] == 404
    assert github.call("POST", f"{HOOK}/deliveries/1/attempts")[0] == 404


def test_a_run_is_cancelled_by_force_whatever_its_runner_does(github: Any) -> None:
    runner = github.runner("self-hosted")
    run_id = github.queue(WORKFLOW)
    runner.take()
    path = f"{ACTIONS}/runs/{run_id}"
    github.until(lambda: github.call("GET", path)[1]["status"] == "in_progress")
    check("run", github.call("GET", path)[1])
    assert github.call("POST", f"{path}/force-cancel") == (202, {})
    assert github.run(run_id)["conclusion"] == "cancelled"
    assert github.call("GET", f"{ACTIONS}/runners")[1]["total_count"] == 0
    assert github.call("POST", f"{path}/force-cancel")[0] == 409


def test_a_job_runs_again_with_what_depends_on_it(github: Any) -> None:
    run_id = github.queue(CHAIN)
    assert github.call("POST", f"{ACTIONS}/jobs/{github.jobs(run_id)['a']['id']}/rerun")[0] == 403
    github.runner("self-hosted").work("failure")
    github.runner("self-hosted", "other").work()
    github.until_completed(run_id)
    before = github.jobs(run_id)
    assert github.call("POST", f"{ACTIONS}/jobs/{before['a']['id']}/rerun") == (201, {})
    github.runner("self-hosted").work()
    github.until(lambda: "c" in github.jobs(run_id))
    github.runner("self-hosted").work()
    report = github.until_completed(run_id)
    after = github.jobs(run_id)
    assert (report["run_attempt"], report["conclusion"]) == (2, "success")
    assert after["b"]["id"] == before["b"]["id"]
    assert after["a"]["id"] != before["a"]["id"]
    assert github.call("POST", f"{ACTIONS}/jobs/{before['a']['id']}/rerun")[0] == 403


def test_a_runner_that_acquires_a_job_and_dies(github: Any) -> None:
    fault = {"runner": {"job_name": "a", "seconds": 0.4}}
    assert github.call("POST", "/_twin/faults", fault)[0] == 201
    runner = github.runner("self-hosted", name="gone")
    run_id = github.queue(WORKFLOW)
    assert runner.session.receive() == {"type": "removed"}
    assert runner.session.receive() is None
    job = github.jobs(run_id)["a"]
    assert (job["status"], job["runner_name"]) == ("in_progress", "gone")
    # GitHub takes it for busy, and gives the job to nobody else
    assert github.call("GET", f"{ACTIONS}/runners")[1]["runners"][0]["busy"] is True
    other = github.runner("self-hosted")
    report = github.until_completed(run_id)
    assert report["conclusion"] == "cancelled"
    github.until(lambda: len(github.receiver.taken) == 3)
    assert sorted(github.receiver.actions()) == ["completed", "in_progress", "queued"]
    (left,) = github.call("GET", f"{ACTIONS}/runners")[1]["runners"]
    assert (left["name"] != "gone", left["busy"]) == (True, False)
    assert other
