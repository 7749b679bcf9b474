"""The local runner: real jobs, run by act, from the twin's queue to the twin's books."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet.local.emulator.runner import JobRun
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "workflows"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts runners, each in a folder of its own; kills what a test leaves behind."""
    started: list[subprocess.Popen[str]] = []

    def start(config: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        home = tmp_path / f"runner-{len(started)}"
        home.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-m", "cdk_runner_fleet.local.emulator.runner", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "RUNNER_HOME": str(home),
                **({"ACTIONS_RUNNER_INPUT_JITCONFIG": config} if config else {}),
                **environment,
            },
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as the emulator starts a task
        )
        started.append(process)
        return process

    yield start
    for process in started:
        kill_group(process)
        process.communicate()


def kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run_file(github: Any, start: Start, text: str, **fields: object) -> dict[str, Any]:
    """Runs a workflow, with one runner of the job's own labels after the other."""
    run_id = github.queue(text, **fields)
    while True:
        queued = [job for job in github.run(run_id)["jobs"] if job["status"] == "queued"]
        if not queued:
            report: dict[str, Any] = github.run(run_id)
            assert report["status"] == "completed", report
            return report
        process = start(github.config(*queued[0]["labels"]))
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, log
        # Its report may still be on the wire.
        github.until(
            lambda: all(job["status"] != "in_progress" for job in github.run(run_id)["jobs"])
        )


def conclusions(report: dict[str, Any]) -> dict[str, str]:
    return {job["name"]: job["conclusion"] for job in report["jobs"]}


def test_the_example_workflow_succeeds(github: Any, start: Start) -> None:
    report = run_file(github, start, (EXAMPLES / "build.yml").read_text(encoding="utf-8"))
    assert conclusions(report) == {
        "prepare": "success",
        "compile": "success",
        "assets": "success",
        "test (unit)": "success",
        "test (integration)": "success",
    }, report
    logs = {job["name"]: "\n".join(job["log_tail"]) for job in report["jobs"]}
    assert report["jobs"][0]["outputs"] == {"version": "1.0.1"}
    assert "testing version 1.0.1, suite integration" in logs["test (integration)"]
    assert f"run {report['run_id']} of octo/fleet" in logs["prepare"]
    assert "_twin_outputs" not in logs["prepare"]


def test_the_failing_example_fails_as_github_would_have_it(github: Any, start: Start) -> None:
    report = run_file(github, start, (EXAMPLES / "failing.yml").read_text(encoding="utf-8"))
    assert report["conclusion"] == "failure"
    assert conclusions(report) == {"broken": "failure", "after": "skipped", "report": "success"}
    broken = report["jobs"][0]
    assert "this job is meant to fail" in broken["log_tail"]
    steps = github.call("GET", f"/repos/octo/fleet/actions/jobs/{broken['id']}")[1]["steps"]
    assert [(step["name"], step["conclusion"]) for step in steps] == [
        ("Set up job", "success"),
        ("Fail", "failure"),
        ("Complete job", "success"),
    ]


def test_outputs_of_any_text_reach_the_next_job(github: Any, start: Start) -> None:
    report = run_file(
        github,
        start,
        """
on: push
jobs:
  a:
    runs-on: x
    outputs:
      tricky: ${{ steps.s.outputs.tricky }}
      lines: ${{ steps.s.outputs.lines }}
      plain: "fixed ${{ github.run_number }}"
      none: ${{ steps.s.outputs.nothing }}
    steps:
      - id: s
        run: |
          printf '%s\\n' 'tricky=it'"'"'s "q" $(id) ${{ '${{' }} x }} `id`' >> "$GITHUB_OUTPUT"
          printf 'lines<<END\\none\\ntwo\\nEND\\n' >> "$GITHUB_OUTPUT"
  b:
    needs: a
    runs-on: x
    steps:
      - env: {TRICKY: "${{ needs.a.outputs.tricky }}", LINES: "${{ needs.a.outputs.lines }}"}
        run: |
          printf '[%s]\\n' "$TRICKY" "$LINES" "${{ needs.a.outputs.plain }}"
""",
    )
    assert report["conclusion"] == "success", report
    tricky = 'it\'s "q" $(id) ${{ x }} `id`'
    assert report["jobs"][0]["outputs"] == {
        "tricky": tricky,
        "lines": "one\ntwo",
        "plain": "fixed 1",
        "none": "",
    }
    log = "\n".join(report["jobs"][1]["log_tail"])
    assert f"[{tricky}]\n[one\ntwo]\n[fixed 1]" in log


def test_needs_and_matrix_mean_the_same_inside_the_job(github: Any, start: Start) -> None:
    report = run_file(
        github,
        start,
        """
defaults: {run: {shell: python3 {0}}}
on: push
jobs:
  bad: {runs-on: x, steps: [{run: "raise SystemExit(1)"}]}
  idle: {runs-on: x, if: "1 == 2", steps: [{run: "pass"}]}
  check:
    needs: [bad, idle]
    if: always()
    runs-on: x
    strategy: {matrix: {size: [{n: 3}], tag: ["${{ github.ref_name }}"]}}
    steps:
      - run: |
          assert "${{ needs.bad.result }} ${{ needs.idle.result }}" == "failure skipped"
          assert "${{ matrix.size.n }} ${{ matrix.tag }}" == "3 main"
      - if: needs.bad.result == 'success'
        run: raise SystemExit("never")
""".replace("python3 {0}", "'python3 {0}'"),
    )
    assert conclusions(report) == {
        "bad": "failure",
        "idle": "skipped",
        "check (3, main)": "success",
    }, report


