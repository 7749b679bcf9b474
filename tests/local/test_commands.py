"""`runner-fleet local up` and `local run`, as other programs use them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet.cli import main
from tests.waiting import PATIENCE_SECONDS

from .session_helpers import ONE_JOB, ROOT, left_behind, start


def test_up_says_one_line_and_ends_at_a_signal(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    up = start(
        "local", "up", "--webhook-secret-file", "secret", "-c", "github_repo=a/b", folder=tmp_path
    )
    assert up.stdout is not None
    access = json.loads(up.stdout.readline())
    assert set(access) == {
        *("webhook_url", "aws_endpoint_url", "region", "github_url", "webhook_secret", "outputs"),
        *("aws_access_key_id", "aws_secret_access_key", "control_token"),
    }
    assert access["webhook_secret"] == "s3cret"
    assert access["outputs"]["WebhookUrl"] == access["webhook_url"]
    assert left_behind(tmp_path) != []
    up.send_signal(signal.SIGINT)
    up.send_signal(signal.SIGINT)  # somebody impatient
    rest, _ = up.communicate(timeout=PATIENCE_SECONDS)
    assert (up.returncode, rest) == (0, "")
    assert left_behind(tmp_path) == []


KEPT_UP = """
import signal, threading
from unittest.mock import MagicMock
from cdk_runner_fleet.cli import session

# a shell lets what it starts in the background ignore this signal, and with it all of these tests
signal.signal(signal.SIGINT, signal.default_int_handler)
# as if it came right before the wait: Python hears of it, but the wait is not disturbed
elsewhere = threading.Timer(0.5, lambda: signal.pthread_kill(elsewhere.ident, signal.SIGINT))
elsewhere.start()
session.print_json = lambda access, indent: print("ready", flush=True)
session.keep_up(MagicMock())
"""


def test_up_hears_a_signal_that_does_not_disturb_its_wait() -> None:
    up = subprocess.run(
        [sys.executable, "-c", KEPT_UP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert up.stdout == "ready\n"
    assert up.stderr.splitlines()[-1] == "KeyboardInterrupt"


@pytest.mark.parametrize("part", ["local.synth", "local.emulator"])
def test_up_is_stopped_while_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # nothing kept: there is a synth
    up = start("local", "up", folder=tmp_path)
    while not any(part in each for each in left_behind(tmp_path)):
        assert up.poll() is None
        time.sleep(0.02)
    up.terminate()
    out, _ = up.communicate(timeout=PATIENCE_SECONDS)
    assert (up.returncode, out) == (0, "")
    assert left_behind(tmp_path) == []


def test_up_takes_another_server_for_github(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["local", "up", "--github-url", "ftp://elsewhere"])
    assert ended.value.code == 2
    assert "ftp://elsewhere" in capsys.readouterr().err


def _run(folder: Path, workflow: str) -> tuple[int, str, dict[str, Any]]:
    (folder / "workflow.yml").write_text(workflow)
    run = start("local", "run", "workflow.yml", "--report", "report.json", folder=folder)
    out, errors = run.communicate(timeout=2 * PATIENCE_SECONDS)
    assert "Traceback" not in errors
    assert left_behind(folder) == []
    return run.returncode, out, json.loads((folder / "report.json").read_text())


def test_run_reports_a_success(tmp_path: Path) -> None:
    status, out, report = _run(tmp_path, ONE_JOB)
    assert status == 0, out
    (job,) = report["jobs"]
    assert job["name"] == "greet"
    assert job["labels"] == ["self-hosted"]
    assert job["conclusion"] == "success"
    assert job["error"] is None
    assert job["class_name"] == "small"
    assert job["cost_usd"] > 0
    assert set(job["phases"]) == {"start", "image", "wait", "run", "stop"}
    assert job["phases"]["start"] > 0
    assert job["phases"]["run"] > 0
    assert job["runner_id"] in out
    for state in ("RecordRunner", "WaitForRunner", "WaitForJob", "RunJob", "RecordOffline"):
        assert f"{job['runner_id']}  {state}" in out


FAILURES = """
on: push
jobs:
  breaks:
    runs-on: [self-hosted]
    steps:
      - name: break things
        run: echo about to break && exit 3
  depends:
    needs: breaks
    runs-on: [self-hosted]
    steps:
      - run: "true"
  refused:
    runs-on: [self-hosted, "class:gigantic"]
    steps:
      - run: "true"
  glued:
    runs-on: "self-hosted, linux"
    steps:
      - run: "true"
  elsewhere:
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""


def test_run_reports_what_failed_and_what_can_never_run(tmp_path: Path) -> None:
    status, out, report = _run(tmp_path, FAILURES)
    assert status == 1
    assert report["conclusion"] == "failure"
    jobs = {job["name"]: job for job in report["jobs"]}
    assert {name: job["conclusion"] for name, job in jobs.items()} == {
        "breaks": "failure",
        "depends": "skipped",
        "refused": "failure",
        "glued": "failure",
        "elsewhere": "failure",
    }
    assert jobs["breaks"]["error"] == "step 'break things' failed"
    assert "about to break" in out
    assert "gigantic" in jobs["refused"]["error"]
    assert "Job.CannotBeServed" in jobs["refused"]["error"]
    assert jobs["refused"]["runner_id"]
    assert "write runs-on as a list such as [self-hosted, linux]" in jobs["glued"]["error"]
    assert jobs["elsewhere"]["error"] == (
        'the fleet does not serve runs-on: ["ubuntu-latest"]: the job has no self-hosted label'
    )
    assert jobs["elsewhere"]["runner_id"] is None
    assert jobs["depends"]["error"] is None


def test_run_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "workflow.yml").write_text(ONE_JOB.replace("echo hello", "sleep 120"))
    run = start("local", "run", "workflow.yml", folder=tmp_path)
    assert run.stdout is not None
    for line in run.stdout:
        if "RunJob" in line:
            break
    run.send_signal(signal.SIGINT)
    try:
        run.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        run.kill()
        raise
    assert run.returncode == 130
    assert left_behind(tmp_path) == []
