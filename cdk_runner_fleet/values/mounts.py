"""A folder of a file system that runners have, and what they leave there for the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cdk_runner_fleet.values.types import check_types, is_token

if TYPE_CHECKING:
    from aws_cdk import aws_efs as efs

_RUNNERS_OWN = (
    "/bin",
    "/dev",
    "/etc",
    "/home/runner",
    "/lib",
    "/lib64",
    "/opt/fleet",
    "/opt/python",
    "/proc",
    "/sbin",
    "/sys",
    "/tmp",  # noqa: S108 - a name to refuse
    "/usr",
)
"""What a runner is started from and works in: a file system over it, or in it, would be in the way
(``runner_image/Dockerfile``)."""


@dataclass(frozen=True, kw_only=True)
class EfsMount:
    """An EFS file system that runners of a class have in a folder of theirs.

    It is mounted over TLS, as the task role of the class, which may mount it and, unless
    ``read_only``, write to it, by its access point alone if there is one.

    Args:
        file_system: The file system: in the fleet's account and region, with a mount target in the
            zone of each of the class's subnets.
        path: Where runners have it, for example ``/mnt/cache``.
        access_point: The access point that it is mounted by, of this file system. Jobs run as user
            1000, whom the root of a new file system lets read alone: an access point with
            ``posix_user`` 1000 and a ``create_acl`` of its own is what they can write to. Default:
            the root of the file system.
        read_only: Whether runners cannot write to it.

    Raises:
        TypeError: if a value is of another kind.
        ValueError: if ``path`` is none, or in the runner's way, or the access point is another file
            system's.
    """

    file_system: efs.IFileSystem
    path: str
    access_point: efs.IAccessPoint | None = None
    read_only: bool = False

    def __post_init__(self) -> None:
        """Check the path, and whose the access point is."""
        from aws_cdk import aws_efs as efs  # noqa: PLC0415 - who has a file system has loaded it

        check_types(EfsMount, vars(self))
        if not is_token(self.path):
            _check_path(self.path)
        point = self.access_point
        if (
            isinstance(point, efs.AccessPoint)
            and point.file_system.node.path != self.file_system.node.path
        ):
            raise ValueError(
                f"access_point {point.node.path} is of {point.file_system.node.path}, and "
                f"file_system is {self.file_system.node.path}: give an access point of that one"
            )


def check_mounts(mounts: Sequence[EfsMount]) -> None:
    """Refuse two mounts at one place.

    Raises:
        ValueError: if there are.
    """
    paths = [mount.path for mount in mounts]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(
                f"mounts of a class have {path!r} {paths.count(path)} times, and a folder has one "
                "file system: give each a path of its own"
            )


def _check_path(path: str) -> None:
    if not path.startswith("/") or str(PurePosixPath(path)) != path or ".." in path.split("/"):
        raise ValueError(
            f"path {path!r} of a mount is not absolute, or not as short as it could be: give one "
            "such as /mnt/cache"
        )
    for own in _RUNNERS_OWN:
        if f"{path}/".startswith(f"{own}/") or f"{own}/".startswith(f"{path.rstrip('/')}/"):
            raise ValueError(
                f"path {path!r} of a mount is in the way of {own}, which a runner needs as it is: "
                "give one such as /mnt/cache"
            )
