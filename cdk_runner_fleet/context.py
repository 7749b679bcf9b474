"""The settings of ``cdk.json``: each key checked, and turned into a fleet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from constructs import Construct, Node

from cdk_runner_fleet.fleet import RunnerFleet
from cdk_runner_fleet.values import LifecycleTimeouts, RunnerClass


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """The app's settings under the names that they have in ``cdk.json``.

    Times are in seconds. What is ``None`` takes the default of :class:`RunnerFleet`.

    Raises:
        ValueError: from :meth:`from_context`, if a setting has the wrong type.
    """

    github_repo: str
    github_api_url: str = "https://api.github.com"
    subnet_ids: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    assign_public_ip: bool = True
    runner_image: str | None = None
    runner_image_tag: str = "default"
    runner_class_sizes: Mapping[str, Mapping[str, Any]] | None = None
    runner_name_prefix: str = "fleet"
    image_build_project: bool = True
    allowed_images: Sequence[str] | None = None
    event_bus_name: str | None = None
    runner_ttl_seconds: int = 21600
    boot_timeout_seconds: int = 300
    idle_timeout_seconds: int = 600
    image_build_timeout_seconds: int = 1800

    @classmethod
    def from_context(cls, node: Node) -> FleetSettings:
        """Read every setting from the context of ``node``; ``-c`` gives them as strings."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            given = node.try_get_context(field.name)
            if given is None or given == "":
                continue
            values[field.name] = _parse(field.name, given, str(field.type))
        if "github_repo" not in values:
            raise ValueError(
                "github_repo is not set, name the repository in cdk.json "
                "or with -c github_repo=owner/repo"
            )
        return cls(**values)

    def make(self, scope: Construct, construct_id: str) -> RunnerFleet:
        """Make the fleet in ``scope``."""
        return RunnerFleet(
            scope,
            construct_id,
            github_repo=self.github_repo,
            github_api_url=self.github_api_url,
            runner_classes=_classes(self.runner_class_sizes),
            runner_image=self.runner_image,
            runner_image_tag=self.runner_image_tag,
            image_building=self.image_build_project,
            allowed_images=self.allowed_images,
            runner_name_prefix=self.runner_name_prefix,
            event_bus_name=self.event_bus_name,
            subnets=[
                ec2.Subnet.from_subnet_id(scope, f"Subnet{index}", subnet_id)
                for index, subnet_id in enumerate(self.subnet_ids)
            ],
            security_groups=[
                ec2.SecurityGroup.from_security_group_id(scope, f"SecurityGroup{index}", group_id)
                for index, group_id in enumerate(self.security_groups)
            ],
            assign_public_ip=self.assign_public_ip,
            timeouts=LifecycleTimeouts(
                boot=Duration.seconds(self.boot_timeout_seconds),
                idle=Duration.seconds(self.idle_timeout_seconds),
                image_build=Duration.seconds(self.image_build_timeout_seconds),
                job=Duration.seconds(self.runner_ttl_seconds),
            ),
        )


def _parse(name: str, given: object, kind: str) -> object:
    """Turn what stands in context into what the setting wants, by its annotation ``kind``."""
    if kind.startswith("str"):
        if isinstance(given, str):
            return given
        raise _wrong(name, given, "a string")
    if kind == "bool":
        spelled = {"true": True, "on": True, "false": False, "off": False}
        if isinstance(given, bool):
            return given
        if str(given).lower() in spelled:
            return spelled[str(given).lower()]
        raise _wrong(name, given, "true or false")
    if kind == "int":
        if isinstance(given, bool) or not str(given).removesuffix(".0").isdigit():
            raise _wrong(name, given, "a whole number of seconds")
        return int(float(str(given)))
    value = given
    if isinstance(given, str):
        try:
            value = json.loads(given)
        except json.JSONDecodeError:
            value = [part.strip() for part in given.split(",")]
    if kind.startswith("Sequence"):
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return value
        raise _wrong(name, given, "a list of strings")
    if isinstance(value, Mapping):
        return value
    raise _wrong(name, given, 'an object such as {"small": {"cpu": 512, "memory": 1024}}')


def _wrong(name: str, given: object, wanted: str) -> ValueError:
    return ValueError(f"setting {name} is {given!r}, give {wanted}")


def _classes(
    sizes: Mapping[str, Mapping[str, Any]] | None,
) -> Mapping[str, RunnerClass] | None:
    if sizes is None:
        return None
    allowed = {field.name for field in fields(RunnerClass)}
    classes = {}
    for name, size in sizes.items():
        if not isinstance(size, Mapping) or not {"cpu", "memory"} <= set(size) <= allowed:
            raise ValueError(
                f"runner class {name!r} is {size!r}, give cpu and memory, "
                f"and of {sorted(allowed)} nothing else"
            )
        classes[name] = RunnerClass(
            **{**size, "cpu": int(size["cpu"]), "memory": int(size["memory"])}
        )
    return classes
