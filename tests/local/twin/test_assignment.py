"""Who gets which job, and how a run goes on, fails, is cancelled and is run again."""

from __future__ import annotations

from typing import Any

import pytest

from cdk_runner_fleet.local.twin import Conditions, board

ACTIONS = "/repos/octo/fleet/actions"
STEPS = "steps: [{run: 'true'}]"
ONE = f"on: push\njobs: {{a: {{runs-on: [self-hosted], {STEPS}}}}}"


def status_of(github: Any, run_id: int) -> dict[str, tuple[str, str | None]]:
    return {name: (job["status"], job["conclusion"]) for name, job in github.jobs(run_id).items()}


def test_a_job_goes_to_any_runner_with_all_its_labels(github: Any) -> None:
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: [Self-Hosted, CLASS:medium], {STEPS}}}}}"
    )
    small = github.runner("self-hosted", "class:small", name="small")
    plain = github.runner("self-hosted", name="plain")
    assert github.jobs(run_id)["a"]["status"] == "queued"
    # Started for somebody else's job, and with a label more: GitHub does not mind.
    github.runner("class:medium", "self-hosted", "gpu", name="other").work()
    github.until_completed(run_id)
    job = github.jobs(run_id)["a"]
    assert (job["conclusion"], job["runner_name"]) == ("success", "other")
    small.die()
    plain.die()


@pytest.fixture
def other(github: Any) -> str:
    """Another repository of the organization."""
    repository: str = github.twin.add_repository("other")
    return repository


def test_a_repositorys_runner_serves_no_other_repository(github: Any, other: str) -> None:
    runner = github.runner("self-hosted", "image:evil", name="of-fleet")
    foreign = github.queue(ONE, repository=other)
    own = github.queue(ONE)
    assert runner.work()["run_id"] == own
    github.until_completed(own)
    assert github.jobs(own)["a"]["runner_name"] == "of-fleet"
    assert github.jobs(foreign)["a"]["status"] == "queued"


def test_an_organizations_runner_serves_all_unless_its_group_is_for_some(
    github: Any, other: str
) -> None:
    board = github.twin.board
    foreign = github.queue(ONE, repository=other)
    runner = github.runner(name="of-org", scope="/orgs/octo")
    assert runner.work()["run_id"] == foreign
    github.until_completed(foreign)
    board.group_repositories[1] = frozenset({"octo/fleet"})
    foreign = github.queue(ONE, repository=other)
    own = github.queue(ONE)
    assert github.runner(name="of-group", scope="/orgs/octo").work()["run_id"] == own
    assert github.jobs(foreign)["a"]["status"] == "queued"


def test_runs_and_events_are_their_repositorys(github: Any, other: str) -> None:
    run_id = github.queue(ONE, repository=other)
    (job,) = github.jobs(run_id).values()
    runs = f"/repos/{other}/actions/runs"
    assert [run["id"] for run in github.call("GET", runs)[1]["workflow_runs"]] == [run_id]
    assert github.call("GET", f"{runs}/{run_id}/jobs")[1]["jobs"][0]["url"].endswith(
        f"{other}/actions/jobs/{job['id']}"
    )
    assert github.call("GET", f"{ACTIONS}/runs")[1]["total_count"] == 0
    for path in (f"runs/{run_id}", f"runs/{run_id}/jobs", f"jobs/{job['id']}"):
        assert github.call("GET", f"{ACTIONS}/{path}")[0] == 404
    listed = github.call("GET", "/orgs/octo/repos")[1]
    assert [each["full_name"] for each in listed] == ["octo/fleet", other]
    github.until(lambda: github.receiver.taken)
    assert github.receiver.taken[0]["event"]["repository"]["full_name"] == other
    assert github.call("POST", "/_twin/workflows", {"yaml": ONE, "repository": "x/y"})[0] == 422


def test_a_runner_does_one_job_and_is_removed(github: Any) -> None:
    first, second = github.queue(ONE), github.queue(ONE)
    runner = github.runner()
    runner.take()
    listed = github.call("GET", f"{ACTIONS}/runners")[1]["runners"]
    assert [(each["status"], each["busy"]) for each in listed] == [("online", True)]
    runner_id = listed[0]["id"]
    status, answer = github.call("DELETE", f"{ACTIONS}/runners/{runner_id}")
    assert status == 422
    assert "currently running a job" in answer["message"]
    runner.finish()
    github.until_completed(first)
    assert github.call("GET", f"{ACTIONS}/runners")[1]["total_count"] == 0
    assert github.jobs(second)["a"]["status"] == "queued"


