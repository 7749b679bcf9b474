"""Workflows that call workflows of their repository."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdk_runner_fleet.local.twin.grammar import PERMISSIONS, READ_ONLY
from cdk_runner_fleet.local.twin.workflows import WorkflowError, read_workflow

STEPS = "steps: [{run: 'true'}]"
BUILD = "./.github/workflows/build.yml"
INNER = "./.github/workflows/inner.yml"
CALLED = f"""
on:
  workflow_call:
    inputs:
      size: {{type: string, required: true}}
      deep: {{type: boolean, default: true}}
    outputs:
      made: {{value: "${{{{ jobs.make.outputs.what }}}}-${{{{ inputs.size }}}}"}}
jobs:
  make:
    runs-on: ["class:${{{{ inputs.size }}}}"]
    outputs: {{what: x}}
    {STEPS}
  check:
    needs: make
    if: inputs.deep
    name: Check it
    runs-on: x
    {STEPS}
"""
CALLER = f"""
on: push
jobs:
  first: {{runs-on: x, {STEPS}}}
  build:
    needs: first
    strategy: {{matrix: {{size: [small, large]}}}}
    uses: {BUILD}
    with: {{size: "${{{{ matrix.size }}}}"}}
    secrets: inherit
  last:
    needs: build
    runs-on: y
    if: endsWith(needs.build.outputs.made, 'large')
    {STEPS}
