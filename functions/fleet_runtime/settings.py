"""The functions' settings: the only reader of the environment.

One frozen dataclass for each function; its field names are the lower-cased environment keys.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass


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
class ReceiveWebhook:
    """Settings of ``receive_webhook``."""

    event_bus_name: str
    webhook_secret_arn: str
    github_repo: str
    images: ImagePolicy
    aws: AwsAccess


@dataclass(frozen=True, kw_only=True)
class DispatchEvent:
    """Settings of ``dispatch_event``. ``default_task_definition`` is empty if images are built."""

    runner_table: str
    state_machine_arn: str
    class_sizes_param: str
    runner_name_prefix: str
    task_family: str
    default_task_definition: str
    default_image_base: str
    runner_image_tag: str
    image_recipe: str
    images: ImagePolicy
    row_ttl_seconds: int


@dataclass(frozen=True, kw_only=True)
class GitHub:
    """Where GitHub is, which repository is served and where the token is kept."""

    api_url: str
    repository: str
    token_secret_arn: str


@dataclass(frozen=True, kw_only=True)
class RunnerApi:
    """Settings of ``runner_api``, and of ``deregister_runner``."""

    runner_table: str
    github: GitHub


@dataclass(frozen=True, kw_only=True)
class BuildImage:
    """Settings of ``build_image``."""

    image_table: str
    runner_table: str
    image_build_project: str
    ecr_repository_name: str
    runner_repository_url: str
    task_definition_arn: str
    task_family: str
    default_image_base: str
    runner_image_tag: str
    image_recipe: str
    image_build_timeout_seconds: int


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
        github_repo=_text(env, "GITHUB_REPO"),
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
        state_machine_arn=_text(env, "STATE_MACHINE_ARN"),
        class_sizes_param=_text(env, "CLASS_SIZES_PARAM"),
        runner_name_prefix=_text(env, "RUNNER_NAME_PREFIX"),
        task_family=_text(env, "TASK_FAMILY"),
        default_task_definition=env.get("DEFAULT_TASK_DEFINITION", ""),
        default_image_base=_text(env, "DEFAULT_IMAGE_BASE"),
        runner_image_tag=_text(env, "RUNNER_IMAGE_TAG"),
        # empty where nothing is built
        image_recipe=env.get("IMAGE_RECIPE", ""),
        images=_image_policy(env),
        row_ttl_seconds=_number(env, "ROW_TTL_SECONDS"),
    )


def runner_api() -> RunnerApi:
    """Read the settings of ``runner_api`` and ``deregister_runner``; raises SettingError."""
    env = os.environ
    return RunnerApi(
        runner_table=_text(env, "RUNNER_TABLE"),
        github=GitHub(
            api_url=_text(env, "GITHUB_API_URL"),
            repository=_text(env, "GITHUB_REPO"),
            token_secret_arn=_text(env, "GITHUB_TOKEN_SECRET_ARN"),
        ),
    )


def build_image() -> BuildImage:
    """Read the settings of ``build_image``; raises SettingError."""
    env = os.environ
    return BuildImage(
        image_table=_text(env, "IMAGE_TABLE"),
        runner_table=_text(env, "RUNNER_TABLE"),
        image_build_project=_text(env, "IMAGE_BUILD_PROJECT"),
        ecr_repository_name=_text(env, "ECR_REPOSITORY_NAME"),
        runner_repository_url=_text(env, "RUNNER_REPOSITORY_URL"),
        task_definition_arn=_text(env, "TASK_DEFINITION_ARN"),
        task_family=_text(env, "TASK_FAMILY"),
        default_image_base=_text(env, "DEFAULT_IMAGE_BASE"),
        runner_image_tag=_text(env, "RUNNER_IMAGE_TAG"),
        image_recipe=_text(env, "IMAGE_RECIPE"),
        image_build_timeout_seconds=_number(env, "IMAGE_BUILD_TIMEOUT_SECONDS"),
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


def _image_policy(env: Mapping[str, str]) -> ImagePolicy:
    building = _text(env, "IMAGE_BUILDING")
    if building not in ("on", "off"):
        raise SettingError(f"environment variable IMAGE_BUILDING is {building!r}, use on or off")
    text = _text(env, "ALLOWED_IMAGES")
    try:
        allowed = json.loads(text)
    except ValueError:
        allowed = None
    if not isinstance(allowed, list) or not all(isinstance(glob, str) for glob in allowed):
        raise SettingError(
            f"environment variable ALLOWED_IMAGES is {text!r}, it must be a JSON list of globs"
        )
    return ImagePolicy(allowed=tuple(allowed), building=building == "on")
