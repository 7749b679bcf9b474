"""The REST API: GitHub's documented status codes and shapes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

ACTIONS = "/repos/octo/fleet/actions"
JIT = f"{ACTIONS}/runners/generate-jitconfig"
RUNNER = {"name": "r-1", "runner_group_id": 1, "labels": ["self-hosted", "class:small"]}
SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "rest.schema.json").read_bytes())
WORKFLOW = "on: push\njobs: {a: {runs-on: [self-hosted], steps: [{run: 'true'}]}}"


def check(shape: str, answer: object) -> None:
    Draft7Validator(SCHEMAS[shape]).validate(answer)


def test_a_runner_is_registered_listed_and_removed(github: Any) -> None:
    status, made = github.call("POST", JIT, RUNNER)
    assert status == 201
    check("generate_jitconfig", made)
    config = json.loads(base64.b64decode(made["encoded_jit_config"]))
    assert config["twin"] is True
    assert config["url"] == github.twin.url
    assert config["labels"] == RUNNER["labels"]
    runner_id = made["runner"]["id"]
    assert made["runner"]["status"] == "offline"
    for query, count in (("", 1), ("?name=r-1", 1), ("?name=r-2", 0)):
        status, listed = github.call("GET", f"{ACTIONS}/runners{query}")
        check("runners", listed)
        assert (status, listed["total_count"]) == (200, count)
    status, one = github.call("GET", f"{ACTIONS}/runners/{runner_id}")
    assert (status, one) == (200, made["runner"])
    assert github.call("DELETE", f"{ACTIONS}/runners/{runner_id}") == (204, None)
    assert github.call("DELETE", f"{ACTIONS}/runners/{runner_id}")[0] == 404
    assert github.call("GET", f"{ACTIONS}/runners/{runner_id}")[0] == 404


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        ({"name": None}, 422, "`name`"),
        ({"name": "n" * 65}, 422, "1-64"),
        ({"runner_group_id": None}, 422, "runner_group_id"),
        ({"runner_group_id": 2}, 404, "Not Found"),
        ({"labels": []}, 422, "1-100"),
        ({"labels": ["x"] * 101}, 422, "1-100"),
        ({"labels": ["x" * 257]}, 422, "1-256"),
        ({"labels": ["x", 1]}, 422, "1-256"),
        ({"labels": "self-hosted"}, 422, "1-100"),
    ],
)
def test_a_bad_registration_is_refused(
    github: Any, change: dict[str, object], status: int, why: str
) -> None:
    got, answer = github.call("POST", JIT, RUNNER | change)
    assert got == status
    assert why in answer["message"]
    check("validation_error", answer)


def test_a_name_is_taken_once(github: Any) -> None:
    assert github.call("POST", JIT, RUNNER)[0] == 201
    status, answer = github.call("POST", JIT, RUNNER)
    assert status == 409
    assert answer["message"].startswith("Already exists")


def test_a_name_may_stay_taken_for_a_while(github: Any) -> None:
    assert github.call("POST", "/_twin/faults", {"conditions": {"name_held_seconds": 60}})[0] == 201
    made = github.call("POST", JIT, RUNNER)[1]
    assert github.call("DELETE", f"{ACTIONS}/runners/{made['runner']['id']}") == (204, None)
    assert github.call("GET", f"{ACTIONS}/runners")[1]["total_count"] == 0
    assert github.call("POST", JIT, RUNNER)[0] == 409
    github.twin.board.registered[0].removed_at -= 60
    assert github.call("POST", JIT, RUNNER)[0] == 201


def test_the_list_of_runners_may_be_behind(github: Any) -> None:
    assert github.call("POST", "/_twin/faults", {"conditions": {"list_lag_seconds": 60}})[0] == 201

    def listed() -> list[str]:
        return [each["name"] for each in github.call("GET", f"{ACTIONS}/runners")[1]["runners"]]

    one = f"{ACTIONS}/runners/{github.call('POST', JIT, RUNNER)[1]['runner']['id']}"
    assert (listed(), github.call("GET", one)[0]) == ([], 200)
    (runner,) = github.twin.board.registered
    runner.registered_at -= 60
    assert listed() == ["r-1"]
    assert github.call("DELETE", one) == (204, None)
    assert (listed(), github.call("GET", one)[0]) == (["r-1"], 404)
    runner.removed_at -= 60
    assert listed() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_cannot_be_read_is_refused(github: Any, body: bytes) -> None:
    assert github.call("POST", JIT, body)[0] == 400


def test_strangers_are_refused(github: Any) -> None:
    for token in ("", "wrong"):
        status, answer = github.call("GET", f"{ACTIONS}/runners", token=token)
        assert (status, answer["message"]) == (401, "Bad credentials")


def test_another_repository_or_path_is_not_found(github: Any) -> None:
    for path in ("/repos/octo/other/actions/runners", "/orgs/other/actions/runners", "/"):
        assert github.call("GET", path)[0] == 404
    assert github.call("GET", "/repos/OCTO/Fleet/actions/runners")[0] == 200


def test_jobs_and_runs_have_githubs_shapes(github: Any) -> None:
    run_id = github.queue(WORKFLOW)
    status, listed = github.call("GET", f"{ACTIONS}/runs/{run_id}/jobs")
    check("jobs", listed)
    (job,) = listed["jobs"]
    assert (status, job["status"], job["runner_id"]) == (200, "queued", None)
    assert github.call("GET", f"{ACTIONS}/jobs/{job['id']}") == (200, job)
    status, runs = github.call("GET", f"{ACTIONS}/runs?status=queued")
    check("runs", runs)
    assert [run["id"] for run in runs["workflow_runs"]] == [run_id]
    assert github.call("GET", f"{ACTIONS}/runs?status=completed")[1]["total_count"] == 0
    assert github.call("GET", f"{ACTIONS}/jobs/1")[0] == 404
    assert github.call("GET", f"{ACTIONS}/runs/1/jobs")[0] == 404
    github.runner("self-hosted").work()
    github.until_completed(run_id)
    check("job", github.call("GET", f"{ACTIONS}/jobs/{job['id']}")[1])
    assert github.call("GET", f"{ACTIONS}/runs?status=completed")[1]["total_count"] == 1


def test_lists_have_pages(github: Any) -> None:
    for number in range(5):
        github.config(name=f"r-{number}")
    names = []
    for page in (1, 2, 3, 4):
        status, listed = github.call("GET", f"{ACTIONS}/runners?per_page=2&page={page}")
        assert (status, listed["total_count"]) == (200, 5)
        names.append([runner["name"] for runner in listed["runners"]])
    assert names == [["r-0", "r-1"], ["r-2", "r-3"], ["r-4"], []]
    assert github.call("GET", f"{ACTIONS}/runners?per_page=x")[0] == 422


def test_scripted_faults_come_once_each(github: Any) -> None:
    limit = {
        "status": 403,
        "path": "*/generate-jitconfig",
        "message": "You have exceeded a secondary rate limit.",
        "headers": {"retry-after": "1", "x-ratelimit-remaining": "0"},
    }
    assert github.call("POST", "/_twin/faults", {"api": limit})[0] == 201
    assert github.call("POST", "/_twin/faults", {"api": {**limit, "status": 503}})[0] == 201
    assert github.call("GET", f"{ACTIONS}/runners")[0] == 200
    status, answer, headers = github.call_in_full("POST", JIT, RUNNER)
    assert (status, answer["message"]) == (403, limit["message"])
    assert headers["retry-after"] == "1"
    assert headers["x-ratelimit-remaining"] == "0"
    assert github.call("POST", JIT, RUNNER)[0] == 503
    assert github.call("POST", JIT, RUNNER)[0] == 201


@pytest.mark.parametrize("status", [502, 0])
def test_an_answer_is_lost_but_what_was_asked_is_done(github: Any, status: int) -> None:
    fault = {"status": status, "path": "*/generate-jitconfig", "applied": True}
    assert github.call("POST", "/_twin/faults", {"api": fault})[0] == 201
    if status:
        assert github.call("POST", JIT, RUNNER)[0] == status
    else:
        with pytest.raises(OSError, match=r"closed connection|Connection reset"):
            github.call("POST", JIT, RUNNER)
    assert [each["name"] for each in github.call("GET", f"{ACTIONS}/runners")[1]["runners"]] == [
        RUNNER["name"]
    ]
    assert github.call("POST", JIT, RUNNER)[0] == 409


def test_every_answer_tells_the_rate_limit(github: Any) -> None:
    first = github.call_in_full("GET", f"{ACTIONS}/runners")[2]
    second = github.call_in_full("GET", f"{ACTIONS}/runners")[2]
    assert first["x-ratelimit-limit"] == "15000"
    assert int(first["x-ratelimit-remaining"]) - int(second["x-ratelimit-remaining"]) == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"api": {"stat": 1}}, {"webhook": {"fault": "explode"}}, {"conditions": {"rain": 1}}],
)
def test_an_unknown_fault_is_refused(github: Any, body: object) -> None:
    assert github.call("POST", "/_twin/faults", body)[0] == 422


def test_a_file_that_is_no_workflow_is_refused_with_the_reason(github: Any) -> None:
    status, answer = github.call("POST", "/_twin/workflows", {"file_name": "x.yml", "yaml": "a"})
    assert status == 422
    assert "x.yml (Line: 1, Col: 1): Unexpected value 'a'" in answer["message"]
