"""What is started for a task: the runner image's entry point, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .options import REGION, Options

_RUN_SCRIPT = """#!/usr/bin/env bash
exec {python} -m cdk_runner_fleet.local.runner "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What to start for a task.

    Attributes:
        arguments: the command line.
        environment: all of its environment.
        folder: its working directory.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


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
    for hook in ("job_started.sh", "job_completed.sh", "report_event.sh"):
        if (options.runner_image / hook).exists():
            shutil.copy(options.runner_image / hook, folder)
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
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            **environment,
        },
        folder=folder,
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
