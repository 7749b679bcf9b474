"""`entrypoint.sh --smoke`: an image that is good, and what is said of one that is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_SECONDS

from .conftest import Machine, can, not_here

AS_USER = (str(shutil.which("unshare")), "--user", "--map-user={}")  # nobody has to be root for it
LISTENER = '[[ "$*" == --version ]] && echo {}'


@pytest.fixture
def image(machine: Machine) -> Machine:
    """A machine with all that a good image has and nothing else on its PATH."""
    machine.copy_of_the_image()
    (machine.home / "bin").mkdir()
    machine.script(machine.home / "bin" / "Runner.Listener", LISTENER.format("2.338.0"))
    for tool in ("bash", "date", "sha256sum", "sleep", "tr"):
        (machine.bin / tool).symlink_to(str(shutil.which(tool)))
    for tool in ("curl", "git", "tar"):
        machine.put(tool, "exit 0")
    machine.put("sudo", '[[ "$*" == "-n true" ]]')
    return machine


def smoke(machine: Machine, *, user: int = 1000, **environment: str) -> tuple[int, str, list[str]]:
    """Status, output and complaints."""
    become = [word.format(user) for word in AS_USER] if user != os.getuid() else []
    if become and not can(*become):
        not_here("this machine allows no user namespace (unshare --user)")
    known = {"RUNNER_VERSION": "2.338.0", "RUNNER_CAPABILITIES": "Shell,python"}
    done = subprocess.run(
        [*become, "bash", str(machine.home.parent / "image" / "entrypoint.sh"), "--smoke"],
        env={**machine.environment(**{**known, **environment}), "PATH": str(machine.bin)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_a_good_image_says_what_it_is(image: Machine) -> None:
    assert smoke(image) == (0, "runner 2.338.0\ncapabilities shell,python\n", [])


def test_it_needs_no_fleet(image: Machine) -> None:
    image.put("curl", 'touch "$HOME/called"')
    assert smoke(image)[0] == 0
    assert not (image.home / "called").exists()
    assert not (image.home / ".fleet-events").exists()


def test_what_is_not_declared_is_looked_for(image: Machine) -> None:
    image.put("node", "exit 1")
    assert smoke(image, RUNNER_CAPABILITIES="")[1].endswith("capabilities shell,node\n")


Fault = Callable[[Machine], object]


def _another_sha256sum(machine: Machine) -> None:
    (machine.bin / "sha256sum").unlink()
    machine.put("sha256sum", "printf '%064d  -' 1")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (lambda m: (m.bin / "git").unlink(), "git is not on PATH"),
        (lambda m: (m.bin / "curl").unlink(), "curl is not on PATH"),
        (lambda m: (m.bin / "tar").unlink(), "tar is not on PATH"),
        (lambda m: (m.bin / "date").unlink(), "date is not on PATH"),
        (lambda m: (m.bin / "sha256sum").unlink(), "sha256sum is not on PATH"),
        (_another_sha256sum, "no claim can be signed here"),
        (lambda m: m.put("sudo", "exit 1"), "'sudo -n true' fails: the user needs a NOPASSWD line"),
        (lambda m: (m.home / "run.sh").unlink(), "run.sh is missing or not executable"),
        (lambda m: (m.home / "run.sh").chmod(0o644), "run.sh is missing or not executable"),
        (lambda m: _script(m, "job_started.sh").unlink(), "job_started.sh is missing"),
        (lambda m: _script(m, "job_completed.sh").chmod(0o644), "job_completed.sh is missing or"),
        (lambda m: _script(m, "report_event.sh").unlink(), "report_event.sh is missing"),
        (lambda m: _script(m, "heartbeat.sh").unlink(), "heartbeat.sh is missing"),
        (lambda m: _script(m, "capabilities.sh").unlink(), "capabilities.sh is missing"),
        (lambda m: m.home.chmod(0o555), "the user cannot write to RUNNER_HOME"),
        (
            lambda m: _listener(m, LISTENER.format("2.337.0")),
            "Runner.Listener is version '2.337.0', and RUNNER_VERSION says '2.338.0'",
        ),
        (
            lambda m: _listener(m, "echo no libicu >&2; exit 134"),
            "Runner.Listener does not start: no libicu",
        ),
        (lambda m: _listener(m, "exit 1"), "Runner.Listener does not start: it says nothing"),
    ],
)
def test_a_fault_is_named(image: Machine, fault: Fault, why: str) -> None:
    fault(image)
    status, _, (complaint,) = smoke(image)
    assert status == 1
    assert complaint.startswith("fleet: smoke: ")
    assert why in complaint


def test_every_fault_is_named(image: Machine) -> None:
    (image.bin / "git").unlink()
    (image.home / "run.sh").unlink()
    status, _, complaints = smoke(image, RUNNER_VERSION="")
    assert status == 1
    assert len(complaints) == 3


@pytest.mark.parametrize("user", [0, 1001])
def test_another_user_than_1000_is_a_fault(image: Machine, user: int) -> None:
    status, _, (complaint,) = smoke(image, user=user)
    assert status == 1
    assert f"the user's id is {user}, and must be 1000" in complaint


def _script(machine: Machine, name: str) -> Path:
    return machine.home.parent / "image" / name


def _listener(machine: Machine, body: str) -> None:
    machine.script(machine.home / "bin" / "Runner.Listener", body)
