"""What runner images are made of besides their base: staged for builds, and digested."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path

from cdk_runner_fleet import _assets
from cdk_runner_fleet.values.runner_image import BUILD_ARGUMENTS_OF_ALL_BASES, BuiltImage

_OWN = "own"


def stage(image: BuiltImage, folder: Path) -> None:
    """Make ``folder`` anew as the source of builds, with a ``recipe.json`` that they read."""
    shutil.rmtree(folder, ignore_errors=True)
    # each build is told which release to take, so a new one is no new recipe
    _copy(_assets.RUNNER_IMAGE, folder, but={_assets.RUNNER_RELEASE.name})
    if image.dockerfile_directory:
        _copy(image.dockerfile_directory, folder / _OWN)
    args, everyones = dict(sorted(image.build_args.items())), BUILD_ARGUMENTS_OF_ALL_BASES
    parts = {
        "variant": image.variant,
        "apt_packages": list(image.apt_packages),
        "pip_packages": list(image.pip_packages),
        "build_args": {name: args[name] for name in args if name in everyones},
        "own_build_args": {name: args[name] for name in args if name not in everyones},
        "own_base": image.own_base,
        "own": image.dockerfile_directory is not None,
        "soci": image.soci,
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
