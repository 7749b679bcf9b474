"""What is started for a task: the runner image's entry point, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cdk_runner_fleet.local.emulator.buildah import RunnerImages

from .options import REGION, Options

_FARGATE = {
    "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
_RUN_SCRIPT = """#!/usr/bin/env bash
exec {python} -m cdk_runner_fleet.local.emulator.runner "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What to start for a task.

    Attributes:
        arguments: the command line.
        environment: all of its environment.
        folder: its working directory.
        container: the name of the container that it runs in; empty if it runs in none.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    container: str = ""


def runner_launch(environment: Mapping[str, str], folder: Path, options: Options) -> Launch:
    """The runner image's entry point, as the container of the task definition would start it.

    Args:
        environment: the container's, overrides applied.
        folder: the task's own; becomes ``RUNNER_HOME``.
        options: where the image's files and the emulator are.
    """
    run = folder / "run.sh"
    run.write_text(_RUN_SCRIPT.format(python=sys.executable))
    run.chmod(0o755)
    # The package is importable in the emulator's environment; a checkout's may not be installed.
    package_root = str(Path(__file__).resolve().parents[3])
    return Launch(
        arguments=("bash", str(options.runner_image / "entrypoint.sh")),
        environment={
            "PATH": _path_with_curl(options),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": package_root,
            "PYTHONUNBUFFERED": "1",
            "RUNNER_HOME": str(folder),
            **_FARGATE,
            **environment,
        },
        folder=folder,
    )


def image_launch(
    image: str, environment: Mapping[str, str], folder: Path, images: RunnerImages
) -> Launch:
    """The image's own entry point, in a container of it.

    Args:
        image: ``repository:tag``.
        environment: the container's, overrides applied.
        folder: the task's own.
        images: where images are.

    Raises:
        ImageError: there is no such image.
    """
    container = images.container(image, {**_FARGATE, **environment})
    return Launch(
        arguments=container.arguments,
        environment=os.environ,
        folder=folder,
        container=container.name,
    )


def _path_with_curl(options: Options) -> str:
    path = os.environ.get("PATH", os.defpath)
    if shutil.which("curl"):
        return path
    folder = options.tasks_dir / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    stand_in = folder / "curl"
    if not stand_in.exists():
        stand_in.write_text(
            f"#!/usr/bin/env bash\nexec {sys.executable} "
            f'{Path(__file__).with_name("curl_stand_in.py")} "$@"\n'
        )
        stand_in.chmod(0o755)
    return f"{folder}{os.pathsep}{path}"


Launcher = Callable[[Mapping[str, str], Path, Options], Launch]
