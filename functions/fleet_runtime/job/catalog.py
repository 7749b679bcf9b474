"""Runner classes: the catalog's JSON, checked against Fargate's sizes when it is read."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from fleet_runtime.job.labels import Refusal, shown, tag_fault

CAPACITIES = ("FARGATE", "FARGATE_SPOT")
_DEFAULT_CAPACITY = ("FARGATE",)

ARCHITECTURES = ("X86_64", "ARM64")
_DEFAULT_ARCHITECTURE = "X86_64"
_DEFAULT_LABELS = {"X86_64": ("linux", "x64"), "ARM64": ("linux", "arm64")}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
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


BY_DEPLOYMENT_ALONE = ("environment", "mounts", "runner_group", "tags", "task_role", "vpc_subnets")
"""What a class cannot be given here: whoever may edit the catalog would run code of theirs in jobs
with it, or have them hold what they were not granted."""


class CatalogError(Exception):
    """The catalog as a whole cannot be read. Worth another try: somebody may be editing it."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """What was once written into a parameter of the catalog's.

    Attributes:
        parameter: The parameter's name.
        number: The version's, one more with each edit.
        text: What was written.
    """

    parameter: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"version {self.number} of {self.parameter}"


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
        image: Name of the fleet's image that it runs in otherwise; empty for the fleet's default.
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
    image: str


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Runner classes by lower-cased name; one that cannot be used stands with its reason.

    Attributes:
        classes: They.
        faults: What is wrong with the last edits, and what is in force instead.
    """

    classes: Mapping[str, RunnerClass | Refusal]
    faults: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Catalog:
        """Read the catalog's JSON.

        Raises:
            CatalogError: if it is not a JSON object with at least one class, or names one twice. A
                class that cannot be used is no error: only the jobs that ask for it are refused.
        """
        return cls(classes=_classes(_document(text)))

    @classmethod
    def in_force(cls, parts: Sequence[Sequence[Version]]) -> Catalog:
        """Find what is in force: of each class what was last written of it that can be used.

        An edit that cannot be read changes nothing. One that spoils a class leaves the class as it
        was before. One that takes a class out does so. Parts that a deployment has divided the
        classes among in another way than the rest are half of an edit: they count as soon as all
        parts are so.

        Args:
            parts: The versions of each of the catalog's parameters, the newest first.

        Raises:
            CatalogError: if no version can be read.
        """
        read = [
            [_Part.read(version, place=place, of=len(parts)) for version in versions]
            for place, versions in enumerate(parts, start=1)
        ]
        layout = _common_layout(read)
        classes: dict[str, RunnerClass | Refusal] = {}
        homes: dict[str, Version] = {}
        faults: list[str] = []
        for versions in read:
            newest, *older = [each for each in versions if each.layout == layout]
            if versions[0] is not newest:
                why = versions[0].fault or "it is of another deployment than the other parts"
                faults.append(f"{versions[0].version}: {why}. Version {newest.number} is in force")
            for name, found in newest.classes.items():
                if name in classes:
                    faults.append(
                        f"class {shown(name)} is in {homes[name]}, which counts, and in "
                        f"{newest.version}: take it out of one"
                    )
                    continue
                homes[name] = newest.version
                classes[name] = found
                if isinstance(found, Refusal):
                    before = _last_usable(name, older)
                    instead = "No earlier version of it can be used"
                    if before is not None:
                        classes[name] = before.classes[name]
                        instead = f"Version {before.number} of it is in force"
                    faults.append(f"{newest.version}: {found.reason}. {instead}")
        return cls(classes=classes, faults=tuple(faults))

    def find(self, name: str) -> RunnerClass | Refusal:
        """Find a class by its lower-cased name."""
        return self.classes.get(name) or Refusal(
            reason=f"class {shown(name)} is not in the catalog, use one of "
            f"{', '.join(self.classes)}, or add it to the class sizes parameter"
        )


