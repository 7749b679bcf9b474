"""`capabilities.sh`: what it finds in an image."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.waiting import PATIENCE_SECONDS

from .conftest import IMAGE, Machine


@pytest.mark.parametrize(
    ("tools", "found"),
    [
        ((), "shell"),
        (("python3",), "shell,python"),
        (("node",), "shell,node"),
        (("cc", "make"), "shell,native"),
        (("gcc", "make"), "shell,native"),
        (("cc",), "shell"),
        (("make",), "shell"),
        (("make", "node", "python3", "cc"), "shell,python,node,native"),
    ],
)
def test_it_finds_what_is_there(machine: Machine, tools: tuple[str, ...], found: str) -> None:
    for tool in tools:
        machine.put(tool, "exit 1")  # looked for, and never started
    done = subprocess.run(
        [str(shutil.which("bash")), str(IMAGE / "capabilities.sh")],
        env={"PATH": str(machine.bin)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{found}\n", "")
