"""The job hooks: what they report, and that nothing makes them fail the user's job."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import IMAGE, Fleet, Machine

JOB = {
    "GITHUB_JOB": "test",
    "GITHUB_RUN_ID": "16000000001",
    "GITHUB_REPOSITORY": "octo/fleet",
    "GITHUB_WORKFLOW": "build",
}


def hook(machine: Machine, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # as actions/runner does it
        ["bash", "-e", str(IMAGE / name)],
        env=machine.environment(**{**JOB, **environment}),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def credentials(machine: Machine, url: str) -> None:
    (machine.home / ".fleet-events").write_text(
        f'url = "{url}/runners/r-1/events"\nheader = "Authorization: Bearer ev"\n', encoding="utf-8"
    )


@pytest.mark.parametrize("event", ["job_started", "job_completed"])
def test_a_hook_reports_its_event(fleet: Fleet, machine: Machine, event: str) -> None:
    credentials(machine, fleet.url)
    assert hook(machine, f"{event}.sh").returncode == 0
    (report,) = fleet.requests
    assert report["path"] == "/runners/r-1/events"
    assert report["headers"]["Authorization"] == "Bearer ev"
    assert json.loads(report["body"]) == {
        "event": event,
        "job_name": "test",
        "run_id": 16000000001,
        "repository": "octo/fleet",
        "workflow": "build",
    }


@pytest.mark.parametrize(
    "name", ['a "quoted\\" name', "two\nlines\tand a tab", "@/etc/passwd", "ü ✓"]
)
def test_any_workflow_name_is_sent_as_text(fleet: Fleet, machine: Machine, name: str) -> None:
    credentials(machine, fleet.url)
    hook(machine, "job_started.sh", GITHUB_WORKFLOW=name, GITHUB_RUN_ID="1); x")
    report = json.loads(fleet.requests[0]["body"])
    assert report["workflow"] == name.replace("\n", " ").replace("\t", " ")
    assert report["run_id"] is None


@pytest.mark.parametrize("answer", [500, 403, 0])
def test_a_report_that_is_refused_does_not_fail_the_job(
    fleet: Fleet, machine: Machine, answer: int
) -> None:
    credentials(machine, fleet.url)
    fleet.answers = [(answer, {})]
    assert hook(machine, "job_started.sh").returncode == 0
    assert len(fleet.requests) == 1


def test_a_fleet_that_is_away_does_not_fail_the_job(machine: Machine) -> None:
    credentials(machine, "http://127.0.0.1:9")
    done = hook(machine, "job_completed.sh")
    assert done.returncode == 0
    assert "could not report job_completed; the job goes on" in done.stderr


def test_without_credentials_nothing_is_sent(machine: Machine) -> None:
    machine.put("curl", 'touch "$HOME/called"')
    assert hook(machine, "job_started.sh").returncode == 0
    assert not (machine.home / "called").exists()


def test_a_report_takes_five_seconds_at_most(machine: Machine) -> None:
    credentials(machine, "http://127.0.0.1:9")
    machine.put("curl", 'printf "%s\\n" "$@" > "$HOME/arguments"')
    hook(machine, "job_started.sh")
    arguments = (machine.home / "arguments").read_text(encoding="utf-8").split("\n")
    assert arguments[arguments.index("--max-time") + 1] == "5"


def test_the_image_has_every_file_it_names() -> None:
    dockerfile = (IMAGE / "Dockerfile").read_text(encoding="utf-8")
    (copied,) = [line for line in dockerfile.splitlines() if line.startswith("COPY")]
    *files, target = copied.split()[2:]
    assert target == "/opt/fleet/"
    assert sorted(files) == sorted(path.name for path in IMAGE.glob("*.sh"))
    for path in [word.strip('"[]\\') for word in dockerfile.split() if "/opt/fleet/" in word]:
        *_, name = path.partition("=")[2].rpartition("/") if "=" in path else path.rpartition("/")
        assert name == "" or (IMAGE / name).is_file()
        assert Path(path.partition("=")[2] or path).parent.name in ("fleet", "opt")
