"""The settings of ``cdk.json``: each key checked, and turned into a fleet."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct, Node

from cdk_runner_fleet.fleet import RunnerFleet
from cdk_runner_fleet.rooms.runner_image import RunnerImage
from cdk_runner_fleet.values.github import GitHubApp
from cdk_runner_fleet.values.runner_class import RunnerClass
from cdk_runner_fleet.values.timeouts import LifecycleTimeouts

_NEAR = 0.85
"""How like a setting's name a key has to be, of 1: one letter or two amiss."""


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """The app's settings under the names that they have in ``cdk.json``.

    Times are in seconds. What is ``None`` takes the default of :class:`RunnerFleet`.

    Raises:
        ValueError: from :meth:`from_context`, if a setting has the wrong type, or a key is so
            like a setting's that it must be meant for it.
    """

    github_repo: str | None = None
    github_org: str | None = None
    github_enterprise: str | None = None
    github_apps: Sequence[Mapping[str, Any]] = ()
    runner_group: str | None = None
    webhook_allowed_cidrs: Sequence[str] = ()
    reserved_concurrency: int | None = None
    github_api_url: str = "https://api.github.com"
    github_ca: str | None = None
    required_labels: Sequence[str] = ()
    single_labels: Mapping[str, str] | None = None
    availability_zones: Sequence[str] = ()
    subnet_ids: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    assign_public_ip: bool = True
    runner_image: str | None = None
    runner_image_tag: str = "default"
    runner_image_variant: str = "base"
    runner_image_capabilities: Sequence[str] = ()
    apt_packages: Sequence[str] = ()
    pip_packages: Sequence[str] = ()
    image_soci: bool = False
    runner_class_sizes: Mapping[str, Mapping[str, Any]] | None = None
    runner_name_prefix: str = "fleet"
    image_build_project: bool = True
    max_image_builds: int = 5
    allowed_images: Sequence[str] | None = None
    event_bus_name: str | None = None
    explain_at_github: bool = True
    reconcile_minutes: int = 2
    reconcile_grace_seconds: int = 60
    rerun_lost_jobs: bool = False
    max_runners: int = 100
    max_runners_per_repository: int | None = None
    daily_budget_usd: float | None = None
    tracing: bool = False
    powertools_layer_arn: str | None = None
    runner_ttl_seconds: int = 21600
    boot_timeout_seconds: int = 300
    idle_timeout_seconds: int = 600
    image_build_timeout_seconds: int = 1800

    @classmethod
    def from_context(cls, node: Node) -> FleetSettings:
        """Read every setting from the context of ``node``; ``-c`` gives them as strings."""
        _check_keys(node.get_all_context(), known={field.name for field in fields(cls)})
        values: dict[str, Any] = {}
        for field in fields(cls):
            given = node.try_get_context(field.name)
            if given is None or given == "":
                continue
            values[field.name] = _parse(field.name, given, str(field.type))
        if not values.keys() & {"github_repo", "github_org", "github_enterprise"}:
            raise ValueError(
                "github_repo is not set, name the repository in cdk.json or with "
                "-c github_repo=owner/repo, or what to serve instead: github_org, github_enterprise"
            )
        return cls(**values)

    def make(self, scope: Construct, construct_id: str) -> RunnerFleet:
        """Make the fleet in ``scope``."""
        return RunnerFleet(
            scope,
            construct_id,
            github_repo=self.github_repo,
            github_org=self.github_org,
            github_enterprise=self.github_enterprise,
            github_apps=[
                _app(scope, f"GithubApp{index}", app) for index, app in enumerate(self.github_apps)
            ],
            runner_group=self.runner_group,
            webhook_allowed_cidrs=self.webhook_allowed_cidrs,
            reserved_concurrency=self.reserved_concurrency,
            github_api_url=self.github_api_url,
            github_ca=(
                ssm.StringParameter.from_string_parameter_name(scope, "GithubCa", self.github_ca)
                if self.github_ca
                else None
            ),
            required_labels=self.required_labels,
            single_labels=self.single_labels,
            runner_classes=_classes(self.runner_class_sizes),
            runner_image=self._image(scope),
            runner_name_prefix=self.runner_name_prefix,
            event_bus_name=self.event_bus_name,
            explain_at_github=self.explain_at_github,
            reconcile_every=Duration.minutes(self.reconcile_minutes),
            reconcile_grace=Duration.seconds(self.reconcile_grace_seconds),
            rerun_lost_jobs=self.rerun_lost_jobs,
            max_runners=self.max_runners,
            max_runners_per_repository=self.max_runners_per_repository,
            daily_budget_usd=self.daily_budget_usd,
            tracing=lambda_.Tracing.ACTIVE if self.tracing else lambda_.Tracing.DISABLED,
            powertools_layer=(
                lambda_.LayerVersion.from_layer_version_arn(
                    scope, "PowertoolsLayer", self.powertools_layer_arn
                )
                if self.powertools_layer_arn
                else None
            ),
            availability_zones=self.availability_zones,
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

    def _image(self, scope: Construct) -> RunnerImage:
        if not self.image_build_project and self.runner_image is None:
            raise ValueError(
                "image_build_project is off and no runner_image is given, so no job could have an "
                "image: name a ready runner_image, or leave image_build_project on"
            )
        return RunnerImage(
            scope,
            "RunnerImage",
            image_uri=self.runner_image,
            variant=self.runner_image_variant,
            apt_packages=self.apt_packages,
            pip_packages=self.pip_packages,
            allowed_bases=self.allowed_images if self.image_build_project else None,
            jobs_may_choose=self.image_build_project,
            name=self.runner_image_tag,
            capabilities=self.runner_image_capabilities,
            soci=self.image_soci,
            max_concurrent_builds=self.max_image_builds,
        )


def _check_keys(context: Mapping[str, Any], *, known: AbstractSet[str]) -> None:
    """Refuse what is surely a setting with a slip in it; all other keys are somebody else's."""
    plain = {_plain(name): name for name in known}
    for key in sorted(context.keys() - known):
        near = difflib.get_close_matches(_plain(key), plain, n=1, cutoff=_NEAR)
        if near and ":" not in key:
            raise ValueError(
                f"setting {key!r} is not known, and would have no effect: "
                f"is {plain[near[0]]} meant?"
            )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


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
    if kind.startswith(("int", "float")):
        return _number(name, given, kind)
    value = given
    if isinstance(given, str):
        try:
            value = json.loads(given)
        except json.JSONDecodeError:
            value = [part.strip() for part in given.split(",")]
    if kind.startswith("Sequence"):
        part, wanted = (
            (Mapping, 'a list such as [{"app_id": 1, "private_key_secret": "name"}]')
            if "Mapping" in kind
            else (str, "a list of strings")
        )
        if isinstance(value, list) and all(isinstance(each, part) for each in value):
            return value
        raise _wrong(name, given, wanted)
    value_type, wanted = (
        (str, 'an object of texts such as {"dependabot": "medium"}')
        if kind.startswith("Mapping[str, str]")
        else (object, 'an object such as {"small": {"cpu": 512, "memory": 1024}}')
    )
    if isinstance(value, Mapping) and all(isinstance(each, value_type) for each in value.values()):
        return value
    raise _wrong(name, given, wanted)


def _number(name: str, given: object, kind: str) -> float:
    is_number = not isinstance(given, bool) and re.fullmatch(r"\d+(\.\d+)?", str(given))
    if kind.startswith("float"):
        if not is_number:
            raise _wrong(name, given, "an amount such as 25 or 2.5")
        return float(str(given))
    if not is_number or float(str(given)) % 1:
        unit = name.rpartition("_")[2]
        of = f" of {unit}" if unit in ("minutes", "seconds") else ""
        raise _wrong(name, given, f"a whole number{of}")
    return int(float(str(given)))


def _wrong(name: str, given: object, wanted: str) -> ValueError:
    return ValueError(f"setting {name} is {given!r}, give {wanted}")


def _app(scope: Construct, construct_id: str, app: Mapping[str, Any]) -> GitHubApp:
    keys = {"private_key_secret", "kms_key_arn"}
    if not {"app_id"} < set(app) <= {"app_id", "installation_id"} | keys or not keys & set(app):
        raise ValueError(
            f"GitHub App {dict(app)!r} cannot be read, give app_id and private_key_secret (a "
            "secret's name or ARN) or kms_key_arn, and of installation_id nothing or a number"
        )
    secret, key = app.get("private_key_secret"), app.get("kms_key_arn")
    return GitHubApp(
        app_id=app["app_id"],
        private_key=_secret(scope, f"{construct_id}PrivateKey", secret) if secret else None,
        kms_key=kms.Key.from_key_arn(scope, f"{construct_id}Key", key) if key else None,
        installation_id=app.get("installation_id"),
    )


def _secret(scope: Construct, construct_id: str, name: str) -> secretsmanager.ISecret:
    if name.startswith("arn:"):
        return secretsmanager.Secret.from_secret_complete_arn(scope, construct_id, name)
    return secretsmanager.Secret.from_secret_name_v2(scope, construct_id, name)


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
