"""The settings of ``cdk.json``: each key checked, and turned into a fleet."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct, Node

from cdk_runner_fleet.fleet import RunnerFleet
from cdk_runner_fleet.rooms.network import small_vpc
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.github import GitHub, GitHubApp, RegisterFor
from cdk_runner_fleet.values.limits import RunnerLimits
from cdk_runner_fleet.values.reconciliation import Reconciliation
from cdk_runner_fleet.values.runner_class import RunnerClass
from cdk_runner_fleet.values.runner_image import ImageBuilds, ImageVariant, RunnerImage
from cdk_runner_fleet.values.timeouts import LifecycleTimeouts
from cdk_runner_fleet.values.webhook import Webhook

_NEAR = 0.85
"""How like a setting's name a key has to be, of 1: one letter or two amiss."""
_OURS = {"fleet", "github", "reconcile", "runner", "runners"}
"""Words of a key that is about a fleet of runners, whoever wrote it."""
_TEXTS = ("str", "ImageVariant", "RegisterFor")
"""Annotations of what is a text in ``cdk.json``; whether it is one that may be is checked later."""
_SERVED = ("github_repo", "github_org", "github_enterprise")
_UNITS = ("_arn", "_minutes", "_seconds", "_usd")

_FLEET_KEYS = {
    "allowed_bases": "allowed_images",  # the functions' settings have them
    "classes": "runner_class_sizes",
    "powertools_layer": "powertools_layer_arn",
    "vpc_subnets": "subnet_ids",
}
_GITHUB_KEYS = {
    "api_url": "github_api_url",
    "apps": "github_apps",
    "enterprise": "github_enterprise",
    "explain_jobs": "explain_at_github",
    "organization": "github_org",
    "repository": "github_repo",
}
_RETENTIONS = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    400: logs.RetentionDays.THIRTEEN_MONTHS,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
    1096: logs.RetentionDays.THREE_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
    2192: logs.RetentionDays.SIX_YEARS,
    2557: logs.RetentionDays.SEVEN_YEARS,
    2922: logs.RetentionDays.EIGHT_YEARS,
    3288: logs.RetentionDays.NINE_YEARS,
    3653: logs.RetentionDays.TEN_YEARS,
}
"""By days, those that CloudWatch Logs has (its API reference, ``PutRetentionPolicy``)."""
_RECONCILIATION_KEYS = {"every": "reconcile_minutes", "grace": "reconcile_grace_seconds"}
_WEBHOOK_KEYS = {
    "allowed_cidrs": "webhook_allowed_cidrs",
    "only_from_github": "webhook_only_from_github",
}
_IMAGE_KEYS = {
    "allowed_bases": "allowed_images",
    "capabilities": "runner_image_capabilities",
    "max_concurrent_builds": "max_image_builds",
    "name": "runner_image_tag",
    "soci": "image_soci",
    "uri": "runner_image",
    "variant": "runner_image_variant",
}
_TIMEOUT_KEYS = {
    "boot timeout": "boot_timeout_seconds",
    "idle timeout": "idle_timeout_seconds",
    "image_build timeout": "image_build_timeout_seconds",
    "job timeout": "runner_ttl_seconds",
}
_APP_KEYS = {"private_key": "private_key_secret", "kms_key": "kms_key_arn"}
"""The keys of ``cdk.json`` by the constructs' own words for the same, where these differ."""
_BY_PROP = {
    "github_token": "the secret GithubTokenSecretArn",
    **{
        prop.replace(" ", "_"): key
        for keys in (_FLEET_KEYS, _IMAGE_KEYS, _TIMEOUT_KEYS)
        for prop, key in keys.items()
    },
}

