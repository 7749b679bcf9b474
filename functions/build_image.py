"""Sees to it that images exist, once for everyone who waits for them, and that they stay young.

Called by the state machine for a missing image, by CodeBuild's state changes, after each deployment
of the stack, so that the default image is there before the first job, every day, and when GitHub
has retired a version of its runner.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fleet_runtime import environment
from fleet_runtime.images.build_turns import BuildNotStarted
from fleet_runtime.images.builder import Builder, Settings
from fleet_runtime.images.rows import Image
from fleet_runtime.images.upkeep import Upkeep
from fleet_runtime.observability import logger, observed

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED", "FAULT", "TIMED_OUT")


@cache
def _builder() -> Builder:
    return Builder.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, str] | None:  # noqa: ARG001
    """Lambda's entry point for the state machine and for EventBridge.

    Args:
        event: ``{"image_tag", "image_base", "architecture", "task_definition", "runner_id",
            "gone"}`` from the state machine, or an event.
        context: Lambda's context.

    Returns:
        For the state machine ``{"status", "build_log_url"}``: the image's, as far as known.

    Raises:
        BuildNotStarted: if CodeBuild has no room just now.
    """
    if "image_tag" in event:
        return _requested(event)
    kind, owner = event["detail-type"], event["id"]
    upkeep = Upkeep(builder=_builder())
    if kind == "CodeBuild Build State Change":
        _build_ended(event["detail"], owner=owner)
    elif kind == "CloudFormation Stack Status Change":
        upkeep.deployed(owner=owner)
    elif kind == "Scheduled Event":
        upkeep.daily(owner=owner)
    elif kind == "runner_version_retired":
        detail = event["detail"]
        upkeep.retired(detail["runner_version"], found_in=detail.get("image_tag", ""), owner=owner)
    else:
        logger.warning("event not used", detail_type=kind)
    return None


def _requested(event: Mapping[str, Any]) -> dict[str, str]:
    image = Image(
        tag=event["image_tag"],
        base=event["image_base"],
        # executions that began before there were others do not say
        architecture=event.get("architecture", "X86_64"),
        family=event["task_definition"],
    )
    is_gone = event.get("gone", False)
    try:
        row = _builder().request(
            image, owner=event["runner_id"], runner_id=event["runner_id"], is_gone=is_gone
        )
    except (BotoCoreError, ClientError) as error:
        # the one error that the state machine tries again
        raise BuildNotStarted(f"{image.tag} cannot be built just now: {error}") from error
    return {"status": row.status, "build_log_url": row.log_url}


def _build_ended(detail: Mapping[str, Any], *, owner: str) -> None:
    variables = {
        one["name"]: one["value"]
        for one in detail["additional-information"]["environment"]["environment-variables"]
    }
    tag, status = variables.get("IMAGE_TAG"), detail["build-status"]
    if not tag or status not in _ENDED:
        logger.info("build not used", build_id=detail["build-id"], status=status)
        return
    _builder().ended(tag, build_id=detail["build-id"], owner=owner)
