"""What runner images are made of besides their base: checked, staged for builds, and digested."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aws_cdk import Token

from cdk_runner_fleet import _assets

ImageVariant = Literal["base", "python", "node", "full"]
"""What is in a built image besides its base: a target of the Dockerfile."""

VARIANTS: Mapping[ImageVariant, Sequence[str]] = {
    "base": ("shell",),
    "python": ("shell", "python"),
    "node": ("shell", "node"),
    "full": ("shell", "python", "node", "native"),
}
"""The Dockerfile's targets, and which capabilities are found in each on its own default base."""

_OWN = "own"
# what the build itself sets (docker-bake.hcl), or what has a prop of its own
_RESERVED = {
    "BASE_IMAGE": "the prop base_image",
    "RUNNER_RELEASE": "the library's own release of the runner",
    "RUNNER_SHA256": "the library's own release of the runner",
    "APT_PACKAGES": "the prop apt_packages",
    "PIP_PACKAGES": "the prop pip_packages",
    "RUNNER_CAPABILITIES": "the prop capabilities",
}
_OF_ALL_BASES = frozenset(
    {
        "RUNNER_ARCHIVE_URL",
        *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "FTP", "NO", "ALL")),
        *(f"{kind}_proxy" for kind in ("http", "https", "ftp", "no", "all")),
    }
)
"""Build arguments that every build may need: that of the fleet's Dockerfile, and those each has
without an ARG (Dockerfile reference, "Predefined ARGs")."""
_BUILD_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Debian policy 5.6.1, and how apt-get takes a version; runner_image/build/packages.sh has it too
_APT_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")
# what begins with a dash would be an option of pip's, and two names in one text are no package
_PIP_PACKAGE = re.compile(r"(?![\w.-]+[ \t]+[\w-])[A-Za-z0-9][^\r\n]*")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What goes on top of a base image.

    Args:
        variant: Target of the fleet's Dockerfile.
        dockerfile_directory: Folder with a Dockerfile that makes the base. Default: there is none.
        build_args: Build arguments of both Dockerfiles.
        own_base: The base that the Dockerfile is for, and those build arguments that the fleet's
            own does not know. Default: they are for all bases.
        apt_packages: Debian packages to install.
        pip_packages: Python packages to install.
        soci: Whether large images get an index for lazy loading.

    Raises:
        ValueError: if a part cannot be built, or is not known before the deployment.
    """

    variant: ImageVariant
    dockerfile_directory: Path | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    own_base: str | None = None
    apt_packages: Sequence[str] = ()
    pip_packages: Sequence[str] = ()
    soci: bool = False

    def __post_init__(self) -> None:
        """Check each part: a build is started in the account, long after this."""
        if self.variant not in VARIANTS:
            raise ValueError(
                f"variant {self.variant!r} is unknown, use one of {list(VARIANTS)}, and "
                "packages or a Dockerfile of your own for what none of them has"
            )
        own = self.dockerfile_directory
        if own is not None and not (own / "Dockerfile").is_file():
            raise ValueError(
                f"dockerfile_directory {str(own)!r} has no Dockerfile (there is no file "
                f"{str(own.absolute() / 'Dockerfile')!r}): name the folder that has one"
            )
        for name, value in self.build_args.items():
            _check_build_argument(name, value)
        if self._has_own and Token.is_unresolved(self.own_base):
            raise ValueError(
                "base_image is only known at deployment, and dockerfile_directory and build_args "
                "are for that base alone: give one that is known when the app is synthesized, or "
                "dockerfile_for_all_bases"
            )
        _check_packages(
            "apt_packages",
            self.apt_packages,
            _APT_PACKAGE,
            like="libpq-dev or jq=1.7.1-3 (a-z 0-9 + - . and no more)",
        )
        _check_packages(
            "pip_packages", self.pip_packages, _PIP_PACKAGE, like="requests or awscli>=2,<3"
        )

    @property
    def is_plain(self) -> bool:
        """Whether only the base decides what else is found in an image."""
        return not (self.dockerfile_directory or self.apt_packages or self.pip_packages)

    @property
    def _has_own(self) -> bool:
        return bool(self.dockerfile_directory or self.build_args.keys() - _OF_ALL_BASES)

    def stage(self, folder: Path) -> None:
        """Make ``folder`` anew as the source of builds, with a ``recipe.json`` that they read."""
        shutil.rmtree(folder, ignore_errors=True)
        # each build is told which release to take, so a new one is no new recipe
        _copy(_assets.RUNNER_IMAGE, folder, but={_assets.RUNNER_RELEASE.name})
        if self.dockerfile_directory:
            _copy(self.dockerfile_directory, folder / _OWN)
        args = dict(sorted(self.build_args.items()))
        parts = {
            "variant": self.variant,
            "apt_packages": list(self.apt_packages),
            "pip_packages": list(self.pip_packages),
            "build_args": {name: args[name] for name in args if name in _OF_ALL_BASES},
            "own_build_args": {name: args[name] for name in args if name not in _OF_ALL_BASES},
            "own_base": (self.own_base or "") if self._has_own else "",
            "own": self.dockerfile_directory is not None,
            "soci": self.soci,
        }
        text = json.dumps(parts, indent=2) + "\n"
        (folder / "recipe.json").write_text(text, encoding="utf-8", newline="\n")


def _copy(source: Path, target: Path, *, but: Collection[str] = ()) -> None:
    """Copy the files of a folder. Its folders' modes stay behind: they may forbid to write."""
    for path in source.rglob("*"):
        name = path.relative_to(source)
        if path.is_file() and not {"__pycache__", ".git", *but} & set(name.parts):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / name)


def digest(folder: Path) -> str:
    """Digest of a staged recipe's names and contents."""
    everything = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        everything.update(f"{name}\0{content}\n".encode())
    return everything.hexdigest()


def pinned_release() -> str:
    """The release of the runner that the library comes with, as JSON."""
    release = json.loads(_assets.RUNNER_RELEASE.read_text(encoding="utf-8"))
    return json.dumps({"version": release["version"], "sha256": release["sha256"]})


def _check_build_argument(name: str, value: str) -> None:
    if name in _RESERVED:
        raise ValueError(
            f"build argument {name} is set by the fleet, from {_RESERVED[name]}: "
            f"leave {value!r} out"
        )
    if not _BUILD_ARGUMENT.fullmatch(name):
        raise ValueError(
            f"build argument {name!r} cannot be one, use letters, digits and underscores, no digit "
            "first"
        )
    if Token.is_unresolved(value) or re.search(r"[\r\n]", value):
        raise ValueError(
            f"build argument {name} is {value!r}, give one line of text that is known when the app "
            "is synthesized, and no secret: it can be read in the image"
        )


def _check_packages(
    prop: str, packages: Sequence[str], name: re.Pattern[str], *, like: str
) -> None:
    for package in packages:
        if Token.is_unresolved(package) or not name.fullmatch(package):
            raise ValueError(
                f"{package!r} of {prop} cannot be installed, use names such as {like}, known when "
                "the app is synthesized"
            )
