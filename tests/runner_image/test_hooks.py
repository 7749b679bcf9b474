"""The job hooks: what they report, and that nothing makes them fail the user's job."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.waiting import PATIENCE_SECONDS

from .conftest import IMAGE, Fleet, Machine

JOB = {
    "GITHUB_JOB": "test",
    "GITHUB_RUN_ID": "16000000001",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_REPOSITORY": "octo/fleet",
    "GITHUB_WORKFLOW": "build",
    "RUNNER_NAME": "fleet-7-1",
    "RUNNER_VERSION": "2.338.0",
}


def hook(machine: Machine, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # as actions/runner does it
        ["bash", "-e", str(IMAGE / name)],
        env=machine.environment(**{**JOB, **environment}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("event", ["job_started", "job_completed"])
def test_a_hook_reports_its_event(fleet: Fleet, machine: Machine, event: str) -> None:
    machine.credentials(fleet.url)
    assert hook(machine, f"{event}.sh").returncode == 0
    (report,) = fleet.requests
    assert report["path"] == "/runners/r-1/events"
    assert report["headers"]["Authorization"] == "Bearer ev"
    assert json.loads(report["body"]) == {
        "event": event,
        "job_name": "test",
        "run_id": 16000000001,
        "run_attempt": 2,
        "repository": "octo/fleet",
        "workflow": "build",
        "runner_name": "fleet-7-1",
        "runner_version": "2.338.0",
    }


@pytest.mark.parametrize(
    "name", ['a "quoted\\" name', "two\nlines\tand a tab", "@/etc/passwd", "ü ✓"]
)
def test_any_workflow_name_is_sent_as_text(fleet: Fleet, machine: Machine, name: str) -> None:
    machine.credentials(fleet.url)
    hook(
        machine,
        "job_started.sh",
        GITHUB_WORKFLOW=name,
        GITHUB_RUN_ID="1); x",
        GITHUB_RUN_ATTEMPT="007",
        RUNNER_NAME=name,
    )
    report = json.loads(fleet.requests[0]["body"])
    assert report["runner_name"] == report["workflow"]
    assert report["run_attempt"] is None  # JSON has no number with a zero in front
    assert report["workflow"] == name.replace("\n", " ").replace("\t", " ")
    assert report["run_id"] is None


@pytest.mark.parametrize("answer", [500, 403, 0])
def test_a_report_that_is_refused_does_not_fail_the_job(
    fleet: Fleet, machine: Machine, answer: int
) -> None:
    machine.credentials(fleet.url)
    fleet.answers = [(answer, {})]
    assert hook(machine, "job_started.sh").returncode == 0
    assert len(fleet.requests) == 1


def test_a_fleet_that_is_away_does_not_fail_the_job(machine: Machine) -> None:
    machine.credentials("http://127.0.0.1:9")
    done = hook(machine, "job_completed.sh")
    assert done.returncode == 0
    assert "could not report job_completed; the job goes on" in done.stderr


def test_without_credentials_nothing_is_sent(machine: Machine) -> None:
    machine.put("curl", 'touch "$HOME/called"')
    assert hook(machine, "job_started.sh").returncode == 0
    assert not (machine.home / "called").exists()


def test_a_report_takes_five_seconds_at_most(machine: Machine) -> None:
    machine.credentials("http://127.0.0.1:9")
    machine.put("curl", 'printf "%s\\n" "$@" > "$HOME/arguments"')
    hook(machine, "job_started.sh")
    arguments = (machine.home / "arguments").read_text(encoding="utf-8").split("\n")
    assert arguments[arguments.index("--max-time") + 1] == "5"


def test_the_image_has_every_script_that_another_starts() -> None:
    dockerfile = (IMAGE / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (copied,) = [
        line.split()[1:-1]
        for line in dockerfile.splitlines()
        if line.startswith("COPY") and line.split()[-1] == "/opt/fleet/"
    ]
    mode, *files = copied
    assert mode == "--chmod=0755"
    texts = [(IMAGE / name).read_text(encoding="utf-8") for name in files]
    needed = {name for text in texts for name in re.findall(r"[a-z_]+\.sh", text)}
    assert needed - set(files) == {"run.sh"}  # comes with actions/runner
    assert "entrypoint.sh" in files


def test_the_scripts_that_the_image_names_are_there() -> None:
    named = re.findall(r"/opt/fleet/([\w.]+)", (IMAGE / "Dockerfile").read_text(encoding="utf-8"))
    assert {"entrypoint.sh", "job_started.sh", "job_completed.sh"} <= set(named)
    assert all((IMAGE / name).is_file() for name in named)
