"""Runner images for the local fleet: built, tried and run with buildah instead of Docker.

No daemon, the machine's own network, and no privileges beyond this user's: `chroot` isolation.
Images are kept in this user's own container storage, so a second session builds from its cache,
`buildah images` shows them, and a base that is there already needs no registry.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdk_runner_fleet.local.emulator.stand_in import Kit, archive
from cdk_runner_fleet.local.errors import LocalFleetError

__all__ = [
    "BuildOutcome",
    "Container",
    "ImageError",
    "RunnerImages",
    "content_tag",
    "first_process",
    "missing_tools",
]

_ISOLATION = ("--isolation", "chroot")
_ARCHIVE = "runner.tar.gz"
_WORKSPACE = "/opt/workspace"
_MACHINES = {"x86_64": "X86_64", "aarch64": "ARM64", "arm64": "ARM64"}
_LAST_LINES = 6


class ImageError(LocalFleetError):
    """An image cannot be had; the text says why."""


@dataclass(frozen=True, kw_only=True)
class BuildOutcome:
    """What a build exports, as `runner_image/build_image.sh` does.

    Attributes:
        content_tag: The tag, made from all that went in; empty if it did not get that far.
        base_digest: The base's digest in this machine's storage.
        error: Why there is no image; empty if there is one.
        log: Everything that was said.
    """

    content_tag: str = ""
    base_digest: str = ""
    error: str = ""
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container that is ready to be started.

    Attributes:
        name: Its name in the storage.
        arguments: The command line that runs its image's entry point.
    """

    name: str
    arguments: tuple[str, ...]


def missing_tools() -> str:
    """What is missing for building here and how to get it; empty if nothing is."""
    if shutil.which("buildah"):
        return ""
    return (
        "images are built with buildah, which is not installed: `apt-get install buildah uidmap` "
        "(Debian 12, Ubuntu 22.04 or newer), or leave out --images"
    )


class RunnerImages:
    """Images that CodeBuild would build, and containers of them where Fargate would run tasks.

    Args:
        folder: For the stand-in for actions/runner and the like; made if it is not there.
        workspace: What jobs of local runs see as their checkout, read-only.

    Raises:
        LocalFleetError: a tool is not installed.
    """

    def __init__(self, folder: Path, *, workspace: Path) -> None:
        if missing := missing_tools():
            raise LocalFleetError(missing)
        self._workspace = workspace
        self._kit = Kit(folder / "stand-in")
        self._containers: set[str] = set()

    def build(self, recipe: Path, variables: Mapping[str, str]) -> BuildOutcome:
        """Build and try an image; its name is `RUNNER_REPOSITORY_URL:<content tag>`.

        Args:
            recipe: A copy of the folder that CodeBuild takes for its source, with `recipes`;
                the stand-in for actions/runner is put in it.
            variables: The build's environment variables.
        """
        log: list[str] = []
        tag = digest = ""
        try:
            self._check_architecture(variables["ARCHITECTURE"])
            base = variables["BASE_IMAGE"]
            digest = self._digest(base, log)
            tag = content_tag(variables, digest)
            name = _stored(f"{variables['RUNNER_REPOSITORY_URL']}:{tag}")
            self._build(recipe, variables, base=base, digest=digest, name=name, log=log)
            self._smoke(name, log)
        except ImageError as error:
            return BuildOutcome(
                content_tag=tag, base_digest=digest, error=str(error), log="".join(log)
            )
        return BuildOutcome(content_tag=tag, base_digest=digest, log="".join(log))

    def container(self, image: str, environment: Mapping[str, str]) -> Container:
        """Make a container of an image that was built here, or that a registry has.

        Args:
            image: `repository:tag`.
            environment: What is set in it besides the image's own.

        Raises:
            ImageError: there is no such image.
        """
        kit = self._kit
        stored = _stored(image)
        if not _succeeds("inspect", "--type", "image", stored):
            stored = image
        config = self._config(stored)
        name = self._create(stored)
        home = _environment(config).get("RUNNER_HOME", "/home/runner")
        given = {**environment, "STAND_IN_WORKSPACE": _WORKSPACE}
        mounts = [
            (kit.folder, kit.PLACE),
            (kit.standard_library, kit.LIBRARY),
            (kit.folder / "run.sh", f"{home}/run.sh"),
            (self._workspace, _WORKSPACE),
        ]
        return Container(
            name=name,
            arguments=(
                *("buildah", "run", *_ISOLATION, "--hostname", "localhost"),
                *(word for item in given.items() for word in ("--env", "=".join(item))),
                *(word for here, there in mounts for word in ("--volume", f"{here}:{there}:ro")),
                *(name, "--", *config.get("Entrypoint", []), *config.get("Cmd", [])),
            ),
        )

    def remove(self, container: str) -> None:
        """Remove a container that has ended; one that is gone already is none to remove."""
        self._containers.discard(container)
        _succeeds("rm", container)

    def close(self) -> None:
        """Remove every container that is left; the images stay, as a cache."""
        for container in list(self._containers):
            self.remove(container)

    @staticmethod
    def _check_architecture(architecture: str) -> None:
        here = _MACHINES.get(platform.machine(), platform.machine())
        if architecture != here:
            raise ImageError(
                f"the image is for {architecture} and this machine is {here}, which does not "
                "emulate another: leave out --images, or ask for a runner class of this one"
            )

    def _digest(self, image: str, log: list[str]) -> str:
        _buildah("pull", "--quiet", "--policy", "missing", image, log=log)
        found = json.loads(_buildah("inspect", "--type", "image", image))
        return str(found["FromImageDigest"])

    def _build(
        self,
        recipe: Path,
        variables: Mapping[str, str],
        *,
        base: str,
        digest: str,
        name: str,
        log: list[str],
    ) -> None:
        own_parts = recipe / "recipes" / variables["RECIPE_DIGEST"]
        settings = json.loads((own_parts / "recipe.json").read_text())
        is_for_own = settings["own_base"] in ("", base)
        given_args = settings["build_args"] | (settings["own_build_args"] if is_for_own else {})
        extra = [
            word for key, value in given_args.items() for word in ("--build-arg", f"{key}={value}")
        ]
        if settings["own"] and is_for_own:
            own = f"{name}-base"
            given = ("--build-arg", f"BASE_IMAGE={base}", *extra)
            _bud(*given, name=own, folder=own_parts / "own", log=log)
            base = own
        version = variables["RUNNER_VERSION"]
        arguments = {
            "BASE_IMAGE": base,
            "RUNNER_RELEASE": version,
            # actions/runner speaks to GitHub alone: what is run here in its place is built in, too
            "RUNNER_SHA256": archive(recipe / "build" / _ARCHIVE, version=version),
            "RUNNER_ARCHIVE_URL": f"file:///mnt/build/{_ARCHIVE}",
            "APT_PACKAGES": " ".join(settings["apt_packages"]),
            "PIP_PACKAGES": "\n".join(settings["pip_packages"]),
        }
        labels = {
            "org.opencontainers.image.base.name": variables["BASE_IMAGE"],
            "org.opencontainers.image.base.digest": digest,
        }
        _bud(
            *extra,
            *(w for item in arguments.items() for w in ("--build-arg", "=".join(item))),
            *(w for item in labels.items() for w in ("--label", "=".join(item))),
            *("--target", settings["variant"]),
            name=name,
            folder=recipe,
            log=log,
        )

    def _smoke(self, image: str, log: list[str]) -> None:
        with self._temporary(image) as container:
            entry_point = self._config(image)["Entrypoint"]
            _buildah(
                *("run", *_ISOLATION, "--hostname", "localhost", container, "--"),
                *(*entry_point, "--smoke"),
                log=log,
            )

    @staticmethod
    def _config(image: str) -> dict[str, Any]:
        found = json.loads(_buildah("inspect", "--type", "image", image))
        config: dict[str, Any] = found["OCIv1"]["config"]
        return config

    def _create(self, image: str) -> str:
        name = f"runner-fleet-{uuid.uuid4().hex}"
        self._containers.add(name)
        _buildah("from", "--quiet", "--pull=false", "--name", name, image)
        return name

    @contextlib.contextmanager
    def _temporary(self, image: str) -> Iterator[str]:
        container = self._create(image)
        try:
            yield container
        finally:
            self.remove(container)