def test_jobs_are_served_in_their_order(github: Any) -> None:
    runs = [github.queue(ONE) for _ in range(3)]
    for run_id in runs:
        assert github.runner().work()["run_id"] == run_id


def test_a_removed_runner_is_told(github: Any) -> None:
    runner = github.runner()
    (listed,) = github.call("GET", f"{ACTIONS}/runners")[1]["runners"]
    assert listed["status"] == "online"
    assert github.call("DELETE", f"{ACTIONS}/runners/{listed['id']}")[0] == 204
    assert runner.session.receive() == {"type": "removed"}
    assert runner.session.receive() is None
    run_id = github.queue(ONE)
    assert github.jobs(run_id)["a"]["status"] == "queued"


def test_a_runner_that_gets_no_job_may_be_removed(github: Any) -> None:
    github.twin.board.conditions = Conditions(idle_seconds=0.05)
    runner = github.runner()
    assert runner.session.receive() == {"type": "removed"}
    assert github.call("GET", f"{ACTIONS}/runners")[1]["runners"] == []
    run_id = github.queue(ONE)
    assert github.runner().work()["run_id"] == run_id


def test_an_idle_runner_that_dies_stays_listed_as_offline(github: Any) -> None:
    runner = github.runner()
    runner.die()
    github.until(
        lambda: github.call("GET", f"{ACTIONS}/runners")[1]["runners"][0]["status"] == "offline"
    )
    assert [each.had_job for each in github.twin.board.registered] == [False]
    run_id = github.queue(ONE)
    assert github.jobs(run_id)["a"]["status"] == "queued"


def test_a_registration_opens_one_session_with_its_own_token(github: Any) -> None:
    config = github.config()
    fake = type(github.runner("never"))
    first, second = fake(config), fake(config)
    assert second.session.receive() == {"type": "removed"}
    github.queue(ONE)
    assert first.take()["key"] == "a"


def test_a_job_not_begun_goes_back_to_the_queue(github: Any) -> None:
    run_id = github.queue(ONE)
    runner = github.runner()
    assert runner.session.receive()["type"] == "job"
    runner.die()
    github.until(lambda: not github.call("GET", f"{ACTIONS}/runners")[1]["runners"][0]["busy"])
    assert github.jobs(run_id)["a"]["status"] == "queued"
    github.runner(name="second").work()
    assert github.until_completed(run_id)["jobs"][0]["runner_name"] == "second"
    (job,) = github.twin.board.runs[run_id].jobs
    first, second = github.twin.board.registered
    assert list(job.deserted_by) == [first.name]
    assert first.had_job
    assert second.name == "second"


def test_a_job_whose_runner_dies_fails(github: Any) -> None:
    run_id = github.queue(ONE)
    runner = github.runner()
    runner.take()
    github.until(lambda: github.jobs(run_id)["a"]["status"] == "in_progress")
    runner.die()
    report = github.until_completed(run_id)
    assert report["conclusion"] == "failure"
    assert "lost communication" in report["jobs"][0]["log_tail"][-1]
    assert github.call("GET", f"{ACTIONS}/runners")[1]["total_count"] == 0


CHAIN = f"""
on: push
jobs:
  plan:
    runs-on: [self-hosted]
    outputs: {{v: x}}
    {STEPS}
  work:
    needs: plan
    runs-on: [self-hosted, "${{{{ needs.plan.outputs.v }}}}"]
    {STEPS}
    strategy: {{fail-fast: false, matrix: {{n: [1, 2]}}}}
  after: {{needs: work, runs-on: [self-hosted], {STEPS}}}
  cleanup: {{needs: [work], if: always(), runs-on: [self-hosted], {STEPS}}}
  alarm: {{needs: work, if: failure(), runs-on: [self-hosted], {STEPS}}}
  last: {{needs: after, runs-on: [self-hosted], {STEPS}}}
"""


def test_needs_outputs_and_matrix(github: Any) -> None:
    run_id = github.queue(CHAIN)
    assert set(github.jobs(run_id)) == {"plan"}
    github.runner().work(v="class:big")
    github.until(lambda: len(github.jobs(run_id)) == 3)
    assert github.jobs(run_id)["work (2)"]["labels"] == ["self-hosted", "class:big"]
    github.runner("self-hosted", "class:big").work()
    github.runner("self-hosted", "class:big").work()
    for _ in range(3):
        github.runner().work()
    report = github.until_completed(run_id)
    assert report["conclusion"] == "success"
    assert status_of(github, run_id)["alarm"] == ("completed", "skipped")


