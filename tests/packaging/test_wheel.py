"""The built wheel in a foreign app: installed in a fresh environment, synthesized elsewhere.

Everything else runs with the aws-cdk-lib that is pinned for the tools, the newest that is known. So
`make test` installs it beside the oldest that is allowed; `make test-deep` also beside one in the
middle and whatever is newest on the day, and synthesizes the examples with each of these.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet import cli
from cdk_runner_fleet.local.node import find_node
from tests.rotation import DEEP

ROOT = Path(__file__).parent.parent.parent
CONSTRUCTS = ROOT / "tests" / "constructs"
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/app.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

OLDEST = tuple(re.sub(r">=([\d.]+),.*", r"==\1", one) for one in PROJECT["dependencies"])
MIDDLE = ("aws-cdk-lib==2.257.0",)  # has Validations, which refuses an ARN in a finding's id
NEWEST = ()
BESIDE = {"oldest": OLDEST, **({"middle": MIDDLE, "newest": NEWEST} if DEEP else {})}

FOREIGN_APP = """
import aws_cdk as cdk
import fleets
from cdk_runner_fleet import GitHub, RunnerClass, RunnerFleet, RunnerImage

app = cdk.App(outdir="out", analytics_reporting=False)
stack = cdk.Stack(app, "Theirs")
fleet = RunnerFleet(
    stack,
    "Runners",
    github=GitHub.repository("octo-org/octo-repo"),
    classes={"small": RunnerClass(cpu=256, memory=512)},
    image=RunnerImage.built(dockerfile_directory="image"),
)
cdk.aws_s3.Bucket(stack, "Cache").grant_read(fleet)
app.synth()
for make in (fleets.minimal, fleets.everything):
    app = cdk.App(outdir=make.__name__, analytics_reporting=False)
    make(cdk.Stack(app, "Test"))
    app.synth()
"""
EACH_EXAMPLE = """
import functools, json, os, pathlib, runpy, sys
import aws_cdk as cdk
import cdk_runner_fleet

print(cdk_runner_fleet.__file__)
make = cdk.App
for folder in map(pathlib.Path, sys.argv[1:]):
    settings = json.loads((folder / "cdk.json").read_text())
    assert settings["app"] == "python3 app.py", settings
    # what the command line tells an app, which Node would read of its own environment alone
    outdir = str(folder / "cdk.out")
    cdk.App = functools.partial(make, outdir=outdir, context=settings["context"])
    os.chdir(folder)
    runpy.run_path("app.py", run_name="__main__")
"""
"""What `cdk synth` does in each folder; one process, for most of a synthesis is jsii's start."""


def ran(*command: str | Path, **settings: Any) -> str:
    """What a command says; it fails the test with all that it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)
    if done.returncode:
        pytest.fail(f"{command[:3]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def synthesize_the_examples(
    python: str | Path,
    environment: Path,
    folder: Path,
    *,
    examples: Sequence[Path] = EXAMPLES,
    **settings: Any,
) -> None:
    """Synthesize each in a copy, with the library that is installed in an environment."""
    assert examples
    copies = [shutil.copytree(example, folder / example.name) for example in examples]
    imported = Path(ran(python, "-c", EACH_EXAMPLE, *copies, cwd=folder, **settings).strip())
    assert imported.is_relative_to(environment)
    for copy in copies:
        assert list(copy.glob("cdk.out/*.template.json")), copy.name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # through the source distribution, as it would be published
    ran(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_carries_what_the_constructs_deploy(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("functions", "statemachines", "runner_image"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"cdk_runner_fleet/_bundled/{path.relative_to(ROOT).as_posix()}" in names
    assert "cdk_runner_fleet/py.typed" in names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_a_foreign_app_synthesizes_with_it(
    wheel: Path, beside: tuple[str, ...], tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    # compiled is what the app imports, when it does: all of aws-cdk-lib takes half a minute
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    ran(*pip, wheel, *beside)
    app = tmp_path / "theirs"
    app.mkdir()
    (app / "app.py").write_text(FOREIGN_APP)
    shutil.copy(CONSTRUCTS / "fleets.py", app)
    shutil.copytree(CONSTRUCTS / "own_image", app / "own_image")
    # a folder of theirs with the same name must not be taken for ours
    (app / "functions").mkdir()
    (app / "image").mkdir()
    (app / "image" / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n")
    installed = sorted(environment.rglob("_bundled/**/*"))
    # as it is where the library belongs to another user; root may write all the same
    for path in installed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    ran(python, "app.py", cwd=app)
    assert sorted(environment.rglob("_bundled/**/*")) == installed
    template = json.loads((app / "out" / "Theirs.template.json").read_text())
    kinds = [resource["Type"] for resource in template["Resources"].values()]
    assert kinds.count("AWS::StepFunctions::StateMachine") == 1
    assets = json.loads((app / "out" / "Theirs.assets.json").read_text())["files"]
    packaged = [a["source"]["path"] for a in assets.values() if a["source"]["packaging"] == "zip"]
    folders = [{p.name for p in (app / "out" / path).iterdir()} for path in packaged]
    assert [folder for folder in folders if "receive_webhook.py" in folder]
    [recipe] = [folder for folder in folders if "buildspec.yml" in folder]
    assert {"Dockerfile", "build_image.sh", "docker-bake.hcl", "recipes"} <= recipe
    listed = json.loads((CONSTRUCTS / "logical_ids.json").read_text(encoding="utf-8"))
    for name, by_type in listed.items():
        resources = json.loads((app / name / "Test.template.json").read_text())["Resources"]
        there = {(one["Type"], logical_id) for logical_id, one in resources.items()}
        assert {(kind, one) for kind, ids in by_type.items() for one in ids} <= there

    if DEEP:
        # the oldest has no Validations, with which this one acknowledges a rule
        newer = {"hardened"} if beside is OLDEST else set()
        examples = [folder for folder in EXAMPLES if folder.name not in newer]
        synthesize_the_examples(python, environment, tmp_path, examples=examples)

    # the constructs bring none of the command line's libraries, which could be others than theirs
    command = environment / "bin" / "runner-fleet"
    told = subprocess.run([command, "--help"], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert told.stderr == (
        "boto3, rich, typer not installed: "
        "the command line needs `pip install 'cdk-runner-fleet[cli]'`\n"
    )


def test_each_example_synthesizes_with_the_newest(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    ran(*pip, "--target", installed, wheel)
    environment = {
        **os.environ,
        "CDK_VALIDATION": "false",  # a third of the time, and of the constructs, not of the wheel
        "JSII_NODE": find_node(),
        "PYTHONPATH": str(installed),
    }
    synthesize_the_examples(sys.executable, installed, tmp_path, env=environment)


def test_examples_have_the_flags_that_the_app_has() -> None:
    flags = {
        name: repr(value)
        for name, value in json.loads((ROOT / "cdk.json").read_text())["context"].items()
        if name.startswith("@")
    }
    assert flags
    for folder in EXAMPLES:
        context = json.loads((folder / "cdk.json").read_text())["context"]
        assert flags.items() <= {name: repr(value) for name, value in context.items()}.items()


def test_the_extra_of_the_command_line_is_what_it_imports() -> None:
    extra = {re.split("[>=]", one)[0] for one in PROJECT["optional-dependencies"]["cli"]}
    assert extra == set(cli._EXTRA)
