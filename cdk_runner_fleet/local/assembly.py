"""The fleet's cloud assembly: synthesized once for the same settings and sources, then kept.

Synthesis is half of a fleet's start. What it makes depends on the settings, on the files that
travel with the library and on the CDK, and on nothing else, so all of these make the name that an
assembly is kept under, and a change of any of them is another name.

Assemblies are kept as archives in ``$XDG_CACHE_HOME/cdk-runner-fleet``, by default in
``~/.cache/cdk-runner-fleet`` (https://specifications.freedesktop.org/basedir-spec/latest/). That
folder may be deleted at any time. An archive is written aside and renamed, so that no other process
finds half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path

from cdk_runner_fleet import _assets
from cdk_runner_fleet.local.errors import LocalFleetError, SettingsError
from cdk_runner_fleet.local.node import find_node
from cdk_runner_fleet.local.processes import child

__all__ = ["GITHUB_URL_PARAMETER", "STACK", "Synthesis"]

STACK = "RunnerFleet"
"""The stack's name in the assembly."""
GITHUB_URL_PARAMETER = "GithubApiUrl"
"""The template's parameter for where GitHub answers, which is another port each time."""

_SYNTH = "cdk_runner_fleet.local.synth"
_SYNTH_SECONDS = 180.0
_SETTINGS_EXIT_CODE = 2
_LAST_WORDS = 4000
_MOST_KEPT = 32
_SUFFIX = ".zip"
_CDK = "aws-cdk-lib"
_SOURCES = (
    Path(__file__).parent.parent,
    _assets.FUNCTIONS,
    _assets.RUNNER_IMAGE,
    _assets.STATE_MACHINE.parent,
)


class Synthesis:
    """The making of an assembly, or its finding, beside whatever else starts.

    Args:
        folder: Where the assembly and what belongs to its making go.
        context: The fleet's settings and CDK's own, as JSON can write them.
    """

    def __init__(self, folder: Path, context: Mapping[str, object]) -> None:
        self._folder = folder
        # in its own order: the first of the classes is that of jobs which name none
        self._context = json.dumps(context)
        self._outdir = folder / "cdk.out"
        self._log = folder / "synth.log"
        self._kept = _kept() / f"{_name(self._context)}{_SUFFIX}"
        self._parts = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Synthesis:
        if not self._unpack():
            self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._parts.close()

    def result(self) -> Path:
        """The assembly's folder, when it is there.

        Raises:
            SettingsError: a setting cannot work.
            LocalFleetError: it could not be made.
        """
        if self._process is not None:
            self._wait(self._process)
            self._keep()
        return self._outdir

    def _unpack(self) -> bool:
        """Whether there was one to be found."""
        try:
            with zipfile.ZipFile(self._kept) as archive:
                for member in archive.infolist():
                    path = Path(archive.extract(member, self._outdir))
                    if not member.is_dir():
                        path.chmod(member.external_attr >> 16)  # zipfile itself forgets it
            os.utime(self._kept)  # the least used ones are given up first
        except (OSError, zipfile.BadZipFile, zlib.error):
            shutil.rmtree(self._outdir, ignore_errors=True)
            return False
        return True

    def _start(self) -> None:
        environment = {
            # what is CDK's would be of an app that this fleet is started from
            **{name: value for name, value in os.environ.items() if not name.startswith("CDK_")},
            "JSII_NODE": find_node(),
            # `make synth` and the tests validate the template; here it takes half of the time
            "CDK_VALIDATION": "false",
        }
        errors = self._parts.enter_context(self._log.open("wb"))
        self._process = self._parts.enter_context(
            child(
                _SYNTH,
                str(self._outdir),
                environment=environment,
                folder=self._folder,
                errors=errors,
            )
        )
        assert self._process.stdin is not None  # noqa: S101 - narrows the type
        with suppress(BrokenPipeError):  # it ended at once: its exit status is looked at later
            self._process.stdin.write(self._context.encode())
            self._process.stdin.close()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        try:
            status = process.wait(_SYNTH_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LocalFleetError(f"synthesis took more than {_SYNTH_SECONDS:g} seconds") from error
        if status:
            said = self._log.read_text(errors="replace").strip()
            if status == _SETTINGS_EXIT_CODE:
                raise SettingsError(said)
            raise LocalFleetError(f"synthesis failed with status {status}:\n{said[-_LAST_WORDS:]}")

    def _keep(self) -> None:
        if self._kept.stem != _name(self._context):
            return  # a source was changed meanwhile: nobody knows what this was made of
        folder = self._kept.parent
        with suppress(OSError):  # a home that cannot be written to, or is full: the next one waits
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as aside:
                try:
                    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
                        for path in sorted(self._outdir.rglob("*")):
                            archive.write(path, path.relative_to(self._outdir))
                    Path(aside.name).replace(self._kept)
                except BaseException:
                    Path(aside.name).unlink(missing_ok=True)
                    raise
            _give_up_the_least_used(folder)


def _kept() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the specification has a relative path ignored
    home = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return home / "cdk-runner-fleet"


def _give_up_the_least_used(folder: Path) -> None:
    def used(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except FileNotFoundError:  # somebody else gives up too
            return 0.0

    for path in sorted(folder.glob(f"*{_SUFFIX}"), key=used)[:-_MOST_KEPT]:
        path.unlink(missing_ok=True)


def _name(context: str) -> str:
    """A name that no two different assemblies share."""
    digest = hashlib.sha256()
    for text in (context, sys.version, *_versions()):
        digest.update(f"{len(text)} {text}".encode())
    for path, content in _sources():
        digest.update(f"{len(path)} {path} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


def _versions() -> Iterator[str]:
    """What the constructs are made of, down to jsii."""
    needed = [re.match(r"[\w.-]+", line) for line in metadata.requires(_CDK) or ()]
    for name in (_CDK, *(each[0] for each in needed if each)):
        with suppress(metadata.PackageNotFoundError):  # for another Python or platform
            yield f"{name} {metadata.version(name)}"


def _sources() -> Iterator[tuple[str, bytes]]:
    """Every file that travels with the library, by its mode and its path from its folder."""
    for folder in _SOURCES:
        for path in sorted(folder.rglob("*")):
            if "__pycache__" not in path.parts and path.is_file():
                name = f"{path.stat().st_mode:o} {folder.name}/{path.relative_to(folder)}"
                yield name, path.read_bytes()
