"""Runner classes: the catalog's JSON, checked against Fargate's sizes when it is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

DEFAULT_STORAGE_GIB = 20
LARGEST_STORAGE_GIB = 200
"""A task can be given more than the default, up to this (ECS API, ``EphemeralStorage``)."""

LONGEST_SECONDS = {"boot": 3600, "idle": 86400, "job": 432000}
"""The most that a class may have a runner wait in each phase, as the fleet's own timeouts."""


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
        ephemeral_storage: Disk, GiB.
        timeouts: Seconds that a phase of ``LONGEST_SECONDS`` may last, where that is not the
            fleet's.
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
    ephemeral_storage: int
    timeouts: Mapping[str, int]


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


class _UnusableError(Exception):
    """Why an entry is no class."""


def _read(name: str, entry: object) -> RunnerClass | Refusal:
    try:
        return _runner_class(name, entry)
    except _UnusableError as why:
        return Refusal(
            reason=f"class {shown(name)} cannot be used, {why}: correct the class sizes parameter"
        )


def _runner_class(name: str, entry: object) -> RunnerClass:
    if not isinstance(entry, dict):
        raise _UnusableError(f"it is {shown(entry)} and not an object with cpu and memory")
    cpu, memory = _size(entry)
    architecture = entry.get("architecture", _DEFAULT_ARCHITECTURE)
    if architecture not in ARCHITECTURES:
        raise _UnusableError(
            f"architecture is {shown(architecture)}, Fargate has {', '.join(ARCHITECTURES)}"
        )
    labels = _texts(entry.get("labels", _DEFAULT_LABELS[architecture]))
    if labels is None:
        raise _UnusableError(f"labels is {shown(entry['labels'])} and not a list of texts")
    return RunnerClass(
        name=name,
        cpu=cpu,
        memory=memory,
        architecture=architecture,
        labels=frozenset(label.lower() for label in labels),
        capabilities=_capabilities(entry),
        capacity=_capacity(entry),
        max_runners=_max_runners(entry),
        allow_images=_allow_images(entry),
        ephemeral_storage=_ephemeral_storage(entry),
        timeouts=_timeouts(entry),
    )


def _size(entry: Mapping[str, Any]) -> tuple[int, int]:
    cpu, memory = entry.get("cpu"), entry.get("memory")
    if not isinstance(cpu, int) or cpu not in FARGATE_SIZES:
        raise _UnusableError(f"cpu is {shown(cpu)}, Fargate has {_listed(tuple(FARGATE_SIZES))}")
    if not isinstance(memory, int) or memory not in FARGATE_SIZES[cpu]:
        raise _UnusableError(
            f"memory is {shown(memory)}, with cpu {cpu} Fargate has {_listed(FARGATE_SIZES[cpu])}"
        )
    return cpu, memory


def _capabilities(entry: Mapping[str, Any]) -> tuple[str, ...]:
    given = _texts(entry.get("capabilities", ()))
    if given is None or not all(map(_CAPABILITY.fullmatch, given)):
        raise _UnusableError(
            f"capabilities is {shown(entry['capabilities'])} and not a list of words of letters, "
            "digits and . _ + -"
        )
    return tuple(dict.fromkeys(word.lower() for word in given))


def _capacity(entry: Mapping[str, Any]) -> tuple[str, ...]:
    given = _texts(entry.get("capacity", _DEFAULT_CAPACITY))
    if not given or not set(given) <= set(CAPACITIES):
        raise _UnusableError(
            f"capacity is {shown(entry['capacity'])} and not a list of {' and '.join(CAPACITIES)}"
        )
    return given


def _max_runners(entry: Mapping[str, Any]) -> int | None:
    most: int | None = entry.get("max_runners")
    if most is not None and not _is_whole(most, least=1):
        raise _UnusableError(f"max_runners is {shown(most)} and not a whole number of at least 1")
    return most


def _allow_images(entry: Mapping[str, Any]) -> bool:
    given = entry.get("allow_images", True)
    if not isinstance(given, bool):
        # a slip must not open what somebody wanted closed
        raise _UnusableError(f"allow_images is {shown(given)} and neither true nor false")
    return given


def _ephemeral_storage(entry: Mapping[str, Any]) -> int:
    given: int = entry.get("ephemeral_storage", DEFAULT_STORAGE_GIB)
    if not _is_whole(given, least=DEFAULT_STORAGE_GIB, most=LARGEST_STORAGE_GIB):
        raise _UnusableError(
            f"ephemeral_storage is {shown(given)}, Fargate has {DEFAULT_STORAGE_GIB} to "
            f"{LARGEST_STORAGE_GIB} GiB"
        )
    return given


def _timeouts(entry: Mapping[str, Any]) -> dict[str, int]:
    own: dict[str, int] = {}
    for phase, longest in LONGEST_SECONDS.items():
        if (key := f"{phase}_timeout_seconds") in entry:
            if not _is_whole(entry[key], least=1, most=longest):
                raise _UnusableError(f"{key} is {shown(entry[key])} and not 1 to {longest}")
            own[phase] = entry[key]
    return own


def _is_whole(value: object, *, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _texts(value: object) -> tuple[str, ...] | None:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))