def content_tag(variables: Mapping[str, str], digest: str) -> str:
    """As `runner_image/build_image.sh` makes it."""
    parts = (
        variables["BASE_IMAGE"],
        digest,
        "/".join(filter(None, (variables["RECIPE_DIGEST"], variables.get("IMAGES_OF")))),
        variables["RUNNER_VERSION"],
        variables["ARCHITECTURE"],
    )
    readable = variables["IMAGE_TAG"].rpartition("-")[0]
    return f"{readable}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:24]}"


def _stored(image: str) -> str:
    """The name of an image of the emulated registry, which no real registry is ever asked for."""
    return f"localhost/runner-fleet/{image.partition('/')[2]}"


def _environment(config: Mapping[str, Any]) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in config.get("Env", []))


def _bud(*arguments: str, name: str, folder: Path, log: list[str]) -> None:
    _buildah(
        *("bud", *_ISOLATION, "--layers", "--pull=false", "--network", "host", "--tag", name),
        *(*arguments, str(folder)),
        log=log,
    )


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["buildah", *arguments],  # noqa: S607 - it is wherever the machine has it
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if arguments[0] != "inspect" else subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )


def _succeeds(*arguments: str) -> bool:
    return _run(arguments).returncode == 0


def _buildah(*arguments: str, log: list[str] | None = None) -> str:
    """What buildah prints.

    Raises:
        ImageError: it fails; with the last that it said.
    """
    done = _run(arguments)
    if log is not None:
        log.append(done.stdout)
    if done.returncode:
        raise ImageError(_last_words(done.stderr or done.stdout))
    return done.stdout


def _last_words(said: str) -> str:
    """What a build or a pull ended with, without the warnings of its repetitions."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("time=")]
    return "\n".join(lines[-_LAST_LINES:])


def first_process(pid: int) -> int | None:
    """The process that a `buildah run` has started in its container; None if there is none (yet).

    Signals are for it alone, as they are for process 1 of a task: what is between it and `buildah
    run` does not pass them on, and would take it along.

    Args:
        pid: The process of `buildah run`.
    """
    while _is_buildah(pid):
        try:
            # threads of buildah's start processes, too
            below = [
                int(child)
                for thread in Path(f"/proc/{pid}/task").iterdir()
                for child in (thread / "children").read_text().split()
            ]
        except OSError:
            return None
        if not below:
            return None
        pid = below[0]
    return pid


def _is_buildah(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return Path(command.partition(b"\0")[0].decode(errors="replace")).name.startswith("buildah")
