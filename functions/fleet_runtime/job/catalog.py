"""Runner classes: the catalog's JSON, checked against Fargate's sizes when it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fleet_runtime.job.labels import Refusal, shown

CAPACITIES = ("FARGATE", "FARGATE_SPOT")
_DEFAULT_CAPACITY = ("FARGATE",)

ARCHITECTURES = ("X86_64", "ARM64")
_DEFAULT_ARCHITECTURE = "X86_64"
_DEFAULT_LABELS = {"X86_64": ("linux", "x64"), "ARM64": ("linux", "arm64")}

# they are joined by commas on the way to the container, and asked for with labels
_CAPABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")

# CPU units -> MiB: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
FARGATE_SIZES: Mapping[int, tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4096 + 1, 1024)),
    1024: tuple(range(2048, 8192 + 1, 1024)),
    2048: tuple(range(4096, 16384 + 1, 1024)),
    4096: tuple(range(8192, 30720 + 1, 1024)),
    8192: tuple(range(16384, 61440 + 1, 4096)),
    16384: tuple(range(32768, 122880 + 1, 8192)),
    32768: (61440, 122880, 249856),
}


class CatalogError(Exception):
    """The catalog as a whole cannot be read. Worth another try: somebody may be editing it."""


@dataclass(frozen=True, kw_only=True)
class RunnerClass:
    """A size of runner.

    Attributes:
        name: As the catalog spells it.
        cpu: CPU units, 1024 a vCPU.
        memory: MiB.
        architecture: One of ``ARCHITECTURES``.
        labels: What it has, whatever its image, lower-cased.
        capabilities: What its images can do unless they declare it themselves, lower-cased; empty
            if only the image says so.
        capacity: Capacity providers, in order of preference.
        max_runners: How many there may be at a time; None for no limit of its own.
        allow_images: Whether a job may choose the image that it runs in.
    """

    name: str
    cpu: int
    memory: int
    architecture: str
    labels: frozenset[str]
    capabilities: tuple[str, ...]
    capacity: tuple[str, ...]
    max_runners: int | None
    allow_images: bool


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Runner classes by lower-cased name; one that cannot be used stands with its reason."""

    classes: Mapping[str, RunnerClass | Refusal]

    @classmethod
    def parse(cls, text: str) -> Catalog:
        """Read the catalog's JSON.

        Raises:
            CatalogError: if it is not a JSON object with at least one class. A class that cannot
                be used is no error: only the jobs that ask for it are refused.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise CatalogError(f"the class catalog is not JSON, correct it: {error}") from error
        if not isinstance(document, dict) or not document:
            raise CatalogError(
                f"the class catalog is {shown(text)}, it must be an object with at least one class"
            )
        return cls(classes={name.lower(): _read(name, entry) for name, entry in document.items()})

    def find(self, name: str) -> RunnerClass | Refusal:
        """Find a class by its lower-cased name."""
        return self.classes.get(name) or Refusal(
            reason=f"class {shown(name)} is not in the catalog, use one of "
            f"{', '.join(self.classes)}, or add it to the class sizes parameter"
        )


def _read(name: str, entry: object) -> RunnerClass | Refusal:
    def unusable(why: str) -> Refusal:
        return Refusal(
            reason=f"class {shown(name)} cannot be used, {why}: correct the class sizes parameter"
        )

    if not isinstance(entry, dict):
        return unusable(f"it is {shown(entry)} and not an object with cpu and memory")
    cpu, memory = entry.get("cpu"), entry.get("memory")
    if not isinstance(cpu, int) or cpu not in FARGATE_SIZES:
        return unusable(f"cpu is {shown(cpu)}, Fargate has {_listed(tuple(FARGATE_SIZES))}")
    if not isinstance(memory, int) or memory not in FARGATE_SIZES[cpu]:
        return unusable(
            f"memory is {shown(memory)}, with cpu {cpu} Fargate has {_listed(FARGATE_SIZES[cpu])}"
        )
    architecture = entry.get("architecture", _DEFAULT_ARCHITECTURE)
    if architecture not in ARCHITECTURES:
        return unusable(
            f"architecture is {shown(architecture)}, Fargate has {', '.join(ARCHITECTURES)}"
        )
    labels = _texts(entry.get("labels", _DEFAULT_LABELS[architecture]))
    if labels is None:
        return unusable(f"labels is {shown(entry['labels'])} and not a list of texts")
    capabilities = _texts(entry.get("capabilities", ()))
    if capabilities is None or not all(map(_CAPABILITY.fullmatch, capabilities)):
        return unusable(
            f"capabilities is {shown(entry['capabilities'])} and not a list of words of letters, "
            "digits and . _ + -"
        )
    capacity = _texts(entry.get("capacity", _DEFAULT_CAPACITY))
    if not capacity or not set(capacity) <= set(CAPACITIES):
        return unusable(
            f"capacity is {shown(entry['capacity'])} and not a list of {' and '.join(CAPACITIES)}"
        )
    most = entry.get("max_runners")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        return unusable(f"max_runners is {shown(most)} and not a whole number of at least 1")
    allow_images = entry.get("allow_images", True)
    if not isinstance(allow_images, bool):
        # a slip must not open what somebody wanted closed
        return unusable(f"allow_images is {shown(allow_images)} and neither true nor false")
    return RunnerClass(
        name=name,
        cpu=cpu,
        memory=memory,
        architecture=architecture,
        labels=frozenset(label.lower() for label in labels),
        capabilities=tuple(dict.fromkeys(word.lower() for word in capabilities)),
        capacity=capacity,
        max_runners=most,
        allow_images=allow_images,
    )


def _texts(value: object) -> tuple[str, ...] | None:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))