def test_a_failure_skips_what_follows_unless_it_asks(github: Any) -> None:
    run_id = github.queue(CHAIN)
    github.runner().work(v="b")
    github.runner("self-hosted", "b").work("failure")
    github.runner("self-hosted", "b").work()
    for _ in range(2):
        assert github.runner().work()["key"] in ("cleanup", "alarm")
    report = github.until_completed(run_id)
    assert report["conclusion"] == "failure"
    assert status_of(github, run_id) == {
        "plan": ("completed", "success"),
        "work (1)": ("completed", "failure"),
        "work (2)": ("completed", "success"),
        "after": ("completed", "skipped"),
        "last": ("completed", "skipped"),
        "cleanup": ("completed", "success"),
        "alarm": ("completed", "success"),
    }


def test_a_skipped_job_skips_what_needs_it(github: Any) -> None:
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: x, {STEPS}}}, b: {{if: false, runs-on: x, {STEPS}}}, "
        f"c: {{needs: [a, b], runs-on: x, {STEPS}}}, "
        f"d: {{needs: [a, b], if: '!failure()', runs-on: x, {STEPS}}}}}"
    )
    github.runner("x").work()
    assert github.runner("x").work()["key"] == "d"
    report = github.until_completed(run_id)
    assert report["conclusion"] == "success"
    assert status_of(github, run_id)["c"] == ("completed", "skipped")


def test_a_forgiven_failure_is_no_failure_of_the_run(github: Any) -> None:
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: x, continue-on-error: true, {STEPS}}}, "
        f"b: {{needs: a, runs-on: y, {STEPS}}}}}"
    )
    github.runner("x").work("failure")
    github.runner("y").work()
    assert github.until_completed(run_id)["conclusion"] == "success"
    assert github.jobs(run_id)["a"]["conclusion"] == "failure"


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ("if: fromJSON('nope'), runs-on: x", "fromJSON() was given 'nope'"),
        ("runs-on: x, container: y", "the job has `container`, which needs Docker"),
        ("runs-on: {group: g}", "names the group 'g' and no labels"),
        (
            """runs-on: x, strategy: {matrix: "${{ fromJSON('{\\"include\\": [\\"x\\"]}') }}"}""",
            "A mapping was expected in the matrix include",
        ),
    ],
)
def test_a_job_whose_definition_is_wrong_fails_with_the_reason_and_the_others_go_on(
    github: Any, job: str, why: str
) -> None:
    run_id = github.queue(
        f"on: push\njobs: {{a: {{{job}, {STEPS}}}, b: {{runs-on: x, {STEPS}}}, "
        f"c: {{needs: a, runs-on: x, {STEPS}}}}}"
    )
    github.runner("x").work()
    report = github.until_completed(run_id)
    conclusions = {name: each["conclusion"] for name, each in github.jobs(run_id).items()}
    assert conclusions == {"a": "failure", "b": "success", "c": "skipped"}
    assert report["conclusion"] == "failure"
    assert why in github.jobs(run_id)["a"]["log_tail"][0]


@pytest.mark.parametrize("broken", ["legs", "job_file"])
def test_a_fault_of_the_twin_itself_fails_the_job_and_loses_none(
    github: Any, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = getattr(board, broken)

    def fault(*arguments: Any, **named: Any) -> Any:
        if any(getattr(each, "key", "") == "a" for each in arguments):
            raise RuntimeError("a fault of its own")
        return sound(*arguments, **named)

    monkeypatch.setattr(board, broken, fault)
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: x, {STEPS}}}, b: {{runs-on: x, {STEPS}}}, "
        f"c: {{needs: a, if: failure(), runs-on: x, {STEPS}}}}}"
    )
    github.runner("x").work()
    github.runner("x").work()
    github.until_completed(run_id)
    jobs = github.jobs(run_id)
    assert {name: job["conclusion"] for name, job in jobs.items()} == {
        "a": "failure",
        "b": "success",
        "c": "success",
    }
    assert "a fault of its own" in jobs["a"]["log_tail"][0]


