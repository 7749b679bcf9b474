"""`runner-fleet list-class-sizes`: the sizes of runner that jobs can ask for."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, is_refused_as
from cdk_runner_fleet.cli.options import Output, OutputOption, Profile, Region, Stack
from cdk_runner_fleet.cli.output import print_json, print_table

__all__ = ["list_class_sizes"]

_LABELS = {"X86_64": ["linux", "x64"], "ARM64": ["linux", "arm64"]}
"""What a class has unless the catalog says otherwise, see ``fleet_runtime/job/catalog.py``."""


def list_class_sizes(
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the runner classes; the first one serves jobs without a `class:` label."""
    deployment = Deployment(stack=stack, profile=profile, region=region)
    classes = _read(deployment)
    if output is Output.JSON:
        print_json(classes)
        return
    print_table(
        (
            "CLASS",
            "CPU",
            "MEMORY",
            "DISK",
            "ARCHITECTURE",
            "LABELS",
            "CAPABILITIES",
            "CAPACITY",
            "MAX RUNNERS",
            "IMAGE:",
        ),
        (_row(name, size) for name, size in classes.items()),
    )


def _row(name: str, size: dict[str, Any]) -> tuple[str, ...]:
    architecture = str(size.get("architecture", "X86_64"))
    return (
        name,
        str(size.get("cpu", "")),
        str(size.get("memory", "")),
        str(size.get("ephemeral_storage", 20)),
        architecture,
        " ".join(size.get("labels", _LABELS.get(architecture, []))),
        " ".join(size.get("capabilities", [])),
        " ".join(size.get("capacity", ["FARGATE"])),
        str(size.get("max_runners", "")),
        "" if size.get("allow_images", True) else "refused",
    )


def _read(deployment: Deployment) -> dict[str, dict[str, Any]]:
    name = deployment.class_sizes_parameter
    try:
        value = deployment.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    except ClientError as error:
        if is_refused_as(error, "ParameterNotFound"):
            raise FleetError(
                f"there is no SSM parameter {name!r} here: check --region and --profile, "
                "unset CLASS_SIZES_PARAM or name the fleet's stack with --stack"
            ) from error
        raise
    try:
        classes = json.loads(value)
    except json.JSONDecodeError:
        classes = None
    sizes = classes.values() if isinstance(classes, dict) else [None]
    if not all(isinstance(size, dict) for size in sizes):
        raise FleetError(
            f"SSM parameter {name!r} holds {value[:80]!r}, "
            'write JSON such as {"small": {"cpu": 512, "memory": 1024}} into it'
        )
    return dict(classes)
