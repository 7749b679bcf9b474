"""The sizes of runner that jobs can ask for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from aws_cdk import Annotations, Stack
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.values.labels import LabelRules, is_github_hosted
from cdk_runner_fleet.values.runner_class import (
    ARCHITECTURES,
    DEFAULT_RUNNER_CLASSES,
    Architecture,
    RunnerClass,
)

_MOST_BYTES = 8192
"""The most that an advanced parameter holds (Systems Manager user guide, "Managing parameter
tiers"), billed at 5 cents a month from 4,096 bytes on."""
_PART_BYTES = 6144
"""Of classes in a part of a catalog that one parameter does not hold: a quarter is left for what
is added by hand."""
_MOST_PARTS = 10
"""Names that one ``GetParameters`` takes (Systems Manager API reference)."""
_PART = "$part"
_CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

_Entries = Mapping[str, Mapping[str, object]]


class RunnerCatalog(Construct):
    """SSM parameters with the fleet's runner classes as JSON: one, or as many as it takes.

    The functions read them again every minute, so a class can be changed or added without a
    deployment; the next deployment that changes the classes writes its own again. An edit that
    cannot be used is refused, with a log and ``CatalogRefused``, and what was in force before it
    stays so: of each class its last version that can be used.

    Several parameters hold whole classes each, so that each can be edited by itself. They also
    say which classes are where: while a deployment has written some of them, and divides the
    classes among them in another way than before, all stay in force as they were before it.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        classes: Classes by name; the first one serves jobs that name none. Default: ``small``
            512/1024, ``medium`` 1024/2048 and ``large`` 2048/4096 (CPU units/MiB).
        images: Names of the images of those that have one of their own.

    Raises:
        ValueError: if there is no class, a name that cannot stand in a label, labels by which a
            class can never be chosen, or more than ten SSM parameters hold.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        classes: Mapping[str, RunnerClass] | None = None,
        images: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.classes = DEFAULT_RUNNER_CLASSES if classes is None else classes
        if not self.classes:
            raise ValueError("classes is empty, name at least one class or leave it out")
        _check_labels(self.classes)
        catalog = {_checked(name): size.to_catalog() for name, size in self.classes.items()}
        for name, image in (images or {}).items():
            catalog[name]["image"] = image
        parts = _divided(catalog)
        self.parameters = [
            ssm.StringParameter(
                self,
                f"ClassSizes{number if number > 1 else ''}",
                description=f"cdk-runner-fleet: runner classes, {number} of {len(parts)}",
                # with the numbers of tokens, which json does not know
                string_value=Stack.of(self).to_json_string(part),
                # what is over 4,096 bytes becomes an advanced parameter
                tier=ssm.ParameterTier.INTELLIGENT_TIERING,
            )
            for number, part in enumerate(parts, start=1)
        ]

    @property
    def architectures(self) -> list[Architecture]:
        """The processor architectures that classes have."""
        used = {size.architecture for size in self.classes.values()}
        return [architecture for architecture in ARCHITECTURES if architecture in used]

    def check_rules(self, rules: LabelRules) -> None:
        """Hold the rules of who is served to the classes, and warn of what GitHub serves itself.

        Args:
            rules: Which jobs are the fleet's.

        Raises:
            ValueError: if a label stands for a class that there is not.
        """
        rules.check_classes(self.classes)
        given = {label: f"single_labels {label!r}" for label in rules.single_labels}
        for name, size in self.classes.items():
            given |= {label: f"label {label!r} of class {name!r}" for label in size.labels or ()}
        for label, where in given.items():
            if is_github_hosted(label):
                # no error: a server of one's own has no such runners, an organization may forbid it
                Annotations.of(self).add_warning_v2(
                    "cdk-runner-fleet:githubHostedLabel",
                    f"{where} is a label of GitHub's own runners, which get the jobs that name "
                    "it alone: take another, unless there are none.",
                )

    def to_setting(self) -> str:
        """The parameters' names as they stand in the functions' settings."""
        return json.dumps([parameter.parameter_name for parameter in self.parameters])

    def grant_read(self, function: FleetFunction) -> None:
        """Let ``function`` read the classes, and what they were before."""
        function.allow(
            "ssm:GetParameters",
            "ssm:GetParameterHistory",
            resources=[parameter.parameter_arn for parameter in self.parameters],
        )


def _check_labels(classes: Mapping[str, RunnerClass]) -> None:
    """Raise ``ValueError`` if labels are named by which a class can never be chosen.

    A job gets the first class that has all of its labels. Any class can be asked for by its name,
    and those whose labels nobody named are: all of the default ones have the same.
    """
    before: dict[str, RunnerClass] = {}
    for name, size in classes.items():
        labels = size.choosable()
        first = next((other for other, earlier in before.items() if earlier.serves(size)), None)
        if labels is not None and first is not None:
            raise ValueError(
                f"classes[{name!r}] cannot be chosen by its labels {sorted(labels)}: a job that "
                f"asks for them gets {first!r}, which stands before it and has them all. Give it a "
                f"label of its own, put it before {first!r} if that has more, or leave labels out: "
                f"it is asked for with class:{name} then"
            )
        before[name] = size


def _divided(entries: _Entries) -> list[dict[str, object]]:
    if _size(entries) <= _MOST_BYTES:
        return [dict(entries)]
    parts: list[dict[str, object]] = [{}]
    for name, entry in entries.items():
        alone = _size({name: entry})
        if alone > _PART_BYTES:
            raise ValueError(
                f"classes[{name!r}] is {alone} bytes of JSON, and an SSM parameter holds "
                f"{_PART_BYTES} of a class: give it fewer or shorter values"
            )
        if _size(parts[-1]) + alone > _PART_BYTES:
            parts.append({})
        parts[-1][name] = entry
    if len(parts) > _MOST_PARTS:
        raise ValueError(
            f"classes has {len(entries)}, which are {_size(entries)} bytes of JSON, and the "
            f"{_MOST_PARTS} SSM parameters that are read at once hold {_PART_BYTES} each: name "
            "fewer, or with fewer labels and capabilities"
        )
    homes = json.dumps([list(part) for part in parts])
    layout = hashlib.sha256(homes.encode()).hexdigest()[:8]
    return [
        {_PART: f"{number} of {len(parts)}, {layout}", **part}
        for number, part in enumerate(parts, start=1)
    ]


def _size(entries: Mapping[str, object]) -> int:
    return len(json.dumps(entries, separators=(",", ":")).encode())


def _checked(name: str) -> str:
    if not _CLASS_NAME.fullmatch(name):
        raise ValueError(
            f"classes has the name {name!r}, which cannot be a label, "
            "use lower-case letters, digits, dots, dashes and underscores"
        )
    return name
