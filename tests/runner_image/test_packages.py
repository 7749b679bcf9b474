"""`build/packages.sh`: which packages of the deployer's choice reach apt-get."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from cdk_runner_fleet.values import runner_image
from tests.waiting import PATIENCE_SECONDS

from .conftest import IMAGE, Machine

SCRIPT = IMAGE / "build" / "packages.sh"
PACKAGES = ["libpq-dev", "g++", "jq=1.7.1-3", "r-base=4.3.1-1jammyCRAN", "git=1:2.39.5-0+deb12u2~x"]
NO_PACKAGES = ["--help", "-o=x", "x;id", "JQ", "jq=", "jq=1=2", "jq=1_2", "jq:i386", "j", "=1"]


def install(machine: Machine, packages: str) -> subprocess.CompletedProcess[str]:
    machine.put("apt-get", 'echo "apt-get $*"')
    machine.put("rm", "exit 0")
    bash = str(shutil.which("bash"))
    (machine.bin / "bash").symlink_to(bash)
    # nothing else is on PATH: this is not to touch the machine's own packages
    return subprocess.run(
        [bash, str(SCRIPT)],
        env={"PATH": str(machine.bin), "APT_PACKAGES": packages},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_the_build_and_the_construct_have_one_pattern() -> None:
    pattern = runner_image._APT_PACKAGE.pattern
    assert f"readonly APT_PACKAGE='{pattern}'\n" in SCRIPT.read_text(encoding="utf-8")


def test_packages_and_their_versions_reach_apt_get(machine: Machine) -> None:
    done = install(machine, "  ".join(PACKAGES))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(" ".join(PACKAGES))


@pytest.mark.parametrize("package", NO_PACKAGES)
def test_what_is_no_package_reaches_no_command(machine: Machine, package: str) -> None:
    assert not runner_image._APT_PACKAGE.fullmatch(package)
    done = install(machine, f"jq {package}")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"APT_PACKAGES has '{package}', which is no package" in done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_the_construct_takes_what_the_build_takes(package: str) -> None:
    assert runner_image._APT_PACKAGE.fullmatch(package)
