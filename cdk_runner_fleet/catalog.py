"""The sizes of runner that jobs can ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet.values import DEFAULT_RUNNER_CLASSES, RunnerClass, check_class_name


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
        ValueError: if there is no class, or a name that cannot stand in a label.
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
            raise ValueError("runner_classes is empty, name at least one class or leave it out")
        self.parameter = ssm.StringParameter(
            self,
            "ClassSizes",
            description="cdk-runner-fleet: runner classes",
            string_value=json.dumps(
                {check_class_name(name): size.to_catalog() for name, size in self.classes.items()}
            ),
        )
