"""What images are made of: which props change it, and what is handed to the builds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet import RunnerImage, _assets
from cdk_runner_fleet.rooms import recipe

from ..fleets import OWN_IMAGE
from ..templates import Template, environment


def staged(folder: Path, **props: Any) -> tuple[Path, str]:
    """What the builds of an image of these props have of their own, and the recipe's digest."""
    [digest] = recipe.stage([RunnerImage.built(**props)], folder)
    return folder / "recipes" / digest, digest


def _shipped() -> list[Path]:
    return [
        path
        for path in _assets.RUNNER_IMAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


def test_the_source_of_builds_is_the_recipe(tmp_path: Path) -> None:
    source, _ = staged(
        tmp_path,
        variant="node",
        dockerfile_directory=str(OWN_IMAGE),
        build_args={"B": "2", "A": "1"},
        apt_packages=["jq"],
        pip_packages=["requests"],
        soci=True,
    )
    shipped = {p.relative_to(_assets.RUNNER_IMAGE).as_posix() for p in _shipped()}
    own = {
        (source.relative_to(tmp_path) / name).as_posix()
        for name in ("recipe.json", "own/Dockerfile", "own/house.conf")
    }
    assert _names(tmp_path) == (shipped - {"release.json"}) | own
    assert json.loads((source / "recipe.json").read_text()) == {
        "variant": "node",
        "apt_packages": ["jq"],
        "pip_packages": ["requests"],
        "build_args": {},
        "own_build_args": {"A": "1", "B": "2"},
        "own_base": "public.ecr.aws/docker/library/node:24-bookworm-slim",
        "own": True,
        "soci": True,
    }


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_images_have_a_folder_each_and_whatever_another_has_changes_no_digest(
    tmp_path: Path,
) -> None:
    plain, own = RunnerImage.built(), RunnerImage.built(dockerfile_directory=OWN_IMAGE)
    same = RunnerImage.built(base="ghcr.io/o/b:1", name="same")
    digests = recipe.stage([plain, own, same], tmp_path / "all")
    assert digests[0] == digests[2] != digests[1]
    assert [digests[0]] == recipe.stage([plain], tmp_path / "one")
    recipes = tmp_path / "all" / "recipes"
    assert {path.name for path in recipes.iterdir()} == {*digests}
    assert _names(recipes / digests[0]) == {"recipe.json"}
    assert _names(recipes / digests[1]) == {"recipe.json", "own/Dockerfile", "own/house.conf"}


def test_the_same_props_are_the_same_recipe(tmp_path: Path) -> None:
    _, one = staged(tmp_path / "a", build_args={"A": "1", "B": "2"})
    _, other = staged(tmp_path / "b", build_args={"B": "2", "A": "1"})
    assert one == other


@pytest.mark.parametrize(
    "props",
    [
        {"variant": "python"},
        {"apt_packages": ["jq"]},
        {"pip_packages": ["requests"]},
        {"build_args": {"A": "1"}},
        {"dockerfile_directory": OWN_IMAGE},
        {"soci": True},
    ],
)
def test_whatever_changes_an_image_makes_another_recipe(
    props: dict[str, Any], tmp_path: Path
) -> None:
    _, plain = staged(tmp_path / "a")
    _, changed = staged(tmp_path / "b", **props)
    assert plain != changed


@pytest.mark.parametrize(
    ("props", "own_base"),
    [
        ({"dockerfile_directory": OWN_IMAGE}, "ghcr.io/o/house:1"),
        ({"build_args": {"A": "1"}}, "ghcr.io/o/house:1"),
        ({"dockerfile_directory": OWN_IMAGE, "dockerfile_for_all_bases": True}, ""),
        # nothing is the deployer's own, and another base is no reason to build all anew
        ({"build_args": {"RUNNER_ARCHIVE_URL": "https://m/r", "no_proxy": "m"}}, ""),
        ({}, ""),
    ],
)
def test_a_dockerfile_is_for_the_default_base_unless_asked(
    props: dict[str, Any], own_base: str, tmp_path: Path
) -> None:
    source, _ = staged(tmp_path, base="ghcr.io/o/house:1", **props)
    recipe_json = json.loads((source / "recipe.json").read_text())
    assert recipe_json["own_base"] == own_base
    assert set(recipe_json["build_args"]) == set(props.get("build_args", {})) - {"A"}


def test_a_changed_file_of_an_own_image_makes_another_recipe(tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(OWN_IMAGE, own)
    _, before = staged(tmp_path / "a", dockerfile_directory=own)
    (own / "house.conf").write_text("made = elsewhere\n")
    _, after = staged(tmp_path / "b", dockerfile_directory=own)
    assert before != after


def test_a_new_release_of_the_runner_makes_no_new_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "runner_image"
    shutil.copytree(_assets.RUNNER_IMAGE, library)
    monkeypatch.setattr(_assets, "RUNNER_IMAGE", library)
    monkeypatch.setattr(_assets, "RUNNER_RELEASE", library / "release.json")
    _, before = staged(tmp_path / "a")
    release = json.loads((library / "release.json").read_text()) | {"version": "3.0.0"}
    (library / "release.json").write_text(json.dumps(release))
    _, after = staged(tmp_path / "b")
    assert after == before
    assert json.loads(recipe.pinned_release())["version"] == "3.0.0"


def test_a_library_that_may_not_be_written_to_is_staged_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "runner_image"
    shutil.copytree(_assets.RUNNER_IMAGE, library)
    folders = [library, *(path for path in library.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    monkeypatch.setattr(_assets, "RUNNER_IMAGE", library)
    source, _ = staged(tmp_path / "out")
    assert (source / "recipe.json").is_file()
    assert (tmp_path / "out" / "Dockerfile").is_file()
    # root, which tests may be run by, writes anywhere: so the modes are what is asked
    copies = [tmp_path / "out", *(p for p in (tmp_path / "out").rglob("*") if p.is_dir())]
    assert [path for path in copies if not path.stat().st_mode & 0o200] == []
    for folder in folders:
        folder.chmod(0o755)


def test_the_release_is_pinned_in_one_place(minimal: Template) -> None:
    pinned = json.loads(recipe.pinned_release())
    assert set(pinned) == {"version", "sha256"}
    assert set(pinned["sha256"]) == {"x64", "arm64"}
    for handler in ("build_image", "watch_release"):
        assert json.loads(environment(minimal, handler)["RUNNER_RELEASE"]) == pinned
    for path in _shipped():
        if path.name != "release.json":
            assert pinned["version"] not in path.read_text(encoding="utf-8"), path.name