# API references of EC2, Systems Manager, Secrets Manager and KMS
_SUBNET = re.compile(r"subnet-[0-9a-z]+")
_SECURITY_GROUP = re.compile(r"sg-[0-9a-z]+")
_PARAMETER = re.compile(r"/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_SECRET = re.compile(
    r"arn:[^:]+:secretsmanager:[^:]+:[^:]+:secret:\S+-[A-Za-z0-9]{6}"
    r"|(?!arn:)[A-Za-z0-9/_+=.@-]{1,512}"
)
_KEY_ARN = "arn:aws:kms:<region>:<account>:key/<id>"
_TOPIC_ARN = "arn:aws:sns:<region>:<account>:<name>"
_TOPIC = re.compile(r"arn:[^:]+:sns:[^:]+:\d{12}:[A-Za-z0-9_-]{1,256}")
_KEY = re.compile(r"arn:[^:]+:kms:[^:]+:\d{12}:key/\S+")


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """The app's settings under the names that they have in ``cdk.json``.

    Times are in seconds. What is ``None`` takes the default of :class:`RunnerFleet`.

    Raises:
        ValueError: from :meth:`from_context`, if a setting has the wrong type, or a key must be
            meant for one; from :meth:`make`, if one cannot work. It names the keys of ``cdk.json``.
    """

    github_repo: str | None = None
    github_org: str | None = None
    github_enterprise: str | None = None
    github_apps: Sequence[Mapping[str, Any]] = ()
    runner_group: str | None = None
    register_for: RegisterFor | None = None
    image_runner_group: str | None = None
    webhook_allowed_cidrs: Sequence[str] = ()
    webhook_only_from_github: bool = False
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
    runner_image_variant: ImageVariant = "base"
    runner_image_capabilities: Sequence[str] = ()
    apt_packages: Sequence[str] = ()
    pip_packages: Sequence[str] = ()
    image_soci: bool = False
    runner_class_sizes: Mapping[str, Mapping[str, Any]] | None = None
    runner_name_prefix: str = "fleet"
    encryption_key_arn: str | None = None
    log_retention_days: int = 30
    image_build_project: bool = True
    max_image_builds: int = 5
    max_images_per_repository: int = 20
    allowed_images: Sequence[str] | None = None
    explain_at_github: bool = True
    reconcile_minutes: int = 2
    reconcile_grace_seconds: int = 60
    rerun_lost_jobs: bool = False
    max_runners: int = 100
    max_runners_per_repository: int | None = None
    daily_budget_usd: float | None = None
    tracing: bool = False
    powertools_layer_arn: str | None = None
    alarm_topic_arn: str | None = None
    dashboard: bool = False
    runner_ttl_seconds: int = 21600
    boot_timeout_seconds: int = 300
    idle_timeout_seconds: int = 600
    image_build_timeout_seconds: int = 1800

    @classmethod
    def from_context(cls, node: Node, *, exclusive: bool = False) -> FleetSettings:
        """Read every setting from the context of ``node``; ``-c`` gives them as strings.

        Args:
            node: Of the app, or of what is in it.
            exclusive: Whether the app is the fleet and nothing else, so that a key that is no
                setting is a mistake. Names with a colon, an ``@`` or a dash are the CDK's. Default:
                others may have keys there too, and only what is surely meant for the fleet is.
        """
        known = [field.name for field in fields(cls)]
        _check_keys(node.get_all_context(), known=known, exclusive=exclusive)
        values: dict[str, Any] = {}
        for field in fields(cls):
            given = node.try_get_context(field.name)
            if given is None or given == "":
                continue
            values[field.name] = _parse(field.name, given, str(field.type))
        if not values.keys() & {*_SERVED}:
            raise ValueError(
                "github_repo is not set, name the repository in cdk.json or with "
                "-c github_repo=owner/repo, or what to serve instead: github_org, github_enterprise"
            )
        return cls(**values)

    def make(self, scope: Construct, construct_id: str) -> RunnerFleet:
        """Make the fleet in ``scope``."""
        self._check_network()
        github = self._github(scope)
        classes = _classes(self.runner_class_sizes)
        image, images = self._image(), self._images()
        timeouts = self._timeouts()
        with _told_by(_WEBHOOK_KEYS):
            webhook = Webhook(
                allowed_cidrs=self.webhook_allowed_cidrs,
                only_from_github=self.webhook_only_from_github,
                reserved_concurrency=self.reserved_concurrency,
            )
        with _told_by(_RECONCILIATION_KEYS):
            reconciliation = Reconciliation(
                every=Duration.minutes(self.reconcile_minutes),
                grace=Duration.seconds(self.reconcile_grace_seconds),
                rerun_lost_jobs=self.rerun_lost_jobs,
            )
        if self.alarm_topic_arn is not None:
            _check_form("alarm_topic_arn", self.alarm_topic_arn, _TOPIC, like=_TOPIC_ARN)
        with _told_by({**_FLEET_KEYS, **_WEBHOOK_KEYS, "api_url": _GITHUB_KEYS["api_url"]}):
            fleet = RunnerFleet(
                scope,
                construct_id,
                github=github,
                classes=classes,
                image=image,
                images=images,
                runner_name_prefix=self.runner_name_prefix,
                encryption_key=(
                    kms.Key.from_key_arn(scope, "EncryptionKey", self.encryption_key_arn)
                    if self.encryption_key_arn
                    else None
                ),
                log_retention=self._log_retention(),
                limits=RunnerLimits(
                    max_runners=self.max_runners,
                    max_runners_per_repository=self.max_runners_per_repository,
                    daily_budget_usd=self.daily_budget_usd,
                ),
                webhook=webhook,
                reconciliation=reconciliation,
                functions=FunctionOptions(
                    tracing=lambda_.Tracing.ACTIVE if self.tracing else None,
                    powertools_layer=(
                        lambda_.LayerVersion.from_layer_version_arn(
                            scope, "PowertoolsLayer", self.powertools_layer_arn
                        )
                        if self.powertools_layer_arn
                        else None
                    ),
                ),
                vpc=(
                    small_vpc(scope, "Vpc", availability_zones=self.availability_zones)
                    if self.availability_zones
                    else None
                ),
                vpc_subnets=(
                    ec2.SubnetSelection(
                        subnets=[
                            ec2.Subnet.from_subnet_id(scope, f"Subnet{index}", subnet_id)
                            for index, subnet_id in enumerate(self.subnet_ids)
                        ]
                    )
                    if self.subnet_ids
                    else None
                ),
                security_groups=[
                    ec2.SecurityGroup.from_security_group_id(
                        scope, f"SecurityGroup{index}", group_id
                    )
                    for index, group_id in enumerate(self.security_groups)
                ],
                assign_public_ip=self.assign_public_ip,
                timeouts=timeouts,
            )
        self._watch(fleet)
        return fleet

    def _watch(self, fleet: RunnerFleet) -> None:
        """Add what an operator is told by."""
        alarms = None
        if self.alarm_topic_arn is not None:
            # only here: few need it, and it is slow to load
            from aws_cdk import aws_sns as sns  # noqa: PLC0415

            topic = sns.Topic.from_topic_arn(fleet, "AlarmTopic", self.alarm_topic_arn)
            alarms = fleet.add_alarms(topic)
        if self.dashboard:
            fleet.add_dashboard(alarms=alarms)
            fleet.add_log_queries()

    def _github(self, scope: Construct) -> GitHub:
        served = {key: value for key in _SERVED if (value := getattr(self, key)) is not None}
        if len(served) != 1:
            raise ValueError(
                f"{' and '.join(served) or 'no scope'} given, give exactly one of "
                f"{', '.join(_SERVED)}: a fleet serves one of them"
            )
        if self.encryption_key_arn is not None:
            _check_form("encryption_key_arn", self.encryption_key_arn, _KEY, like=_KEY_ARN)
        if self.github_ca is not None:
            _check_form("github_ca", self.github_ca, _PARAMETER, like="/github/ca")
        self._check_served()
        groups: dict[str, Any] = {
            "runner_group": self.runner_group,
            "register_for": self.register_for,
            "image_runner_group": self.image_runner_group,
        }
        apps: dict[str, Any] = {
            "apps": [
                _app(scope, f"GithubApp{index}", app, place=f"github_apps[{index}]")
                for index, app in enumerate(self.github_apps)
            ]
        }
        common: dict[str, Any] = {
            "api_url": self.github_api_url,
            "ca": (
                ssm.StringParameter.from_string_parameter_name(scope, "GithubCa", self.github_ca)
                if self.github_ca
                else None
            ),
            "required_labels": self.required_labels,
            "single_labels": self.single_labels,
            "explain_jobs": self.explain_at_github,
        }
        with _told_by(_GITHUB_KEYS):
            if self.github_repo is not None:
                return GitHub.repository(self.github_repo, **apps, **common)
            if self.github_org is not None:
                return GitHub.organization(self.github_org, **apps, **groups, **common)
            assert self.github_enterprise is not None  # noqa: S101 - the third of them
            return GitHub.enterprise(self.github_enterprise, **groups, **common)

    def _check_served(self) -> None:
        """Refuse what does not go with what is served."""
        for key in ("runner_group", "image_runner_group", "register_for"):
            value = getattr(self, key)
            if value is not None and self.github_repo is not None:
                raise ValueError(
                    f"{key} {value!r} and github_repo {self.github_repo!r} do not go together, a "
                    "repository's runners are its own and have no groups: leave it out, or serve "
                    "the whole organization with github_org"
                )
        if self.github_apps and self.github_enterprise is not None:
            raise ValueError(
                "github_apps cannot serve github_enterprise, GitHub lets no App manage an "
                "enterprise's runners: put a classic token with manage_runners:enterprise into "
                "the secret GithubTokenSecretArn, or deploy a stack with github_org for each "
                "organization"
            )

    def _check_network(self) -> None:
        """Refuse what needs a ``vpc``, which no setting can give."""
        if bool(self.subnet_ids) != bool(self.security_groups):
            raise ValueError(
                f"subnet_ids {list(self.subnet_ids)} and security_groups "
                f"{list(self.security_groups)} go together: give both, of one VPC, or neither for "
                "a VPC of the fleet's own"
            )
        if not self.assign_public_ip and not self.subnet_ids:
            raise ValueError(
                "assign_public_ip is off and no subnet_ids are given, and the VPC that would be "
                "made has no other way out: give subnet_ids with a NAT gateway and their "
                "security_groups, or leave it on"
            )
        if self.availability_zones and self.subnet_ids:
            raise ValueError(
                f"availability_zones {list(self.availability_zones)} and subnet_ids are given, "
                "which have zones of their own: leave one of them out"
            )
        for each in self.subnet_ids:
            _check_form("subnet_ids", each, _SUBNET, like="subnet-0123456789abcdef0")
        for each in self.security_groups:
            _check_form("security_groups", each, _SECURITY_GROUP, like="sg-0123456789abcdef0")

    def _log_retention(self) -> logs.RetentionDays:
        if self.log_retention_days not in _RETENTIONS:
            raise ValueError(
                f"log_retention_days {self.log_retention_days!r} is none of CloudWatch's, use one "
                f"of {', '.join(map(str, _RETENTIONS))}"
            )
        return _RETENTIONS[self.log_retention_days]

    def _timeouts(self) -> LifecycleTimeouts:
        with _told_by(_TIMEOUT_KEYS):
            return LifecycleTimeouts(
                boot=Duration.seconds(self.boot_timeout_seconds),
                idle=Duration.seconds(self.idle_timeout_seconds),
                image_build=Duration.seconds(self.image_build_timeout_seconds),
                job=Duration.seconds(self.runner_ttl_seconds),
            )

    def _image(self) -> RunnerImage:
        building = {
            "runner_image_variant": self.runner_image_variant != "base",
            "apt_packages": bool(self.apt_packages),
            "pip_packages": bool(self.pip_packages),
            "image_soci": self.image_soci,
        }
        given = [f"{key} {getattr(self, key)!r}" for key, is_given in building.items() if is_given]
        if self.runner_image is not None and given:
            raise ValueError(
                f"runner_image {self.runner_image!r} is a ready image and {', '.join(given)} would "
                "build one: leave either out"
            )
        with _told_by(_IMAGE_KEYS):
            if self.runner_image is not None:
                return RunnerImage.ready(
                    self.runner_image,
                    name=self.runner_image_tag,
                    capabilities=self.runner_image_capabilities,
                )
            return RunnerImage.built(
                variant=self.runner_image_variant,
                apt_packages=self.apt_packages,
                pip_packages=self.pip_packages,
                name=self.runner_image_tag,
                capabilities=self.runner_image_capabilities,
                soci=self.image_soci,
            )

    def _images(self) -> ImageBuilds:
        if not self.image_build_project and self.runner_image is None:
            raise ValueError(
                "image_build_project is off and no runner_image is given, so no job could have an "
                "image: name a ready runner_image, or leave image_build_project on"
            )
        if not self.image_build_project and self.allowed_images is not None:
            raise ValueError(
                f"allowed_images {list(self.allowed_images)!r} given and image_build_project is "
                "off: leave one of them out"
            )
        with _told_by(_IMAGE_KEYS):
            return ImageBuilds(
                allowed_bases=self.allowed_images if self.image_build_project else (),
                max_concurrent_builds=self.max_image_builds,
                max_images_per_repository=self.max_images_per_repository,
            )


