"""The built wheel in a foreign app: installed in a fresh environment, synthesized elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

FOREIGN_APP = """
import aws_cdk as cdk
from cdk_runner_fleet import RunnerClass, RunnerFleet, RunnerImage

app = cdk.App(outdir="out", analytics_reporting=False)
stack = cdk.Stack(app, "Theirs")
fleet = RunnerFleet(
    stack,
    "Runners",
    github_repo="octo-org/octo-repo",
    runner_classes={"small": RunnerClass(cpu=256, memory=512)},
    runner_image=RunnerImage(stack, "Image", dockerfile_directory="image"),
)
cdk.aws_s3.Bucket(stack, "Cache").grant_read(fleet)
app.synth()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # through the source distribution, as it would be published
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
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


def test_a_foreign_app_synthesizes_with_it(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    # compiled is what the app imports, when it does: all of aws-cdk-lib takes half a minute
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, wheel], check=True)
    app = tmp_path / "theirs"
    app.mkdir()
    (app / "app.py").write_text(FOREIGN_APP)
    # a folder of theirs with the same name must not be taken for ours
    (app / "functions").mkdir()
    (app / "image").mkdir()
    (app / "image" / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n")
    installed = sorted(environment.rglob("_bundled/**/*"))
    # as it is where the library belongs to another user; root may write all the same
    for path in installed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    subprocess.run([python, "app.py"], cwd=app, check=True, capture_output=True)
    assert sorted(environment.rglob("_bundled/**/*")) == installed
    template = json.loads((app / "out" / "Theirs.template.json").read_text())
    kinds = [resource["Type"] for resource in template["Resources"].values()]
    assert kinds.count("AWS::StepFunctions::StateMachine") == 1
    assets = json.loads((app / "out" / "Theirs.assets.json").read_text())["files"]
    packaged = [a["source"]["path"] for a in assets.values() if a["source"]["packaging"] == "zip"]
    folders = [{p.name for p in (app / "out" / path).iterdir()} for path in packaged]
    assert [folder for folder in folders if "receive_webhook.py" in folder]
    [recipe] = [folder for folder in folders if "buildspec.yml" in folder]
    assert {"Dockerfile", "build_image.sh", "docker-bake.hcl", "recipe.json", "own"} <= recipe
