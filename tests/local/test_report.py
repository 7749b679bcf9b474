"""What a run's report says of its jobs, and of all runners that were started for it."""

from __future__ import annotations

from typing import Any

import pytest

from cdk_runner_fleet.local.emulator.runner import JobRun
from cdk_runner_fleet.local.report import run_report
from cdk_runner_fleet.local.watch import JobState, _last_line


def test_a_run_costs_what_its_runners_cost_and_not_its_jobs() -> None:
    row = {"runner_id": "r1", "status": "OFFLINE", "cost_usd": "0.25"}
    jobs = [
        JobState(id=1, name="a", status="completed", conclusion="success", row=row),
        JobState(id=2, name="b", status="completed", conclusion="skipped"),
    ]
    idle = {"runner_id": "r2", "status": "OFFLINE", "cost_usd": "0.5"}
    report = run_report(
        workflow="ci.yml", seconds=1.0, jobs=jobs, runners=[row, idle, {"runner_id": "r3"}]
    )
    assert report["conclusion"] == "success"
    assert report["cost_usd"] == 0.75
    assert [job["cost_usd"] for job in report["jobs"]] == [0.25, None]


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (["the cause", "    ✅  Success - Complete job", ""], "the cause"),
        (["    ✅  Success - Complete job"], None),
        ([], None),
    ],
)
def test_what_went_well_is_no_error(log: list[str], line: str | None) -> None:
    assert _last_line(log) == line


class Heard:
    """A session that keeps what is sent."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.lines.append(fields["line"])


def test_acts_complaint_of_a_folder_without_git_is_in_no_log() -> None:
    heard = Heard()
    run = JobRun({"key": "a"}, session=heard, runner_name="r")  # type: ignore[arg-type]
    for message in ("path /x not located inside a git repository", "a real error"):
        run._read(f'{{"jobID": "a", "level": "error", "msg": "{message}"}}')
    assert heard.lines == ["a real error"]