def test_a_need_that_nobody_serves_has_failed_and_is_not_cancelled(github: Any) -> None:
    """What follows goes by GitHub's rules, and no job is missing."""
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: nobody, {STEPS}}}, "
        f"b: {{needs: a, if: '!cancelled()', runs-on: x, {STEPS}}}, "
        f"c: {{needs: a, if: cancelled(), runs-on: x, {STEPS}}}, "
        f"d: {{needs: a, runs-on: x, {STEPS}, strategy: {{matrix: {{n: [1, 2]}}}}}}}}"
    )
    run = github.twin.board.runs[run_id]
    github.twin.board.fail(run.jobs[0], "nobody serves it")
    github.runner("x").work()
    github.until_completed(run_id)
    assert {name: job["conclusion"] for name, job in github.jobs(run_id).items()} == {
        "a": "failure",
        "b": "success",
        "c": "skipped",
        "d": "skipped",
    }


def test_a_cancelled_run_lets_only_those_run_that_ask_for_it(github: Any) -> None:
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: x, {STEPS}}}, "
        f"b: {{needs: a, if: cancelled(), runs-on: x, {STEPS}}}, "
        f"c: {{needs: a, if: '!cancelled()', runs-on: x, {STEPS}}}}}"
    )
    github.twin.board.cancel_run(github.twin.board.runs[run_id])
    github.runner("x").work()
    assert github.until_completed(run_id)["conclusion"] == "cancelled"
    assert {name: job["conclusion"] for name, job in github.jobs(run_id).items()} == {
        "a": "cancelled",
        "b": "success",
        "c": "skipped",
    }


def test_an_experimental_leg_may_fail(github: Any) -> None:
    """GitHub's own example of `continue-on-error` as an expression."""
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: x, continue-on-error: '${{{{ matrix.e }}}}', {STEPS}, "
        f"strategy: {{matrix: {{e: [true]}}}}}}, b: {{needs: a, runs-on: x, {STEPS}}}}}"
    )
    github.runner("x").work("failure")
    github.runner("x").work()
    assert github.until_completed(run_id)["conclusion"] == "success"


def test_a_file_with_inputs_is_started_by_hand_with_their_defaults(github: Any) -> None:
    run_id = github.queue(
        "on: {workflow_dispatch: {inputs: {deploy: {type: boolean, default: true}}}}\n"
        f"jobs: {{a: {{if: inputs.deploy && github.event_name == 'workflow_dispatch', runs-on: x, "
        f"{STEPS}}}, b: {{if: vars.NONE, runs-on: x, {STEPS}}}}}"
    )
    assert github.runner("x").work()["event"] == "workflow_dispatch"
    github.until_completed(run_id)
    assert github.jobs(run_id)["b"]["conclusion"] == "skipped"


def legs_of(strategy: str, count: int = 3) -> str:
    numbers = list(range(1, count + 1))
    matrix = f"matrix: {{n: {numbers}}}"
    return f"on: push\njobs: {{a: {{runs-on: x, strategy: {{{strategy}, {matrix}}}, {STEPS}}}}}"


def test_legs_behind_max_parallel_are_queued_and_given_to_nobody(github: Any) -> None:
    run_id = github.queue(legs_of("max-parallel: 2"))
    assert {job["status"] for job in github.jobs(run_id).values()} == {"queued"}
    github.until(lambda: github.receiver.actions() == ["queued"] * 3)
    first, second, third = (github.runner("x") for _ in range(3))
    first.take()
    second.take()
    assert github.jobs(run_id)["a (3)"]["status"] == "queued"
    assert [job.held_back for job in github.twin.board.jobs.values()] == [False, False, True]
    first.finish()
    third.work()
    second.finish()
    assert github.until_completed(run_id)["conclusion"] == "success"


def test_a_leg_that_fails_cancels_the_others_of_its_matrix(github: Any) -> None:
    run_id = github.queue(legs_of("max-parallel: 2"))
    first, second = github.runner("x"), github.runner("x")
    first.take()
    second.take()
    first.finish("failure")
    assert second.session.receive() == {"type": "cancel"}
    second.finish("cancelled")
    github.until_completed(run_id)
    conclusions = [job["conclusion"] for job in github.jobs(run_id).values()]
    assert conclusions == ["failure", "cancelled", "cancelled"]


def test_without_fail_fast_the_others_go_on(github: Any) -> None:
    run_id = github.queue(legs_of("fail-fast: false", count=2))
    github.runner("x").work("failure")
    github.runner("x").work()
    assert github.until_completed(run_id)["conclusion"] == "failure"
    assert github.jobs(run_id)["a (2)"]["conclusion"] == "success"


