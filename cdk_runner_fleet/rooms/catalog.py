"""The sizes of runner that jobs can ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from aws_cdk import Stack
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet.values.runner_class import (
    ARCHITECTURES,
    DEFAULT_RUNNER_CLASSES,
    Architecture,
    RunnerClass,
)

_MOST_BYTES = 8192
"""The most that an advanced parameter holds (Systems Manager user guide, "Managing parameter
tiers"), billed at 5 cents a month from 4,096 bytes on."""
_CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class RunnerCatalog(Construct):
    """An SSM parameter with the fleet's runner classes as JSON.

    The functions read it again every minute, so a class can be changed or added without a
    deployment; the next deployment that changes the classes writes its own again.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        classes: Classes by name; the first one serves jobs that name none. Default: ``small``
            512/1024, ``medium`` 1024/2048 and ``large`` 2048/4096 (CPU units/MiB).

    Raises:
        ValueError: if there is no class, a name that cannot stand in a label, or more than an SSM
            parameter holds.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        classes: Mapping[str, RunnerClass] | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.classes = DEFAULT_RUNNER_CLASSES if classes is None else classes
        if not self.classes:
            raise ValueError("classes is empty, name at least one class or leave it out")
        catalog = {_checked(name): size.to_catalog() for name, size in self.classes.items()}
        size = len(json.dumps(catalog, separators=(",", ":")).encode())
        if size > _MOST_BYTES:
            raise ValueError(
                f"classes has {len(catalog)}, which are {size} bytes of JSON, and an SSM parameter "
                f"holds {_MOST_BYTES}: name fewer, or with fewer labels and capabilities"
            )
        self.parameter = ssm.StringParameter(
            self,
            "ClassSizes",
            description="cdk-runner-fleet: runner classes",
            # with the numbers of tokens, which json does not know
            string_value=Stack.of(self).to_json_string(catalog),
            # what is over 4,096 bytes becomes an advanced parameter, and no larger one is refused
            tier=ssm.ParameterTier.INTELLIGENT_TIERING,
        )

    @property
    def architectures(self) -> list[Architecture]:
        """The processor architectures that classes have."""
        used = {size.architecture for size in self.classes.values()}
        return [architecture for architecture in ARCHITECTURES if architecture in used]


def _checked(name: str) -> str:
    if not _CLASS_NAME.fullmatch(name):
        raise ValueError(
            f"classes has the name {name!r}, which cannot be a label, "
            "use lower-case letters, digits, dots, dashes and underscores"
        )
    return name
