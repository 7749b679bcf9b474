"""The stand-in for actions/runner, in the shapes that a runner image has it in.

`archive` makes the file that an image is built with, with the names of GitHub's release: a runner
that speaks to nobody. `Kit` makes the folder that a container is given beside it: the local runner
with a Python of its own, because an image need not have one, and the one it has is the job's.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path

from cdk_runner_fleet.local.emulator import runner
from cdk_runner_fleet.local.errors import LocalFleetError

__all__ = ["Kit", "archive"]

_INSTALL_DEPENDENCIES = """#!/bin/bash
# What .NET needs, as GitHub's own script of this name installs it on Debian and Ubuntu.
set -e
apt-get update
libraries=$(apt-cache pkgnames | grep -E '^(libicu[0-9]+|libssl3|libssl3t64|libssl1\\.1)$')
for library in liblttng-ust1 liblttng-ust1t64 liblttng-ust0 libkrb5-3 zlib1g $libraries; do
  if apt-cache show "$library" >/dev/null 2>&1; then apt-get install -y "$library"; fi
done
"""
_LISTENER = """#!/bin/bash
[[ "$1" == --version ]] && echo {version}
"""
_RUN = """#!/bin/bash
echo "a stand-in for actions/runner has no job to run" >&2
exit 1
"""
_NODES = ("node20", "node20_alpine", "node24", "node24_alpine")


def archive(path: Path, *, version: str) -> str:
    """Write a stand-in for a release's archive; returns its SHA-256.

    Args:
        path: The file to write, a .tar.gz.
        version: What its `bin/Runner.Listener --version` says.
    """
    files: Mapping[str, str] = {
        "run.sh": _RUN,
        "bin/Runner.Listener": _LISTENER.format(version=version),
        "bin/installdependencies.sh": _INSTALL_DEPENDENCIES,
        **{f"externals/{name}/bin/node": "#!/bin/bash\nexit 1\n" for name in _NODES},
    }
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.mode, entry.size = 0o755, len(text.encode())
            entry.uid = entry.gid = 1001  # GitHub's archives belong to who built them
            tar.addfile(entry, io.BytesIO(text.encode()))
    # of no time, so that the same stand-in is the same file, and a build finds it in its cache
    packed = gzip.compress(unpacked.getvalue(), mtime=0)
    path.write_bytes(packed)
    return hashlib.sha256(packed).hexdigest()


class Kit:
    """The local runner and all it needs of this machine, for containers of any glibc or of none.

    Args:
        folder: Where it is put together; containers see it at `PLACE`.

    Attributes:
        folder: The same.
        standard_library: Python's own modules on this machine; containers see them at `LIBRARY`.

    Raises:
        LocalFleetError: something is not on this machine.
    """

    PLACE = "/opt/stand-in"
    LIBRARY = f"{PLACE}/lib/python{sysconfig.get_python_version()}"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.standard_library = Path(sysconfig.get_path("stdlib"))
        for each in ("bin", f"lib/python{sysconfig.get_python_version()}"):
            (folder / each).mkdir(parents=True)
        shutil.copy(Path(sys.executable).resolve(), folder / "bin" / "python3")
        shutil.copy(runner.act_binary(), folder / "bin" / "act")
        shutil.copy(runner.__file__, folder / "runner.py")
        loader = ""
        for name, library in _shared_libraries(folder / "bin" / "python3").items():
            shutil.copy(library, folder / "lib" / name)
            if name.startswith("ld-"):
                loader = name
        if not loader:
            raise LocalFleetError(f"{sys.executable} is no dynamically linked program of glibc")
        run = folder / "run.sh"
        # its own loader finds its own libraries; nothing of it is in the environment of the job
        python = f"{self.PLACE}/bin/python3"
        run.write_text(
            "#!/bin/bash\n"
            f"exec {self.PLACE}/lib/{loader} --library-path {self.PLACE}/lib --argv0 {python} "
            f'{python} -I -u {self.PLACE}/runner.py "$@"\n'
        )
        run.chmod(0o755)


def _shared_libraries(program: Path) -> dict[str, str]:
    """Names and files of what a program is linked with, the loader itself included."""
    lines = subprocess.run(
        ["ldd", str(program)],  # noqa: S607 - it is wherever the machine's libc put it
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found = {}
    for line in lines:
        words = line.replace("=>", " ").split()
        files = [word for word in words if word.startswith("/")]
        if files:
            found[Path(words[0]).name] = files[-1]
    return found
