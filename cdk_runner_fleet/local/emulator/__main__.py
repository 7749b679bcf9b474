"""``python -m cdk_runner_fleet.local.emulator --port N --tasks-dir DIR``."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from cdk_runner_fleet._assets import RUNNER_IMAGE

from .options import Options
from .server import listen, run


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="cdk_runner_fleet.local.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 picks a free one")
    parser.add_argument("--tasks-dir", type=Path, help="folder for tasks and logs (temporary)")
    parser.add_argument("--runner-image-dir", type=Path, default=RUNNER_IMAGE)
    parser.add_argument("--workers-per-function", type=int, default=4)
    parser.add_argument("--build-seconds", type=float, default=0.3)
    parser.add_argument("--images", choices=("none", "buildah"), default="none")
    parser.add_argument(
        "--parent-pid",
        type=int,
        default=os.getppid(),
        help="end with this process, the starting one; needed only if that may end within a second",
    )
    given = parser.parse_args()
    listening = listen(given.port)
    with tempfile.TemporaryDirectory(prefix="runner-fleet-") as temporary:
        run(
            Options(
                port=listening.getsockname()[1],
                tasks_dir=(given.tasks_dir or Path(temporary)).resolve(),
                runner_image=given.runner_image_dir.resolve(),
                workers_per_function=given.workers_per_function,
                build_seconds=given.build_seconds,
                images=given.images,
            ),
            listening,
            given.parent_pid,
        )
    # ministack leaves worker threads that wait for work that will not come.
    os._exit(0)


if __name__ == "__main__":
    main()