@contextmanager
def _told_by(keys: Mapping[str, str], *, place: str = "") -> Iterator[None]:
    """Have errors name what is wrong by its key in ``cdk.json``, after the place it has there."""
    try:
        yield
    except (TypeError, ValueError) as error:
        told = str(error)
        for name, key in keys.items():
            # a word that everyday language has, too, is a name at the beginning or before a value
            form = name if "_" in name else rf"(?:^{name}|{name}(?= ['\[]))"
            told = re.sub(rf"(?<![\w.]){form}(?![\w'])", key, told)
        raise ValueError(f"{place}{told}") from None


def _check_keys(context: Mapping[str, Any], *, known: Sequence[str], exclusive: bool) -> None:
    """Refuse keys that are meant for the fleet and would have no effect."""
    for key in sorted(context.keys() - set(known)):
        if ":" in key:
            continue  # the CDK's flags, and what it has looked up
        meant = _meant(key, known, exclusive=exclusive)
        if meant is not None:
            remedy = f"is {meant} meant?"
        elif exclusive and key.isidentifier():
            remedy = f"use some of {', '.join(sorted(known))}"
        else:
            continue
        raise ValueError(f"setting {key!r} is not known, and would have no effect: {remedy}")


def _meant(key: str, known: Sequence[str], *, exclusive: bool) -> str | None:
    """Say what a key is meant for, if that is sure: among the keys of others it is less often."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", key)]
    prop = _BY_PROP.get("_".join(words))
    if prop is not None and (exclusive or (len(words) > 1 and prop in known)):
        return prop
    plain = {_plain(name): name for name in known}
    plain |= {_plain(name.removesuffix(unit)): name for name in known for unit in _UNITS}
    near = difflib.get_close_matches(_plain(key), plain, n=1, cutoff=_NEAR)
    if near:
        return plain[near[0]]
    if not exclusive and (len(words) == 1 or not _OURS & {*words}):
        return None
    akin = [name for name in known if all(_is_in(name, word) for word in words)]
    return " or ".join(akin) if words and akin else None


def _is_in(name: str, word: str) -> bool:
    """Whether a setting's name has a word, or what that is short for or long for."""
    return any(
        len(min(word, part, key=len)) > 2 and (part.startswith(word) or word.startswith(part))
        for part in name.split("_")
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _parse(name: str, given: object, kind: str) -> object:
    """Turn what stands in context into what the setting wants, by its annotation ``kind``."""
    if kind.startswith(_TEXTS):
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


def _check_form(name: str, given: object, form: re.Pattern[str], *, like: str) -> None:
    if not isinstance(given, str) or not form.fullmatch(given):
        raise _wrong(name, given, f"one such as {like}")


def _app(scope: Construct, construct_id: str, app: Mapping[str, Any], *, place: str) -> GitHubApp:
    keys = {"private_key_secret", "kms_key_arn"}
    if not {"app_id"} < set(app) <= {"app_id", "installation_id"} | keys or not keys & set(app):
        raise ValueError(
            f"{place} {dict(app)!r} cannot be read, give app_id and private_key_secret (a "
            "secret's name or ARN) or kms_key_arn, and of installation_id nothing or a number"
        )
    secret, key = app.get("private_key_secret"), app.get("kms_key_arn")
    if secret is not None:
        like = "its name, or its ARN with the six characters at the end"
        _check_form(f"private_key_secret of {place}", secret, _SECRET, like=like)
    if key is not None:
        _check_form(f"kms_key_arn of {place}", key, _KEY, like=_KEY_ARN)
    with _told_by(_APP_KEYS, place=f"{place}: "):
        return GitHubApp(
            app_id=app["app_id"],
            private_key=(
                _secret(scope, f"{construct_id}PrivateKey", secret) if secret is not None else None
            ),
            kms_key=(
                kms.Key.from_key_arn(scope, f"{construct_id}Key", key) if key is not None else None
            ),
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
    timeouts = {f"{name}_seconds": name for name in ("boot_timeout", "idle_timeout", "job_timeout")}
    # constructs, which no setting can name
    unsaid = {*timeouts.values(), "task_role", "vpc_subnets"}
    allowed = {field.name for field in fields(RunnerClass)} - unsaid | {*timeouts}
    classes = {}
    for name, size in sizes.items():
        place = f"runner_class_sizes[{name!r}]"
        if not isinstance(size, Mapping) or not {"cpu", "memory"} <= set(size) <= allowed:
            raise ValueError(
                f"{place} is {size!r}, give cpu and memory, and of {sorted(allowed)} nothing else"
            )
        numbers = {
            key: _number(f"{key} of {place}", size[key], "int")
            for key in ("cpu", "memory", "ephemeral_storage", *timeouts)
            if key in size
        }
        values = {key: value for key, value in size.items() if key not in timeouts}
        values |= {
            timeouts.get(key, key): Duration.seconds(value) if key in timeouts else int(value)
            for key, value in numbers.items()
        }
        with _told_by({}, place=f"{place}: "):
            classes[name] = RunnerClass(**values)
    return classes
