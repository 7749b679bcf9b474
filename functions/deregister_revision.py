"""Takes a revision of one of the fleet's own task definitions away.

Apart from ``build_image``, which asks for it: ECS has no permission for this but one on all task
definitions of the account, and this reads nothing that a job or a registry has written.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.images.revisions import Revisions, Settings
from fleet_runtime.observability import observed


@cache
def _revisions() -> Revisions:
    return Revisions.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> None:  # noqa: ARG001
    """Lambda's entry point for ``build_image``.

    Args:
        event: ``{"revision": …}``, its ARN.
        context: Lambda's context.

    Raises:
        NotOursError: if it is of no family of the fleet's.
    """
    _revisions().deregister(event["revision"])
