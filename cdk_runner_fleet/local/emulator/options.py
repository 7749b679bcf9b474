"""What the emulator is told at start-up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ACCOUNT = "123456789012"
REGION = "us-east-1"
Images = Literal["none", "buildah"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of one emulator process.

    Attributes:
        port: loopback TCP port; the endpoint is ``http://127.0.0.1:<port>``.
        tasks_dir: folder that gets one folder a task, and the functions' logs.
        runner_image: folder with ``entrypoint.sh`` and the hooks of the runner image.
        workers_per_function: most Lambda workers of one function; further calls queue.
        build_seconds: how long a CodeBuild build takes.
        images: ``none``: a build only says that it has ended, and tasks run on this machine as it
            is; ``buildah``: builds make their images, and tasks run in them.
    """

    port: int
    tasks_dir: Path
    runner_image: Path
    workers_per_function: int = 4
    build_seconds: float = 0.3
    images: Images = "none"

    @property
    def endpoint(self) -> str:
        """Base URL of every emulated AWS service."""
        return f"http://127.0.0.1:{self.port}"
