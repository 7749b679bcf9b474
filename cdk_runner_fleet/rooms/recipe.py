"""What runner images are made of besides their base: staged for builds, and digested."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cdk_runner_fleet import _assets
from cdk_runner_fleet.values.runner_image import BUILD_ARGUMENTS_OF_ALL_BASES, BuiltImage

_RECIPES = "recipes"


def stage(images: Sequence[BuiltImage], folder: Path) -> list[str]:
    """Make ``folder`` anew as the source of the builds of images.

    Args:
        images: The images. What each is made of besides what all have stands in a folder of its
            own, named by its digest, which a build is told.
        folder: The folder.

    Returns:
        Digest of all that goes into each image but its base and the runner's release.
    """
    shutil.rmtree(folder, ignore_errors=True)
    # each build is told which release to take, so a new one is no new recipe
    _copy(_assets.RUNNER_IMAGE, folder, but={_assets.RUNNER_RELEASE.name})
    everyones = _contents(folder)
    return [_stage(image, folder / _RECIPES, everyones) for image in images]


def _stage(image: BuiltImage, recipes: Path, everyones: Mapping[str, str]) -> str:
    parts = recipes / "new"
    parts.mkdir(parents=True)
    if image.dockerfile_directory:
        _copy(image.dockerfile_directory, parts / "own")
    args, of_all = dict(sorted(image.build_args.items())), BUILD_ARGUMENTS_OF_ALL_BASES
    settings = {
        "variant": image.variant,
        "apt_packages": list(image.apt_packages),
        "pip_packages": list(image.pip_packages),
        "build_args": {name: args[name] for name in args if name in of_all},
        "own_build_args": {name: args[name] for name in args if name not in of_all},
        "own_base": image.own_base,
        "own": image.dockerfile_directory is not None,
        "soci": image.soci,
    }
    text = json.dumps(settings, indent=2) + "\n"
    (parts / "recipe.json").write_text(text, encoding="utf-8", newline="\n")
    digest = _digest({**everyones, **_contents(parts)})
    if (recipes / digest).exists():
        # images that differ in name or base alone
        shutil.rmtree(parts)
    else:
        parts.rename(recipes / digest)
    return digest


def _copy(source: Path, target: Path, *, but: Collection[str] = ()) -> None:
    """Copy the files of a folder. Its folders' modes stay behind: they may forbid to write."""
    for path in source.rglob("*"):
        name = path.relative_to(source)
        if path.is_file() and not {"__pycache__", ".git", *but} & set(name.parts):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / name)


def _contents(folder: Path) -> dict[str, str]:
    """Digests of a folder's files by their names."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _digest(contents: Mapping[str, str]) -> str:
    lines = (f"{name}\0{content}\n" for name, content in sorted(contents.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def pinned_release() -> str:
    """The release of the runner that the library comes with, as JSON."""
    release = json.loads(_assets.RUNNER_RELEASE.read_text(encoding="utf-8"))
    return json.dumps({"version": release["version"], "sha256": release["sha256"]})