def grouped(cancels: str = "false") -> str:
    group = f"concurrency: {{group: Deploy, cancel-in-progress: {cancels}}}"
    return f"on: push\njobs: {{a: {{runs-on: x, {group}, {STEPS}}}}}"


def test_of_a_group_one_job_runs_and_the_last_one_waits(github: Any) -> None:
    runs = [github.queue(grouped()) for _ in range(3)]
    assert status_of(github, runs[1])["a"] == ("completed", "cancelled")
    first, second = github.runner("x"), github.runner("x")
    assert first.take()["run_id"] == runs[0]
    assert status_of(github, runs[2])["a"] == ("queued", None)
    first.finish()
    assert second.work()["run_id"] == runs[2]
    github.until_completed(runs[2])


def test_who_comes_into_a_group_may_cancel_who_runs(github: Any) -> None:
    first = github.queue(grouped("\"${{ github.ref == 'refs/heads/main' }}\""))
    runner, other = github.runner("x"), github.runner("x")
    runner.take()
    second = github.queue(grouped("true"))
    assert runner.session.receive() == {"type": "cancel"}
    runner.finish("cancelled")
    assert other.work()["run_id"] == second
    assert github.until_completed(first)["conclusion"] == "cancelled"


def test_a_run_behind_another_of_its_group_has_no_jobs_yet(github: Any) -> None:
    yaml = f"concurrency: one-${{{{ github.ref_name }}}}\n{ONE}"
    first, second, third = (github.queue(yaml) for _ in range(3))
    assert github.run(second)["conclusion"] == "cancelled"
    assert (github.run(third)["status"], github.jobs(third)) == ("pending", {})
    github.runner().work()
    github.until_completed(first)
    assert github.runner().work()["run_id"] == third


def test_a_limit_that_is_none_fails_the_job_with_the_reason(github: Any) -> None:
    run_id = github.queue(legs_of('max-parallel: "${{ 0 }}"'))
    (job,) = github.until_completed(run_id)["jobs"]
    assert job["conclusion"] == "failure"
    assert job["log_tail"]


def test_a_queued_job_is_cancelled_without_a_runner(github: Any) -> None:
    run_id = github.queue(ONE)
    job = github.jobs(run_id)["a"]
    assert github.call("POST", f"/_twin/jobs/{job['id']}/cancel")[0] == 202
    report = github.until_completed(run_id)
    assert report["conclusion"] == "cancelled"
    assert report["jobs"][0]["runner_name"] is None
    other = github.queue(ONE)
    assert github.runner().work()["run_id"] == other


def test_a_running_job_is_cancelled_by_its_runner(github: Any) -> None:
    run_id = github.queue(ONE)
    runner = github.runner()
    runner.take()
    assert github.call("POST", f"{ACTIONS}/runs/{run_id}/cancel")[0] == 202
    assert runner.session.receive() == {"type": "cancel"}
    assert github.jobs(run_id)["a"]["status"] != "completed"
    runner.finish("cancelled")
    assert github.until_completed(run_id)["conclusion"] == "cancelled"
    assert github.call("POST", f"{ACTIONS}/runs/{run_id}/cancel")[0] == 409


def test_a_rerun_is_a_new_attempt_with_new_jobs(github: Any) -> None:
    run_id = github.queue(ONE)
    assert github.call("POST", f"{ACTIONS}/runs/{run_id}/rerun")[0] == 403
    first = github.jobs(run_id)["a"]["id"]
    github.runner().work("failure")
    github.until_completed(run_id)
    assert github.call("POST", f"{ACTIONS}/runs/{run_id}/rerun")[0] == 201
    second = github.jobs(run_id)["a"]["id"]
    assert second != first
    assert github.call("GET", f"{ACTIONS}/jobs/{first}")[1]["run_attempt"] == 1
    assert github.call("GET", f"{ACTIONS}/jobs/{second}")[1]["run_attempt"] == 2
    assert github.runner().work()["run_attempt"] == 2
    assert github.until_completed(run_id)["conclusion"] == "success"


@pytest.mark.parametrize("count", [50])
def test_many_runners_and_jobs_are_all_matched(github: Any, count: int) -> None:
    run_id = github.queue(
        f"on: push\njobs: {{a: {{runs-on: x, {STEPS}, "
        f"strategy: {{matrix: {{n: {list(range(count))}}}}}}}}}"
    )
    for runner in [github.runner("x") for _ in range(count)]:
        runner.work()
    report = github.until_completed(run_id)
    assert len({job["runner_name"] for job in report["jobs"]}) == count
