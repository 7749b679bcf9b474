"""`runner-fleet list-class-sizes`: the sizes of runner that jobs can ask for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from botocore.exceptions import ClientError

from cdk_runner_fleet._runtime import runtime
from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, is_refused_as
from cdk_runner_fleet.cli.options import Output, OutputOption, Profile, Region, Stack
from cdk_runner_fleet.cli.output import print_json, print_table

__all__ = ["list_class_sizes"]


def list_class_sizes(
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the runner classes in force; the first one serves jobs without a `class:` label.

    What is wrong with the last edits is told too, with exit code 1.
    """
    catalog = _read(Deployment(stack=stack, profile=profile, region=region))
    usable = [asdict(each) for each in catalog.classes.values() if hasattr(each, "cpu")]
    if output is Output.JSON:
        print_json({each.pop("name"): each | {"labels": sorted(each["labels"])} for each in usable})
    else:
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
            map(_row, usable),
        )
    if catalog.faults:
        raise FleetError("; ".join(catalog.faults))


def _row(size: dict[str, Any]) -> tuple[str, ...]:
    return (
        size["name"],
        str(size["cpu"]),
        str(size["memory"]),
        str(size["ephemeral_storage"]),
        size["architecture"],
        " ".join(sorted(size["labels"])),
        " ".join(size["capabilities"]),
        " ".join(size["capacity"]),
        "" if size["max_runners"] is None else str(size["max_runners"]),
        "" if size["allow_images"] else "refused",
    )


def _read(deployment: Deployment) -> Any:
    """The catalog as the functions read it, by the same rules."""
    rules = runtime("job/catalog")
    try:
        return rules["Catalog"].in_force(
            [_versions(deployment, name, rules) for name in deployment.class_sizes_parameters]
        )
    except rules["CatalogError"] as error:
        raise FleetError(
            f'{error}. Write JSON such as {{"small": {{"cpu": 512, "memory": 1024}}}} into it'
        ) from error


def _versions(deployment: Deployment, name: str, rules: Any) -> list[Any]:
    pages = deployment.client("ssm").get_paginator("get_parameter_history").paginate(Name=name)
    try:
        found = [
            rules["Version"](parameter=name, number=each["Version"], text=each["Value"])
            for page in pages
            for each in page["Parameters"]
        ]
    except ClientError as error:
        if is_refused_as(error, "ParameterNotFound"):
            raise FleetError(
                f"there is no SSM parameter {name!r} here: check --region and --profile, "
                "unset CLASS_SIZES_PARAMS or name the fleet's stack with --stack"
            ) from error
        raise
    return sorted(found, key=lambda version: version.number, reverse=True)
