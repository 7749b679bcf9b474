"""Keep the assembly of this version, over which later versions are deployed with jobs running.

tests/end_to_end/test_upgrade.py does that with what ``python tools/keep_assembly.py`` has kept: the
last version that somebody has.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cdk_runner_fleet.local.assembly import STACK, Synthesis  # noqa: E402
from cdk_runner_fleet.local.github import settle  # noqa: E402
from tests import settings  # noqa: E402

KEPT = ROOT / "tests" / "end_to_end" / "version_before.tar.xz"
_SOME_DAY = 1_000_000_000
"""Epoch seconds: what goes to S3 is zipped, which knows no day before 1980."""


def needed(assembly: Path) -> list[Path]:
    """The files that a deployment takes: the manifest, the template, and what goes to S3."""
    manifest = assembly / f"{STACK}.assets.json"
    sources = [
        assembly / one["source"]["path"]
        for one in json.loads(manifest.read_text(encoding="utf-8"))["files"].values()
    ]
    within = [path for source in sources for path in (source, *source.rglob("*"))]
    return sorted({manifest, *(path for path in within if path.is_file())})


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Of no user and of one day: what is the same twice is the same file."""
    return member.replace(mtime=_SOME_DAY, uid=0, gid=0, uname="", gname="", deep=False)


def keep(assembly: Path, archive: Path) -> None:
    """Write these files into one, by their paths in the assembly."""
    with tarfile.open(archive, "w:xz") as kept:
        for path in needed(assembly):
            kept.add(path, path.relative_to(assembly).as_posix(), filter=_nobodys)


def main() -> None:
    """Synthesize the fleet that the tests of upgrades begin with, and keep that."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Synthesis(Path(folder), settle({}, settings.DEPLOYED)) as synthesis,
    ):
        keep(synthesis.result(), KEPT)


if __name__ == "__main__":
    main()
