"""What a base gets hold of while an image is built on it, by its own ONBUILD."""

from __future__ import annotations

import shutil
from pathlib import Path

from .conftest import IMAGE, buildah

OPTIONS = ("--format", "docker", "--isolation", "chroot", "--pull=false")  # OCI's has no ONBUILD


def test_a_base_gets_nothing_of_the_deployers(tmp_path: Path) -> None:
    base, recipe = tmp_path / "base", tmp_path / "recipe"
    base.mkdir()
    (base / "Dockerfile").write_text("FROM scratch\nONBUILD COPY . /taken\n")
    shutil.copytree(IMAGE, recipe)
    (recipe / "own").mkdir()
    for name in ("own/house.conf", "recipe.json", "exported"):
        (recipe / name).write_text("ours")
    (recipe / "Dockerfile").write_text("FROM localhost/fleet-test/onbuild\n")
    buildah("bud", *OPTIONS, "--tag", "localhost/fleet-test/onbuild", str(base))
    buildah("bud", *OPTIONS, "--tag", "localhost/fleet-test/onbuilt", str(recipe))
    container = buildah("from", "localhost/fleet-test/onbuilt").stdout.strip()
    try:
        root = Path(buildah("mount", container).stdout.strip(), "taken")
        taken = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    finally:
        buildah("rm", container)
        buildah("rmi", "localhost/fleet-test/onbuilt", "localhost/fleet-test/onbuild")
    assert "build/packages.sh" in taken
    assert not taken & {"own/house.conf", "recipe.json", "exported", "build_image.sh"}
