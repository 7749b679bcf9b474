"""Sees to it that an image exists, once for everyone who waits for it.

Called by the state machine for a missing image, by CodeBuild's state changes, and after each
deployment of the stack, so that the default image is there before the first job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fleet_runtime import images, settings
from fleet_runtime.aws import Client, client
from fleet_runtime.builds import Image, ImageRecords
from fleet_runtime.observability import count, logger, observed
from fleet_runtime.records import RunnerRecords
from fleet_runtime.signals import Signals

_CONTAINER = "runner"
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED", "FAULT", "TIMED_OUT")
# CodeBuild's own bounds of timeoutInMinutes (API reference, StartBuild)
_LEAST_MINUTES, _MOST_MINUTES = 5, 480
_LONGEST_ERROR = 600
# of StartBuild: asking again would not help. Its account limit and throttling pass.
_REFUSALS = frozenset(
    {"AccessDeniedException", "InvalidInputException", "ResourceNotFoundException"}
)


class BuildNotStarted(Exception):  # noqa: N818 - the name stands in executions' histories
    """The build could not be started; the lease is given back, so it can be tried again."""


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds images and makes the task-definition families that launch them."""

    config: settings.BuildImage
    images: ImageRecords
    signals: Signals
    codebuild: Client
    ecr: Client
    ecs: Client

    def request(self, image: Image) -> str:
        """Start building an image that nobody builds.

        Returns:
            The image's status: READY, FAILED, or BUILDING, by whomever.

        Raises:
            BuildNotStarted: if AWS cannot do it just now, as when CodeBuild has no room.
        """
        lease = self.config.image_build_timeout_seconds
        if not self.images.take_lease(image, seconds=lease):
            row = self.images.find(image.tag)
            return row.status if row else "BUILDING"
        try:
            if digest := self._digest(image.tag):
                # built before: by another fleet of this repository, or for a family since replaced
                self._finish(image.tag, family=image.family, digest=digest, log_url="")
                return "READY"
            return self._start(image)
        except (BotoCoreError, ClientError) as error:
            # the waiters stay: whoever asks next, as the one who asked now does, builds for all
            self.images.failed(image.tag, build_id="", error=str(error), log_url="")
            raise BuildNotStarted(f"{image.tag} cannot be built just now: {error}") from error

    def end(self, tag: str, *, build_id: str, error: str, log_url: str) -> None:
        """Handle the end of a build.

        Args:
            tag: The image.
            build_id: ARN of the build.
            error: What went wrong, empty if it succeeded.
            log_url: Where its log is.
        """
        # the registry decides: a build can fail only because another has pushed the same tag
        if digest := self._digest(tag):
            family = f"{self.config.task_family}-{tag}"
            self._finish(tag, family=family, digest=digest, log_url=log_url)
            return
        cause = error or "the build succeeded but pushed no image"
        self._fail(tag, build_id=build_id, error=cause, log_url=log_url)

    def _start(self, image: Image) -> str:
        minutes = -(-self.config.image_build_timeout_seconds // 60)
        try:
            build = self.codebuild.start_build(
                projectName=self.config.image_build_project,
                timeoutInMinutesOverride=max(_LEAST_MINUTES, min(_MOST_MINUTES, minutes)),
                environmentVariablesOverride=[
                    {"name": "BASE_IMAGE", "value": image.base, "type": "PLAINTEXT"},
                    {"name": "IMAGE_TAG", "value": image.tag, "type": "PLAINTEXT"},
                ],
            )["build"]
        except ClientError as error:
            if error.response["Error"]["Code"] not in _REFUSALS:
                raise
            self._fail(image.tag, build_id="", error=f"CodeBuild did not take it: {error}")
            return "FAILED"
        log_url = build.get("logs", {}).get("deepLink", "")
        self.images.started(image.tag, build_id=build["arn"], log_url=log_url)
        logger.info("build started", image_tag=image.tag, image_base=image.base, build=build["id"])
        count("ImageBuildStarted")
        return "BUILDING"

    def _fail(self, tag: str, *, build_id: str, error: str, log_url: str = "") -> None:
        waiters = self.images.failed(tag, build_id=build_id, error=error, log_url=log_url)
        if waiters is None:
            logger.info("build ended beside another", image_tag=tag, build_id=build_id)
            return
        logger.error("image not built", image_tag=tag, error=error, log_url=log_url)
        count("ImageBuildFailed")
        cause = f"image {tag} was not built: {error}"
        self._tell(
            tag,
            waiters,
            error=f"{cause}; its log: {log_url}" if log_url else cause,
            log_url=log_url,
        )

    def _finish(self, tag: str, *, family: str, digest: str, log_url: str) -> None:
        row = self.images.find(tag)
        if row is None or row.status != "READY" or row.family != family:
            self._register(family, image=f"{self.config.runner_repository_url}@{digest}")
        waiters = self.images.ready(tag, digest=digest, family=family, log_url=log_url)
        logger.info("image ready", image_tag=tag, digest=digest, waiters=len(waiters))
        self._tell(tag, waiters, error="", log_url=log_url)

    def _tell(self, tag: str, waiters: frozenset[str], *, error: str, log_url: str) -> None:
        for runner_id in sorted(waiters):
            self.signals.image_ended(runner_id, error=error, log_url=log_url)
        self.images.told(tag, waiters=waiters)

    def _digest(self, tag: str) -> str | None:
        try:
            answer = self.ecr.describe_images(
                repositoryName=self.config.ecr_repository_name, imageIds=[{"imageTag": tag}]
            )
        except self.ecr.exceptions.ImageNotFoundException:
            return None
        return str(answer["imageDetails"][0]["imageDigest"])

    def _register(self, family: str, *, image: str) -> None:
        """Clone the base task definition with another image, under a family of its own."""
        base = self.ecs.describe_task_definition(taskDefinition=self.config.task_definition_arn)
        definition: dict[str, Any] = base["taskDefinition"]
        taken = self.ecs.meta.service_model.operation_model("RegisterTaskDefinition").input_shape
        clone = {key: definition[key] for key in taken.members if key in definition}
        containers = [
            {**one, "image": image} if one["name"] == _CONTAINER else one
            for one in definition["containerDefinitions"]
        ]
        self.ecs.register_task_definition(
            **clone | {"family": family, "containerDefinitions": containers}
        )


@cache
def _builder() -> Builder:
    config = settings.build_image()
    dynamodb = client("dynamodb")
    return Builder(
        config=config,
        images=ImageRecords(dynamodb=dynamodb, table=config.image_table),
        signals=Signals(
            records=RunnerRecords(dynamodb=dynamodb, table=config.runner_table),
            stepfunctions=client("stepfunctions"),
        ),
        codebuild=client("codebuild"),
        ecr=client("ecr"),
        ecs=client("ecs"),
    )


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, str]:  # noqa: ARG001
    """Lambda's entry point for the state machine and for EventBridge.

    Args:
        event: ``{"image_tag", "image_base", "task_definition"}`` from the state machine, or an
            event of CodeBuild or CloudFormation.
        context: Lambda's context.

    Returns:
        ``{"status": …}``: the image's, as far as it is known.

    Raises:
        BuildNotStarted: if CodeBuild has no room just now.
    """
    kind = event.get("detail-type")
    if kind == "CodeBuild Build State Change":
        _build_ended(event["detail"])
        return {"status": event["detail"]["build-status"]}
    if kind == "CloudFormation Stack Status Change":
        return {"status": _builder().request(_default_image(_builder().config))}
    image = Image(tag=event["image_tag"], base=event["image_base"], family=event["task_definition"])
    return {"status": _builder().request(image)}


