"""Makes the task definitions that launch the fleet's images, and takes them away.

Apart from ``build_image``, which asks for it: ECS has no permissions for this but on all task
definitions of the account. So whoever has them reads nothing that a job, a build or a registry has
written, and looks whose a family is and where its image comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.images.families import Families, Settings
from fleet_runtime.observability import observed


@cache
def _families() -> Families:
    return Families.of(environment.read(Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, str]:  # noqa: ARG001
    """Lambda's entry point for ``build_image``.

    Args:
        event: ``{"do": "register", "family", "image", "architecture"}``, ``{"do": "keep_only",
            "revision"}`` or ``{"do": "withdraw", "family", "image"}``: see ``Families``.
        context: Lambda's context.

    Returns:
        ``{"revision": …}``, the ARN of what was registered; empty if nothing was.

    Raises:
        NotOursError: if the family or the image is not the fleet's.
        ValueError: if there is no such thing to do.
    """
    families = _families()
    match event:
        case {"do": "register", "family": family, "image": image, "architecture": architecture}:
            return {"revision": families.register(family, image=image, architecture=architecture)}
        case {"do": "keep_only", "revision": revision}:
            families.keep_only(revision)
        case {"do": "withdraw", "family": family, "image": image}:
            families.withdraw(family, image=image)
        case _:
            raise ValueError(f"{event.get('do')!r} is nothing that is done here")
    return {"revision": ""}