def test_a_workspace_stands_for_the_checkout(github: Any, start: Start, tmp_path: Path) -> None:
    workspace = tmp_path / "repository"
    workspace.mkdir()
    subprocess.run(["git", "init", "-q", str(workspace)], check=True)
    (workspace / "data.txt").write_text("from the repository", encoding="utf-8")
    (workspace / ".env").write_text("LEAKED=yes", encoding="utf-8")
    steps = "[{uses: actions/checkout@v4}, {run: 'cat data.txt; echo x > made; echo [$LEAKED]'}]"
    report = run_file(
        github,
        start,
        f"on: push\njobs: {{a: {{runs-on: x, steps: {steps}}}}}",
        workspace=str(workspace),
    )
    assert "from the repository[]" in "".join(report["jobs"][0]["log_tail"]), report
    assert not (workspace / "made").exists()


def hook(path: Path, body: str) -> str:
    path.write_text(f"{body}\n", encoding="utf-8")
    return str(path)


ONE = "on: push\njobs: {a: {runs-on: x, steps: [{run: 'echo ran; env'}]}}"


def test_hooks_get_the_job_and_the_job_gets_no_hooks(
    github: Any, start: Start, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    line = f'echo "$1 $GITHUB_JOB $GITHUB_RUN_ID $GITHUB_REPOSITORY $RUNNER_NAME" >> {told}'
    run_id = github.queue(ONE)
    start(
        github.config("x", name="r-9"),
        ACTIONS_RUNNER_HOOK_JOB_STARTED=hook(tmp_path / "s.sh", f"set started\n{line}"),
        ACTIONS_RUNNER_HOOK_JOB_COMPLETED=hook(tmp_path / "c.sh", f"set completed\n{line}"),
    )
    report = github.until_completed(run_id)
    job = f"a {run_id} octo/fleet r-9"
    assert told.read_text(encoding="utf-8") == f"started {job}\ncompleted {job}\n"
    log = "\n".join(report["jobs"][0]["log_tail"])
    assert "RUNNER_NAME=r-9" in log
    assert "HOOK" not in log
    assert "JITCONFIG" not in log


@pytest.mark.parametrize(("failing", "ran"), [("STARTED", False), ("COMPLETED", True)])
def test_a_failing_hook_fails_the_job(
    github: Any, start: Start, tmp_path: Path, failing: str, ran: bool
) -> None:
    run_id = github.queue(ONE)
    script = hook(tmp_path / "h.sh", "exit 3")
    start(github.config("x"), **{f"ACTIONS_RUNNER_HOOK_JOB_{failing}": script})
    report = github.until_completed(run_id)
    assert report["conclusion"] == "failure"
    assert ("ran" in report["jobs"][0]["log_tail"]) is ran


SLOW = """
on: push
jobs:
  a:
    runs-on: x
    steps:
      - run: |
          echo begun
          sleep 30
      - {if: always(), run: echo cleaned up}
"""


def begun(github: Any, run_id: int) -> bool:
    return "begun" in github.run(run_id)["jobs"][0]["log_tail"]


@pytest.mark.parametrize("cleans_up", [True, False])
def test_a_job_under_way_ends_on_cancel_and_on_sigterm(
    github: Any, start: Start, cleans_up: bool
) -> None:
    """GitHub's cancel leaves `always()` steps their turn; a stopped task has no time for them."""
    run_id = github.queue(SLOW)
    process = start(github.config("x"))
    github.until(lambda: begun(github, run_id))
    if cleans_up:
        github.twin.board.cancel_run(github.twin.board.runs[run_id])
    else:
        process.send_signal(signal.SIGTERM)
    report = github.until_completed(run_id)
    assert report["conclusion"] == "cancelled"
    [job] = report["jobs"]
    assert ("cleaned up" in job["log_tail"]) is cleans_up
    if cleans_up:
        steps = github.call("GET", f"/repos/octo/fleet/actions/jobs/{job['id']}")[1]["steps"]
        ends = [step["conclusion"] for step in steps]
        assert ends == ["success", "cancelled", "success", "success"], steps
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0


CLEANS = """
on: push
jobs:
  j:
    runs-on: [self-hosted, x]
    steps:
      - run: echo "not any more"
      - if: always()
        run: echo "cleaned up, ${{ job.status }}"
      - if: cancelled()
        run: echo "told of it"
"""


class Heard:
    """A session that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.said.append({"type": kind, **fields})


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_job_that_is_cancelled_before_its_first_step_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stopped: bool
) -> None:
    # GitHub evaluates the steps' conditions then; a runner that is shut down evaluates none
    monkeypatch.setenv("RUNNER_HOME", str(tmp_path))
    job = {
        **{"repository": "octo/fleet", "workflow_name": "w", "key": "j", "workspace": ""},
        **{"run_id": 1, "run_number": 1, "run_attempt": 1, "event": "push"},
        "file": CLEANS.replace("[self-hosted, x]", "self-hosted"),
    }
    heard = Heard()
    run = JobRun(job, session=heard, runner_name="r")  # type: ignore[arg-type]
    if is_stopped:
        run.stop()
    else:
        run.cancel()
    run.run()
    lines = [each["line"] for each in heard.said if each["type"] == "log"]
    shown = [line for line in lines if line.startswith(("cleaned", "told", "not any"))]
    assert shown == ([] if is_stopped else ["cleaned up, cancelled", "told of it"])
    assert heard.said[-1]["conclusion"] == "cancelled"


MASKED = """
on: push
jobs:
  j:
    runs-on: [self-hosted, x]
    env: {TOKEN: hunter2-and-more}
    outputs: {told: "${{ steps.s.outputs.told }}", plain: "${{ steps.s.outputs.plain }}"}
    steps:
      - name: before ${{ env.TOKEN }} is masked
        run: echo "::add-mask::$TOKEN"
      - name: use ${{ env.TOKEN }}
        id: s
        run: |
          echo "told=x-$TOKEN" >> "$GITHUB_OUTPUT"
          echo "plain=y" >> "$GITHUB_OUTPUT"
      - run: echo "it is hunter2-and-more"
"""


def test_what_the_log_masks_is_in_no_steps_name_and_no_output(github: Any, start: Start) -> None:
    report = run_file(github, start, MASKED)
    [job] = report["jobs"]
    assert (job["conclusion"], job["outputs"]) == ("success", {"plain": "y"}), report
    steps = github.call("GET", f"/repos/octo/fleet/actions/jobs/{job['id']}")[1]["steps"]
    names = [step["name"] for step in steps]
    assert names[1:-1] == ["before *** is masked", "use ***", 'echo "it is ***"']
    assert "Skip output 'told' since it may contain secret." in job["log_tail"]
    assert "hunter2" not in str(report)


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name a file of the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(encoding="utf-8", errors="replace"))
    return [line for line in found if str(folder) in line]


def test_a_killed_task_fails_its_job_and_leaves_no_process(
    github: Any, start: Start, tmp_path: Path
) -> None:
    run_id = github.queue(SLOW)
    process = start(github.config("x"))
    github.until(lambda: begun(github, run_id))
    assert processes_of(tmp_path)
    kill_group(process)
    report = github.until_completed(run_id)
    assert report["conclusion"] == "failure"
    assert "lost communication" in report["jobs"][0]["log_tail"][-1]
    github.until(lambda: not processes_of(tmp_path))


def test_an_idle_runner_ends_on_sigterm_and_when_it_is_removed(github: Any, start: Start) -> None:
    first, second = start(github.config("x", name="a")), start(github.config("x", name="b"))
    runners = "/repos/octo/fleet/actions/runners"
    github.until(
        lambda: {each["status"] for each in github.call("GET", runners)[1]["runners"]} == {"online"}
    )
    first.send_signal(signal.SIGTERM)
    (found,) = github.call("GET", f"{runners}?name=b")[1]["runners"]
    github.call("DELETE", f"{runners}/{found['id']}")
    assert [first.wait(PATIENCE_SECONDS), second.wait(PATIENCE_SECONDS)] == [0, 0]


def test_a_failing_step_is_given_time_for_its_last_words(
    github: Any, start: Start, tmp_path: Path
) -> None:
    """act stops reading a failed step's output at once; under load one in five lost its end."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    stand_in = bin_folder / "sleep"
    stand_in.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/pauses\n', encoding="utf-8")
    stand_in.chmod(0o755)
    run_id = github.queue(
        "on: push\njobs: {a: {runs-on: x, steps: [{run: 'true'}, {run: 'bash -c false; exit 3'}]}}"
    )
    start(github.config("x"), PATH=f"{bin_folder}:{os.environ['PATH']}")
    report = github.until_completed(run_id)
    assert report["conclusion"] == "failure"
    assert (tmp_path / "pauses").read_text(encoding="utf-8") == "0.2\n"


@pytest.mark.parametrize(
    "config",
    [base64.b64encode(b"{}").decode(), base64.b64encode(b"[1]").decode(), "not base64 at all"],
)
def test_another_servers_configuration_is_idled_on(start: Start, config: str) -> None:
    process = start("", "--jitconfig", config)
    assert process.stderr is not None
    assert "idle until SIGTERM" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0


def test_without_a_configuration_it_says_what_is_missing(start: Start) -> None:
    process = start("")
    _, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "ACTIONS_RUNNER_INPUT_JITCONFIG" in complaints


def test_it_needs_nothing_but_the_standard_library() -> None:
    """A hundred start at once: whatever it imports is paid a hundred times."""
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; before = set(sys.modules); import cdk_runner_fleet.local.emulator.runner; "
            "print(*{name.partition('.')[0] for name in set(sys.modules) - before})",
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"cdk_runner_fleet"}