"""


def test_the_jobs_of_a_called_workflow_run_under_its_callers_name(github: Any) -> None:
    run_id = github.queue(CALLER, called={BUILD: CALLED})
    github.runner("x").work()
    runner = github.runner("class:small")  # a runner that nobody holds has lost its connection
    small = runner.take()
    assert json.loads(small["file"])["on"] == {
        "workflow_dispatch": {
            "inputs": {
                "size": {"type": "string", "default": "small"},
                "deep": {"type": "boolean", "default": "true"},
            }
        }
    }
    assert small["event"] == "workflow_dispatch"
    github.runner("class:large").work(what="thing")
    github.runner("x").work()
    assert github.run(run_id)["status"] != "completed"
    assert "last" not in github.jobs(run_id)
    assert set(github.jobs(run_id)) == {
        "first",
        "build (small) / make",
        "build (large) / make",
        "build (large) / Check it",
    }


def finished(github: Any, run_id: int) -> dict[str, str]:
    github.until_completed(run_id)
    return {name: job["conclusion"] for name, job in github.jobs(run_id).items()}


def call(text: str = "", before: str = "") -> str:
    return f"on: push\njobs:\n{before}  a:\n    uses: {BUILD}\n{text}"


SIMPLE = f"on: workflow_call\njobs: {{b: {{runs-on: x, {STEPS}}}}}"


def test_outputs_and_results_reach_what_needs_the_call(github: Any) -> None:
    text = CALLER.replace("[small, large]", "[large]")
    run_id = github.queue(text, called={BUILD: CALLED})
    github.runner("x").work()
    github.runner("class:large").work(what="thing")
    github.runner("x").work()
    last = github.runner("y").work()
    (stand_in,) = (job for key, job in json.loads(last["file"])["jobs"].items() if key == "build")
    assert stand_in["outputs"] == {"made": "thing-large"}
    assert set(finished(github, run_id).values()) == {"success"}


def test_of_several_legs_the_last_to_end_with_an_output_gives_it(github: Any) -> None:
    """docs.github.com, "Reuse workflows": that of the last one to complete that sets a value."""
    text = CALLER.replace("class:", "").replace("if: endsWith", "name: endsWith")
    run_id = github.queue(text, called={BUILD: CALLED.replace("default: true", "default: false")})
    github.runner("x").work()
    large, small = github.runner("class:large"), github.runner("class:small")
    large.work(what="thing")
    github.until(lambda: github.jobs(run_id)["build (large) / make"]["conclusion"])
    small.work(what="other")
    last = github.runner("y").work()
    assert json.loads(last["file"])["jobs"]["build"]["outputs"] == {"made": "other-small"}


def test_a_failure_inside_is_the_calls(github: Any) -> None:
    run_id = github.queue(call(f"  c: {{needs: a, runs-on: x, {STEPS}}}\n"), called={BUILD: SIMPLE})
    github.runner("x").work("failure")
    assert finished(github, run_id) == {"a / b": "failure", "c": "skipped"}


def test_a_call_that_is_skipped_is_one_job(github: Any) -> None:
    run_id = github.queue(call("    if: false\n"), called={BUILD: SIMPLE})
    assert finished(github, run_id) == {"a": "skipped"}


def test_calls_are_nested(github: Any) -> None:
    middle = f"on: workflow_call\njobs: {{m: {{uses: {INNER}}}}}"
    run_id = github.queue(call(), called={BUILD: middle, INNER: SIMPLE})
    github.runner("x").work()
    assert finished(github, run_id) == {"a / m / b": "success"}


def test_a_job_inside_is_run_again_with_what_follows_the_call(github: Any) -> None:
    run_id = github.queue(call(f"  c: {{needs: a, runs-on: x, {STEPS}}}\n"), called={BUILD: SIMPLE})
    github.runner("x").work("failure")
    finished(github, run_id)
    run = github.twin.board.runs[run_id]
    assert github.twin.board.rerun_job(run.jobs[0])
    github.runner("x").work()
    github.runner("x").work()
    assert finished(github, run_id) == {"a / b": "success", "c": "success"}
    assert github.twin.board.rerun(run)
    github.runner("x").work("failure")
    assert finished(github, run_id) == {"a / b": "failure", "c": "skipped"}


def test_another_repositorys_workflow_fails_its_job_alone(github: Any) -> None:
    run_id = github.queue(
        "on: push\njobs: {a: {uses: o/r/.github/workflows/w.yml@v1}, "
        f"b: {{runs-on: x, {STEPS}}}}}"
    )
    github.runner("x").work()
    assert finished(github, run_id) == {"a": "failure", "b": "success"}
    (why,) = github.jobs(run_id)["a"]["log_tail"]
    assert "calls a workflow of another repository" in why


def test_an_input_of_another_type_fails_the_call(github: Any) -> None:
    called = (
        "on: {workflow_call: {inputs: {n: {type: number}}}}\n"
        f"jobs: {{b: {{runs-on: x, {STEPS}}}}}"
    )
    run_id = github.queue(call("    with: {n: '${{ github.ref }}'}\n"), called={BUILD: called})
    assert finished(github, run_id) == {"a": "failure"}
    assert "Unexpected value 'refs/heads/main'" in github.jobs(run_id)["a"]["log_tail"][0]


USES, KEY = "(Line: 4, Col: 11)", "(Line: 3, Col: 3)"


@pytest.mark.parametrize(
    ("caller", "called", "place", "why"),
    [
        (call(), None, USES, "Unable to find reusable workflow './.github/workflows/build.yml'"),
        (call(), SIMPLE.replace("workflow_call", "push"), USES, "workflow_call key is not defined"),
        (call(), CALLED, USES, "Input size is required, but not provided while calling."),
        (
            call("    with: {x: 1}\n"),
            SIMPLE,
            "(Line: 5, Col: 15)",
            "Invalid input, x is not defined in the referenced",
        ),
        (
            call("    with: {size: a, DEEP: b}\n"),
            CALLED,
            "(Line: 5, Col: 27)",
            "Unexpected value 'b'",
        ),
        (
            call("    secrets: {x: y}\n"),
            SIMPLE,
            "(Line: 5, Col: 18)",
            "Invalid secret, x is not defined",
        ),
        (
            call(),
            SIMPLE.replace("workflow_call", "{workflow_call: {secrets: {s: {required: true}}}}"),
            USES,
            "Secret s is required, but not provided while calling.",
        ),
        (call(), SIMPLE.replace("b:", "1b:"), USES, "The identifier '1b' is invalid"),
        (call(), call().replace("push", "workflow_call"), USES, "depth exceeded 10."),
        (
            call("    permissions: {actions: read}\n"),
            f"permissions: {{actions: write}}\n{SIMPLE}",
            KEY,
            "is requesting 'actions: write', but is only allowed 'actions: read'.",
        ),
        (
            call("    permissions: {checks: read}\n"),
            SIMPLE.replace(
                "runs-on", "permissions: {statuses: read, checks: write, pages: none}, runs-on"
            ),
            KEY,
            "The nested job 'b' is requesting 'checks: write, statuses: read', but is only allowed "
            "'checks: read, statuses: none'.",
        ),
        (
            call("permissions: {}\n"),
            SIMPLE.replace("runs-on", "permissions: read-all, runs-on"),
            KEY,
            "The nested job 'b' is requesting 'actions: read, artifact-metadata: read, ",
        ),
    ],
)
def test_what_github_refuses_of_a_call_is_refused(
    caller: str, called: str | None, place: str, why: str
) -> None:
    with pytest.raises(WorkflowError) as raised:
        read_workflow(caller, file_name="ci.yml", find={BUILD: called}.get)
    (message,) = str(raised.value).splitlines()
    assert message.startswith(f"ci.yml {place}: ")
    assert why in message


def test_write_all_asks_for_no_more_than_read_where_that_is_all_there_is() -> None:
    every = ", ".join(f"{scope}: write" for scope in PERMISSIONS if scope not in READ_ONLY)
    caller = call(f"    permissions: {{{every}, models: read, vulnerability-alerts: read}}\n")
    called = SIMPLE.replace("runs-on", "permissions: write-all, runs-on")
    assert read_workflow(caller, file_name="ci.yml", find={BUILD: called}.get)


def test_fifty_workflows_may_be_called() -> None:
    def caller(count: int) -> str:
        jobs = (f"  j{n}: {{uses: ./.github/workflows/w{n}.yml}}\n" for n in range(count))
        return f"on: push\njobs:\n{''.join(jobs)}  last: {{uses: ./.github/workflows/w0.yml}}\n"

    assert len(read_workflow(caller(50), file_name="ci.yml", find=lambda _: SIMPLE).jobs) == 51
    with pytest.raises(WorkflowError, match="The maximum file count of 51 has been exceeded"):
        read_workflow(caller(51), file_name="ci.yml", find=lambda _: SIMPLE)


def test_what_the_repository_gives_a_token_bounds_a_call() -> None:
    called = f"permissions: {{actions: write}}\n{SIMPLE}"
    assert read_workflow(call(), file_name="ci.yml", find={BUILD: called}.get)
    with pytest.raises(WorkflowError, match="only allowed 'actions: none'"):
        read_workflow(
            call(), file_name="ci.yml", find={BUILD: called}.get, permissions={"contents": "read"}
        )


def test_a_trap_in_a_called_workflow_is_warned_of() -> None:
    trap = SIMPLE.replace("runs-on", "if: ' ${{ false }}', runs-on")
    (warning,) = read_workflow(call(), file_name="ci.yml", find={BUILD: trap}.get).warnings
    assert warning.startswith(f"{BUILD} (Line: 2)")