PART = "$part"
"""What a part of the catalog says of itself, where no class can stand: ``2 of 3, <layout>``. A
catalog in one part has none."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A version of a part, read.

    Attributes:
        version: It.
        classes: What it has.
        layout: Digest of which classes are in which part; empty for a catalog in one part, None
            if the version cannot be read.
        fault: Why it cannot.
    """

    version: Version
    classes: Mapping[str, RunnerClass | Refusal]
    layout: str | None
    fault: str = ""

    @classmethod
    def read(cls, version: Version, *, place: int, of: int) -> _Part:
        """Read a version of the part at a place among so many."""
        try:
            document = _document(version.text)
            mark = document.pop(PART, "")
            expected = f"{place} of {of}, " if of > 1 else ""
            if not isinstance(mark, str) or not mark.startswith(expected) or (mark and of == 1):
                raise CatalogError(
                    f"the class catalog has {PART} {shown(mark)} and is number {place} of {of}, "
                    "leave that as the deployment wrote it"
                )
            layout = mark.removeprefix(expected)
            return cls(version=version, classes=_classes(document), layout=layout)
        except CatalogError as error:
            return cls(version=version, classes={}, layout=None, fault=str(error))

    @property
    def number(self) -> int:
        """The version's."""
        return self.version.number


def _common_layout(parts: Sequence[Sequence[_Part]]) -> str:
    newest_first = (each for versions in zip_longest(*parts) for each in versions if each)
    for layout in dict.fromkeys(each.layout for each in newest_first):
        if layout is not None and all(
            any(each.layout == layout for each in versions) for versions in parts
        ):
            return layout
    faults = [versions[0].fault for versions in parts if versions and versions[0].fault]
    raise CatalogError("; ".join(faults) or "the parts of the class catalog do not go together")


def _last_usable(name: str, older: Sequence[_Part]) -> _Part | None:
    for part in older:
        found = part.classes.get(name)
        if isinstance(found, RunnerClass):
            return part
        if found is None:
            # it was not there before the edit that spoilt it
            return None
    return None


def _document(text: str) -> dict[str, object]:
    try:
        document = json.loads(text, object_pairs_hook=_once_each)
    except ValueError as error:
        raise CatalogError(f"the class catalog is not JSON, correct it: {error}") from error
    if not isinstance(document, dict) or not document.keys() - {PART}:
        raise CatalogError(
            f"the class catalog is {shown(text)}, it must be an object with at least one class"
        )
    return document


def _once_each(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            # JSON's readers keep the last one, and nobody knows which was meant
            raise CatalogError(f"the class catalog has {shown(name)} {times} times, keep one")
    return dict(pairs)


def _classes(document: Mapping[str, object]) -> dict[str, RunnerClass | Refusal]:
    classes: dict[str, RunnerClass | Refusal] = {}
    for name, entry in document.items():
        if name.lower() in classes:
            raise CatalogError(
                f"the class catalog has {shown(name)} in two spellings, which are one class to "
                "jobs, keep one"
            )
        classes[name.lower()] = _read(name, entry)
    return classes


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
    if not _NAME.fullmatch(name):
        raise _UnusableError("its name cannot be asked for, use letters, digits and . _ -")
    if not isinstance(entry, dict):
        raise _UnusableError(f"it is {shown(entry)} and not an object with cpu and memory")
    for key in BY_DEPLOYMENT_ALONE:
        if key in entry:
            raise _UnusableError(
                f"{key} cannot be given here: deploy RunnerClass({key}=…) by this name, and leave "
                "it out"
            )
    cpu, memory = _size(entry)
    architecture = entry.get("architecture", _DEFAULT_ARCHITECTURE)
    if architecture not in ARCHITECTURES:
        raise _UnusableError(
            f"architecture is {shown(architecture)}, Fargate has {', '.join(ARCHITECTURES)}"
        )
    labels = _texts(entry.get("labels", _DEFAULT_LABELS[architecture]))
    if labels is None:
        raise _UnusableError(f"labels is {shown(entry['labels'])} and not a list of texts")
    if fault := next(filter(None, map(tag_fault, labels)), None):
        raise _UnusableError(fault)
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
        image=_image(entry),
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


def _image(entry: Mapping[str, Any]) -> str:
    given = entry.get("image", "")
    if not isinstance(given, str):
        raise _UnusableError(
            f"image is {shown(given)} and not the name of one of the fleet's images"
        )
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
