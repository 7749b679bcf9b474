"""EFS: what tasks have mounted is a folder of this machine, one for each file system.

A task that runs on this machine as it is has no root of its own: it finds what is mounted at
``/mnt/cache`` in ``$RUNNER_HOME/mnt/cache``. That it may only read is not emulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ministack.services import ec2, efs

from . import access

_FAILED = "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: "
"""The words are those of reports about Fargate: aws/copilot-cli#3350,
cn-terraform/terraform-aws-jenkins#23, docker-archive/compose-cli#1490."""
_ENDED = " : unsuccessful EFS utils command execution; code: "


def mount_problem(definition: Mapping[str, Any], *, role: str, subnet: str) -> str | None:
    """Why Fargate could not mount what a task definition has, in its words, or None.

    Args:
        definition: the task definition.
        role: the task's role, by which it is mounted.
        subnet: where the task is.
    """
    zone = ec2._subnets.get(subnet, {}).get("AvailabilityZone")
    for volume in map(_configuration, definition.get("volumes") or []):
        name = volume["fileSystemId"]
        system = efs._file_systems.get(name, {})
        zones = [
            target["AvailabilityZoneName"]
            for target in efs._mount_targets.values()
            if target["FileSystemId"] == name
        ]
        if zone not in zones:
            return (
                f'{_FAILED}stderr: Failed to resolve "{name}.efs.us-east-1.amazonaws.com" - check '
                "that your file system ID is correct, and ensure that the VPC has an EFS mount "
                f"target for this file system ID.{_ENDED}1"
            )
        authorization = volume.get("authorizationConfig") or {}
        point = efs._access_points.get(authorization.get("accessPointId", ""), {})
        context = {"elasticfilesystem:accessedviamounttarget": "true"}
        if point:
            context["elasticfilesystem:accesspointarn"] = point["AccessPointArn"]
        if authorization.get("iam") != "ENABLED" or access.role_refusal(
            role, "elasticfilesystem:ClientMount", system["FileSystemArn"], context=context
        ):
            return (
                f"{_FAILED}stderr: b'mount.nfs4: access denied by server while mounting "
                f"127.0.0.1:/'{_ENDED}32"
            )
    return None


def mount(
    definition: Mapping[str, Any], container: Mapping[str, Any], *, home: Path, tasks_dir: Path
) -> None:
    """Put what a container has mounted into its task's folder.

    Args:
        definition: the task definition.
        container: one of its containers.
        home: the task's folder.
        tasks_dir: the folder that all tasks have theirs in.
    """
    volumes = {one["name"]: _configuration(one) for one in definition.get("volumes") or []}
    for point in container.get("mountPoints") or []:
        volume = volumes[point["sourceVolume"]]
        name = (volume.get("authorizationConfig") or {}).get("accessPointId", "")
        folder = (efs._access_points.get(name, {}).get("RootDirectory") or {}).get("Path", "/")
        there = tasks_dir / "efs" / volume["fileSystemId"] / folder.strip("/")
        there.mkdir(parents=True, exist_ok=True)
        here = home / point["containerPath"].strip("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(there, target_is_directory=True)


def _configuration(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = volume["efsVolumeConfiguration"]
    return found
