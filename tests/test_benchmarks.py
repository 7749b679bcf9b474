"""Each benchmark's smallest size, as documented, in a tree that has no tests in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cost

from .test_boundaries import imports, sources

ROOT = Path(__file__).parent.parent
NEEDED = ("benchmarks", "cdk_runner_fleet", "functions", "runner_image", "statemachines", "testbed")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for name in NEEDED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def take(tree: Path, *command: str) -> str:
    """Run a benchmark as the documents say; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        # what pytest finds the functions by is not there for who takes a figure
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("command", "figure"),
    [
        (("benchmarks.entrypoint_start", "--rounds", "1"), "looked for"),
        (("benchmarks.function_imports", "--rounds", "1"), "runner_api"),
        (("benchmarks.webhook_start", "--rounds", "1", "--alone"), "receive_webhook"),
        (("benchmarks.library", "--rounds", "1", "--alone"), "nag findings    │ 0 "),
        (("benchmarks.fleet", "--jobs", "1"), "ready after"),
        (("benchmarks.soak", "--jobs", "1", "--dropped", "0.1"), "jobs lost"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_it_gives_its_figures(tree: Path, command: tuple[str, ...], figure: str) -> None:
    assert figure in take(tree, *command)


@pytest.fixture(scope="module")
def job() -> cost.Job:
    return cost.count_job(2)


def test_a_job_has_eight_transitions(job: cost.Job) -> None:
    assert job.used["state transitions"] == 8


def test_what_dynamodb_writes_of_a_job(job: cost.Job) -> None:
    assert cost.of_minutes(job.used, 10)["write units"] <= 40
    # put and taken away, and nothing in between
    assert job.writes["runners/live-index"] == job.writes["runners/waiting-index"] == 2


@pytest.mark.parametrize("runners", cost.RUNNERS)
def test_what_admission_writes_of_a_job_whatever_runs(job: cost.Job, runners: int) -> None:
    writes, _ = job.admission[runners]
    assert 0 < writes <= 6


@pytest.mark.parametrize(("minutes", "most"), [(10, 0.26), (35, 0.32)])
def test_what_a_thousand_jobs_cost(job: cost.Job, minutes: int, most: float) -> None:
    assert cost.price(cost.of_minutes(job.used, minutes)) <= most


def test_all_of_them_are_taken_at_once() -> None:
    own = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__", "__main__"}
    taken = {name.rpartition(".")[2] for name in imports(ROOT / "benchmarks" / "__main__.py")}
    assert own - {"evidence", "processes"} <= taken


@pytest.mark.parametrize("package", ["benchmarks", "testbed"])
def test_they_import_no_test(package: str) -> None:
    # an editable installation has the whole checkout on its path: the copy above would find them
    for path in sources(ROOT / package):
        assert not [name for name in imports(path) if name.split(".")[0] == "tests"], path.name
