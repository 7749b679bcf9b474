"""The Dockerfile, as far as it can be read without a build: tests/built_image builds it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .conftest import IMAGE

ROOT = IMAGE.parent
DOCUMENT = ROOT / "docs" / "runner-images.md"
SHIPPED = ("runner_image", "functions", "statemachines", "tools", ".ci")
"""What runs in a container, in a function or in a shell."""


def packages() -> set[str]:
    """The system's packages, of every variant."""
    text = (IMAGE / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"--no-install-recommends\s+([a-z0-9 -]+);", text)
    assert found
    return set(found[1].split())


def test_what_actions_need_is_installed_and_said_to_be() -> None:
    # checkout with lfs, setup-python before 6.3 with a cache, signatures, what hosted runners have
    assert {"git-lfs", "lsb-release", "gnupg", "wget", "zip", "jq", "tar"} <= packages()
    [row] = [
        line
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `base` | `shell` |")
    ]
    assert set(row.split("|")[3].replace(",", " ").split()) == packages()


def test_a_job_has_utf_8_unless_its_base_says_otherwise() -> None:
    text = (IMAGE / "Dockerfile").read_text(encoding="utf-8")
    assert "LANG=${LANG:-C.UTF-8}" in text


def test_a_clone_on_windows_has_the_files_that_linux_runs(tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    for name in SHIPPED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, origin / name, ignore=ignored)
    for name in (".gitattributes", "pyproject.toml", "Makefile", "app.py"):
        shutil.copy(ROOT / name, origin / name)

    def git(*words: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "core.hooksPath=")
        command = ["git", *who, "-c", "core.autocrlf=true", *words]  # as Git for Windows installs
        subprocess.run(command, check=True, capture_output=True)

    git("init", "--quiet", str(origin))
    git("-C", str(origin), "add", "--all", "--force")
    git("-C", str(origin), "commit", "--quiet", "--message", "all")
    git("clone", "--quiet", str(origin), str(clone))
    files = [path for path in clone.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert {"entrypoint.sh", "build_image.sh", "packages.sh"} <= {path.name for path in files}
    assert [str(path) for path in files if b"\r\n" in path.read_bytes()] == []
