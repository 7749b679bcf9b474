"""What `--images buildah` needs of the machine, and the stand-in that images are built with."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path

import pytest

from cdk_runner_fleet.cli import main
from cdk_runner_fleet.local.emulator import buildah, stand_in
from cdk_runner_fleet.local.errors import SettingsError
from cdk_runner_fleet.local.fleet import LocalFleet


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_tools")
def test_missing_tools_are_named_with_their_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="apt-get install buildah"):
        LocalFleet(images="buildah")
    with pytest.raises(SystemExit) as ended:
        main(["local", "up", "--images", "buildah"])
    assert ended.value.code == 2
    assert "buildah" in capsys.readouterr().err


def test_an_unknown_builder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["local", "up", "--images", "docker"])
    assert ended.value.code == 2
    assert "docker" in capsys.readouterr().err


def test_the_stand_ins_archive_is_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "1.tar.gz", tmp_path / "2.tar.gz"
    sha256 = stand_in.archive(first, version="2.338.0")
    assert sha256 == stand_in.archive(second, version="2.338.0")
    assert sha256 == hashlib.sha256(second.read_bytes()).hexdigest()
    assert sha256 != stand_in.archive(second, version="2.339.0")
    with tarfile.open(first) as tar:
        tar.extractall(tmp_path, filter="data")
    said = subprocess.run(
        [tmp_path / "bin" / "Runner.Listener", "--version"], capture_output=True, check=True
    )
    assert said.stdout == b"2.338.0\n"


def test_the_kit_runs_without_the_machines_python(tmp_path: Path) -> None:
    # the places that a container sees it at, put where this machine has them
    kit = stand_in.Kit(tmp_path / "kit")
    (kit.folder / "lib" / Path(kit.LIBRARY).name).rmdir()
    (kit.folder / "lib" / Path(kit.LIBRARY).name).symlink_to(kit.standard_library)
    run = kit.folder / "run.sh"
    run.write_text(run.read_text().replace(kit.PLACE, str(kit.folder)))
    done = subprocess.run(["/bin/bash", run], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no JIT configuration")


def test_the_tag_is_made_as_the_build_in_the_account_makes_it() -> None:
    variables = {
        "BASE_IMAGE": "public.ecr.aws/docker/library/ubuntu:24.04",
        "IMAGE_TAG": "ubuntu-24.04-0123456789ab",
        "RECIPE_DIGEST": "r",
        "RUNNER_VERSION": "2.338.0",
        "ARCHITECTURE": "ARM64",
    }
    digest = f"sha256:{'0' * 64}"
    made = subprocess.run(
        [
            *("bash", "-c", r'printf "%s\n%s\n%s\n%s\n%s" "$@" | sha256sum', "-"),
            *(variables["BASE_IMAGE"], digest, "r", "2.338.0", "ARM64"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert buildah.content_tag(variables, digest) == f"ubuntu-24.04-{made[:24]}"