def _default_image(config: settings.BuildImage) -> Image:
    tag = images.image_tag(
        config.default_image_base, recipe=config.image_recipe, readable=config.runner_image_tag
    )
    return Image(tag=tag, base=config.default_image_base, family=f"{config.task_family}-{tag}")


def _build_ended(detail: Mapping[str, Any]) -> None:
    more = detail["additional-information"]
    variables = {one["name"]: one["value"] for one in more["environment"]["environment-variables"]}
    tag, status = variables.get("IMAGE_TAG"), detail["build-status"]
    if not tag or status not in _ENDED:
        logger.info("build not used", build_id=detail["build-id"], status=status)
        return
    error = "" if status == "SUCCEEDED" else _build_error(status, more.get("phases") or [])
    log_url = (more.get("logs") or {}).get("deep-link", "")
    _builder().end(tag, build_id=detail["build-id"], error=error, log_url=log_url)


def _build_error(status: str, phases: list[Mapping[str, Any]]) -> str:
    for phase in phases:
        contexts = [one for one in phase.get("phase-context") or [] if one.strip(" :")]
        if phase.get("phase-status") not in (None, "SUCCEEDED") and contexts:
            return f"{status} in {phase.get('phase-type')}: {'; '.join(contexts)}"[:_LONGEST_ERROR]
    return status
