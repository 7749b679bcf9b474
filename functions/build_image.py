"""Sees to it that images exist, once for everyone who waits for them, and that they stay young.

Called by the state machine for a missing image, by CodeBuild's state changes, after each deployment
of the stack, so that the default image is there before the first job, every day, and when there is
a newer release of GitHub's runner or an older one was retired.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.images.parts import Parts, Settings
from fleet_runtime.images.release_news import FOUND, RETIRED, TAKEN_OVER
from fleet_runtime.observability import logger, observed


@cache
def _parts() -> Parts:
    return Parts.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, str] | None:  # noqa: ARG001
    """Lambda's entry point for the state machine and for EventBridge.

    Args:
        event: What ``Builder.answer`` reads, or an event.
        context: Lambda's context.

    Returns:
        What ``Builder.answer`` returns for the state machine.

    Raises:
        BuildNotStarted: if an image cannot be built just now.
    """
    builder, upkeep = _parts().builder, _parts().upkeep
    if "image_tag" in event:
        return builder.answer(event)
    kind, owner, detail = event["detail-type"], event["id"], event.get("detail", {})
    if kind == "CodeBuild Build State Change":
        builder.build_ended(detail["build-id"], owner=owner)
    elif kind == "CloudFormation Stack Status Change":
        upkeep.deployed(owner=owner)
    elif kind == "Scheduled Event":
        upkeep.daily(owner=owner)
    elif kind == TAKEN_OVER:
        upkeep.follow(owner=owner)
    elif kind in (FOUND, RETIRED):
        upkeep.retired(detail["runner_version"], found_in=detail["image_tag"], owner=owner)
    else:
        logger.warning("event not used", detail_type=kind)
    return None
