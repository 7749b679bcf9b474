"""The functions' settings: the only reader of the environment.

One frozen dataclass for each function; its field names are the lower-cased environment keys.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.images.releases import Release
from fleet_runtime.job.scope import Scope


class SettingError(Exception):
    """An environment variable is missing or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class ImagePolicy:
    """Which images jobs may ask for.

    Attributes:
        allowed: Globs, matched against the normalised reference.
        building: Whether images are built at all.
    """

    allowed: tuple[str, ...]
    building: bool


@dataclass(frozen=True, kw_only=True)
class AwsAccess:
    """Region, endpoint and credentials as Lambda hands them to a function.

    ``access_key``, ``secret_key`` and ``token`` are the names botocore's signers read.
    """

    region: str
    endpoint_url: str | None
    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return f"AwsAccess(region={self.region!r}, endpoint_url={self.endpoint_url!r})"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many runners there may be at a time, and what they may cost. None: no limit.

    Attributes:
        max_runners: Runners of the whole fleet.
        max_runners_per_repository: Runners for the jobs of one repository.
        daily_budget_usd: Estimated cost of the runners that end on one day, UTC, in US dollars.
    """

    max_runners: int
    max_runners_per_repository: int | None
    daily_budget_usd: float | None


@dataclass(frozen=True, kw_only=True)
class ReceiveWebhook:
    """Settings of ``receive_webhook``."""

    event_bus_name: str
    webhook_secret_arn: str
    github_scope: Scope
    images: ImagePolicy
    aws: AwsAccess


@dataclass(frozen=True, kw_only=True)
class DispatchEvent:
    """Settings of ``dispatch_event``.

    Attributes:
        default_task_definitions: Those of the ready image by architecture; empty if the default
            image is built.
        image_capabilities: What the fleet's images declare; empty if they declare nothing.
        detected_capabilities: What will be found in the default image; empty if only the image
            itself can tell.
        architectures: Those that there are images for.
    """

    runner_table: str
    ledger_table: str
    image_table: str
    event_bus_name: str
    state_machine_arn: str
    class_sizes_param: str
    runner_name_prefix: str
    task_family: str
    default_task_definitions: Mapping[str, str]
    default_image_base: str
    runner_image_tag: str
    image_recipe: str
    image_capabilities: frozenset[str]
    detected_capabilities: frozenset[str]
    architectures: tuple[str, ...]
    images: ImagePolicy
    row_ttl_seconds: int
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class App:
    """A GitHub App. One of ``private_key_secret_arn`` and ``kms_key_id`` is empty."""

    app_id: str
    private_key_secret_arn: str
    kms_key_id: str
    installation_id: int | None


@dataclass(frozen=True, kw_only=True)
class GitHub:
    """Where GitHub is, what is served there, and who asks.

    Attributes:
        api_url: The REST API.
        scope: What is served.
        token_secret_arn: Where the token is kept; empty if there are Apps.
        apps: The Apps, the first one being the webhook's.
        permissions: All that this function's installation tokens may do.
        runner_group: Name of the runners' group; empty for the default one.
        ca_parameter: Where the certificate authority is kept; empty for the system's.
    """

    api_url: str
    scope: Scope
    token_secret_arn: str
    apps: tuple[App, ...]
    permissions: Mapping[str, str]
    runner_group: str
    ca_parameter: str


@dataclass(frozen=True, kw_only=True)
class RunnerApi:
    """Settings of ``runner_api``, and of ``deregister_runner`` and ``check_runner``."""

    runner_table: str
    github: GitHub


@dataclass(frozen=True, kw_only=True)
class ExplainJob:
    """Settings of ``explain_job``."""

    runner_table: str
    github: GitHub
    explain_at_github: bool


@dataclass(frozen=True, kw_only=True)
class ReconcileDemand:
    """Settings of ``reconcile_demand``.

    Attributes:
        dispatch: What starting a runner takes.
        github: How GitHub is asked for jobs and runners.
        cluster_arn: Where the runners' tasks are.
        webhook_url: Where GitHub's webhooks go.
        grace_seconds: What is younger is left alone.
        max_replacements: How many runners may follow a job's first that ended without a job.
        rerun_lost_jobs: Whether a job whose runner is gone is run again.
    """

    dispatch: DispatchEvent
    github: GitHub
    cluster_arn: str
    webhook_url: str
    grace_seconds: int
    max_replacements: int
    rerun_lost_jobs: bool


@dataclass(frozen=True, kw_only=True)
class BuildImage:
    """Settings of ``build_image``.

    Attributes:
        max_builds: How many builds there may be at a time.
        image_build_projects: CodeBuild's projects by architecture.
        runner_release: The library's own release of the runner.
        build_default_image: Whether the default image is built, not a ready one.
    """

    image_table: str
    runner_table: str
    ledger_table: str
    max_builds: int
    image_build_projects: Mapping[str, str]
    runner_release: Release
    build_default_image: bool
    ecr_repository_name: str
    runner_repository_url: str
    task_definition_arn: str
    task_family: str
    default_image_base: str
    runner_image_tag: str
    image_recipe: str
    image_build_timeout_seconds: int


@dataclass(frozen=True, kw_only=True)
class WatchRelease:
    """Settings of ``watch_release``. ``runner_release`` is the library's own."""

    ledger_table: str
    image_table: str
    event_bus_name: str
    runner_release: Release
    github: GitHub


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Names that logs and metrics carry, and whether an X-Ray daemon listens."""

    service: str
    namespace: str
    tracing: bool


def receive_webhook() -> ReceiveWebhook:
    """Read the settings of ``receive_webhook``; raises SettingError."""
    env = os.environ
    return ReceiveWebhook(
        event_bus_name=_text(env, "EVENT_BUS_NAME"),
        webhook_secret_arn=_text(env, "WEBHOOK_SECRET_ARN"),
        github_scope=_scope(env),
        images=_image_policy(env),
        aws=AwsAccess(
            region=_text(env, "AWS_REGION"),
            endpoint_url=env.get("AWS_ENDPOINT_URL") or None,
            access_key=_text(env, "AWS_ACCESS_KEY_ID"),
            secret_key=_text(env, "AWS_SECRET_ACCESS_KEY"),
            token=env.get("AWS_SESSION_TOKEN") or None,
        ),
    )


def dispatch_event() -> DispatchEvent:
    """Read the settings of ``dispatch_event``; raises SettingError."""
    env = os.environ
    return DispatchEvent(
        runner_table=_text(env, "RUNNER_TABLE"),
        ledger_table=_text(env, "LEDGER_TABLE"),
        image_table=_text(env, "IMAGE_TABLE"),
        event_bus_name=_text(env, "EVENT_BUS_NAME"),
        state_machine_arn=_text(env, "STATE_MACHINE_ARN"),
        class_sizes_param=_text(env, "CLASS_SIZES_PARAM"),
        runner_name_prefix=_text(env, "RUNNER_NAME_PREFIX"),
        task_family=_text(env, "TASK_FAMILY"),
        default_task_definitions=_texts_by_name(env, "DEFAULT_TASK_DEFINITIONS"),
        default_image_base=_text(env, "DEFAULT_IMAGE_BASE"),
        runner_image_tag=_text(env, "RUNNER_IMAGE_TAG"),
        # empty where nothing is built
        image_recipe=env.get("IMAGE_RECIPE", ""),
        image_capabilities=_words(env, "IMAGE_CAPABILITIES"),
        detected_capabilities=_words(env, "DETECTED_CAPABILITIES"),
        architectures=_texts(env, "ARCHITECTURES"),
        images=_image_policy(env),
        row_ttl_seconds=_number(env, "ROW_TTL_SECONDS"),
        limits=_limits(env),
    )


def runner_api() -> RunnerApi:
    """Read the settings of ``runner_api`` and those that share them; raises SettingError."""
    env = os.environ
    return RunnerApi(
        runner_table=_text(env, "RUNNER_TABLE"),
        github=github(),
    )


def github() -> GitHub:
    """Read how GitHub is asked; raises SettingError."""
    env = os.environ
    return GitHub(
        api_url=_text(env, "GITHUB_API_URL"),
        scope=_scope(env),
        token_secret_arn=env.get("GITHUB_TOKEN_SECRET_ARN", ""),
        apps=tuple(
            App(
                app_id=str(app["app_id"]),
                private_key_secret_arn=app.get("private_key_secret_arn", ""),
                kms_key_id=app.get("kms_key_id", ""),
                installation_id=app.get("installation_id"),
            )
            for app in _json(env, "GITHUB_APPS", "[]")
        ),
        permissions=_json(env, "GITHUB_PERMISSIONS", "{}"),
        runner_group=env.get("RUNNER_GROUP", ""),
        ca_parameter=env.get("GITHUB_CA_PARAM", ""),
    )


def explain_job() -> ExplainJob:
    """Read the settings of ``explain_job``; raises SettingError."""
    env = os.environ
    return ExplainJob(
        runner_table=_text(env, "RUNNER_TABLE"),
        github=github(),
        explain_at_github=_switch(env, "EXPLAIN_AT_GITHUB"),
    )


def reconcile_demand() -> ReconcileDemand:
    """Read the settings of ``reconcile_demand``; raises SettingError."""
    env = os.environ
    return ReconcileDemand(
        dispatch=dispatch_event(),
        github=github(),
        cluster_arn=_text(env, "CLUSTER_ARN"),
        webhook_url=_text(env, "WEBHOOK_URL"),
        grace_seconds=_number(env, "RECONCILE_GRACE_SECONDS"),
        max_replacements=_number(env, "MAX_REPLACEMENTS"),
        rerun_lost_jobs=_switch(env, "RERUN_LOST_JOBS"),
    )


def build_image() -> BuildImage:
    """Read the settings of ``build_image``; raises SettingError."""
    env = os.environ
    return BuildImage(
        image_table=_text(env, "IMAGE_TABLE"),
        runner_table=_text(env, "RUNNER_TABLE"),
        ledger_table=_text(env, "LEDGER_TABLE"),
        max_builds=_at_least_one("MAX_BUILDS", _text(env, "MAX_BUILDS")),
        image_build_projects=_texts_by_name(env, "IMAGE_BUILD_PROJECTS"),
        runner_release=_release(env),
        build_default_image=_switch(env, "BUILD_DEFAULT_IMAGE"),
        ecr_repository_name=_text(env, "ECR_REPOSITORY_NAME"),
        runner_repository_url=_text(env, "RUNNER_REPOSITORY_URL"),
        task_definition_arn=_text(env, "TASK_DEFINITION_ARN"),
        task_family=_text(env, "TASK_FAMILY"),
        default_image_base=_text(env, "DEFAULT_IMAGE_BASE"),
        runner_image_tag=_text(env, "RUNNER_IMAGE_TAG"),
        image_recipe=_text(env, "IMAGE_RECIPE"),
        image_build_timeout_seconds=_number(env, "IMAGE_BUILD_TIMEOUT_SECONDS"),
    )


def watch_release() -> WatchRelease:
    """Read the settings of ``watch_release``; raises SettingError."""
    env = os.environ
    return WatchRelease(
        ledger_table=_text(env, "LEDGER_TABLE"),
        image_table=_text(env, "IMAGE_TABLE"),
        event_bus_name=_text(env, "EVENT_BUS_NAME"),
        runner_release=_release(env),
        github=github(),
    )


def telemetry() -> Telemetry:
    """Read what logs, metrics and traces need; all of it has defaults."""
    env = os.environ
    return Telemetry(
        service=env.get("POWERTOOLS_SERVICE_NAME", "cdk-runner-fleet"),
        namespace=env.get("POWERTOOLS_METRICS_NAMESPACE", "RunnerFleet"),
        # set by Lambda wherever X-Ray can be reached, and nowhere else
        tracing="AWS_XRAY_DAEMON_ADDRESS" in env,
    )


def _text(env: Mapping[str, str], key: str) -> str:
    value = env.get(key, "")
    if not value:
        raise SettingError(f"environment variable {key} is not set: deploy the stack again")
    return value


def _number(env: Mapping[str, str], key: str) -> int:
    value = _text(env, key)
    if not value.isdecimal():
        raise SettingError(f"environment variable {key} is {value!r}, it must be whole seconds")
    return int(value)


def _json(env: Mapping[str, str], key: str, default: str) -> Any:
    text = env.get(key) or default
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingError(f"environment variable {key} is {text!r}, it must be JSON") from error


def _texts(env: Mapping[str, str], key: str) -> tuple[str, ...]:
    text = _text(env, key)
    value = _json(env, key, text)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SettingError(
            f"environment variable {key} is {text!r}, it must be a JSON list of texts"
        )
    return tuple(value)


def _words(env: Mapping[str, str], key: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _texts(env, key))


def _texts_by_name(env: Mapping[str, str], key: str) -> Mapping[str, str]:
    text = _text(env, key)
    value = _json(env, key, text)
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise SettingError(
            f"environment variable {key} is {text!r}, it must be a JSON object of texts"
        )
    return value


def _scope(env: Mapping[str, str]) -> Scope:
    try:
        return Scope.parse(_text(env, "GITHUB_SCOPE"))
    except ValueError as error:
        raise SettingError(f"environment variable GITHUB_SCOPE: {error}") from error


def _release(env: Mapping[str, str]) -> Release:
    try:
        return Release.parse(json.loads(_text(env, "RUNNER_RELEASE")))
    except ValueError as error:
        raise SettingError(
            f"environment variable RUNNER_RELEASE is no release of the runner: {error}"
        ) from error


def _limits(env: Mapping[str, str]) -> Limits:
    per_repository = env.get("MAX_RUNNERS_PER_REPOSITORY", "")
    return Limits(
        max_runners=_at_least_one("MAX_RUNNERS", _text(env, "MAX_RUNNERS")),
        max_runners_per_repository=(
            _at_least_one("MAX_RUNNERS_PER_REPOSITORY", per_repository) if per_repository else None
        ),
        daily_budget_usd=_usd("DAILY_BUDGET_USD", env.get("DAILY_BUDGET_USD", "")),
    )


def _at_least_one(key: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise SettingError(
            f"environment variable {key} is {value!r}, it must be a whole number of at least 1"
        )
    return int(value)


def _usd(key: str, value: str) -> float | None:
    if not value:
        return None
    try:
        amount = float(value)
    except ValueError:
        amount = math.nan
    if not 0 < amount < math.inf:
        raise SettingError(
            f"environment variable {key} is {value!r}, it must be an amount of US dollars above 0"
        )
    return amount


def _switch(env: Mapping[str, str], key: str) -> bool:
    value = _text(env, key)
    if value not in ("on", "off"):
        raise SettingError(f"environment variable {key} is {value!r}, use on or off")
    return value == "on"


def _image_policy(env: Mapping[str, str]) -> ImagePolicy:
    return ImagePolicy(
        allowed=_texts(env, "ALLOWED_IMAGES"), building=_switch(env, "IMAGE_BUILDING")
    )
