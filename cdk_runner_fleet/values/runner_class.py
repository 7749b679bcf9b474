"""A size of runner, as Fargate and the fleet's catalog know it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from aws_cdk import Duration

from cdk_runner_fleet.values.labels import SELF_HOSTED, check_labels
from cdk_runner_fleet.values.limits import MOST_RUNNERS
from cdk_runner_fleet.values.mounts import EfsMount, check_mounts
from cdk_runner_fleet.values.runner_image import RunnerImage
from cdk_runner_fleet.values.timeouts import check_timeout
from cdk_runner_fleet.values.types import check_types, is_token

if TYPE_CHECKING:
    from aws_cdk import aws_ec2 as ec2
    from aws_cdk import aws_iam as iam

FARGATE_MEMORY_MIB: Mapping[int, Sequence[int]] = {
    256: (512, 1024, 2048),
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
    32768: (61440, 122880, 249856),
}
"""Memory in MiB that Fargate allows for each CPU value (1024 = 1 vCPU), from
"Task CPU and memory", Amazon ECS developer guide."""

EPHEMERAL_STORAGE_GIB = range(21, 201)
"""Ephemeral storage in GiB that a task can be given; one that is given none has 20 (ECS API
reference, ``EphemeralStorage``)."""

CapacityProvider = Literal["FARGATE", "FARGATE_SPOT"]
"""A capacity provider that every Fargate cluster has."""

CAPACITY_PROVIDERS: Sequence[CapacityProvider] = get_args(CapacityProvider)
"""All of them."""

Architecture = Literal["X86_64", "ARM64"]
"""A processor architecture under ECS's name for it."""

ARCHITECTURES: Sequence[Architecture] = get_args(Architecture)
"""The processor architectures that Fargate has."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OUR_VARIABLES = re.compile(
    r"FLEET_.*|JOBS_HOLD_TASK_ROLE|RUNNER_(ID|LABELS|CLASS_CAPABILITIES|CAPABILITIES|HOME|VERSION)"
    r"|ACTIONS_RUNNER_.*|AWS_CONTAINER_.*|ECS_.*"
)
"""Variables by which a task is told who it is, what it has and where its scripts lie."""
_MOST_ENVIRONMENT = 4096
"""Characters of JSON. A task's overrides have 8,192 in all at the most (ECS API reference,
``RunTask``), and the runner's labels and the fleet's own variables are among them."""
_TAG_TEXT = re.compile(r"[\w +\-=.:/@]*")
_OUR_TAGS = ("aws:", "runner-fleet:")
_MOST_TAGS = 47
"""A task has 50 at the most, and three are the fleet's (ECS API reference, ``Tag``)."""

_DEFAULT_LABELS: Mapping[Architecture, Sequence[str]] = {
    "X86_64": ("linux", "x64"),
    "ARM64": ("linux", "arm64"),
}
_CAPABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class RunnerClass:
    """A size of runner, asked for with ``runs-on: [self-hosted, class:<name>]``.

    Args:
        cpu: CPU units, 1024 being one vCPU.
        memory: Memory in MiB. The pair has to be one that Fargate knows.
        architecture: ``X86_64`` or ``ARM64``; an image is built for each that is asked for.
            Default: ``X86_64``.
        labels: Labels that runners of this class have besides ``self-hosted``, in any case.
            Default: ``linux`` and ``x64`` or ``arm64``, as GitHub's own runner for Linux gives
            itself.
        capabilities: What a job can ask for of the image with which this class is run, as words
            such as ``python``. They are labels too. An image that declares its own overrides them.
            Default: what the image declares, or else what is found in it.
        capacity: Capacity providers in the order in which they are tried. Default: ``FARGATE``
            (On-Demand) alone. Spot can take a runner away in the middle of a job, so name it only
            for jobs that may be run again: ``("FARGATE_SPOT", "FARGATE")``.
        max_runners: Runners of this class at a time; further jobs wait in line. Default: as many
            as the fleet may have.
        allow_images: Whether a job of this class may choose its image (``image:``). Where it may
            not, no runner in an image of somebody's choice ever has the label ``class:<name>``, so
            jobs with secrets that name the class never run in one. Default: it may.
        ephemeral_storage: Disk of the runner in GiB, 21 to 200, which holds its image as well.
            Default: 20, which Fargate does not bill.
        boot_timeout: From the task's launch to its claim, for example longer for a large image.
            Default: the fleet's, as the next two.
        idle_timeout: From registration at GitHub to a job.
        job_timeout: The longest a job may run.
        image: What jobs of this class run in that choose no image. Default: the fleet's image.
        environment: Variables of the runners, and so of their jobs. They stand in the state machine
            and in each task as they are: no place for secrets. Default: none.
        tags: Tags of the tasks, besides the fleet's own, for example to tell costs by them. Which
            of two holds is not documented where the stack has a tag of the same name. Default:
            none.
        vpc_subnets: Subnets of the runners. Default: the fleet's.
        task_role: A role for the tasks of this class, which ``ecs-tasks.amazonaws.com`` may assume;
            jobs of the class hold it, and what all jobs of the fleet were granted is added to it.
            Default: the fleet's, until ``fleet.runner_class(name)`` is granted something: the class
            then gets a role.
        mounts: EFS file systems that runners of this class have, for example a cache that outlives
            them. Each job of the class reads and writes what others have left there. Their tasks
            get a role of the class, which their jobs do not hold by this, and a security group.
            Default: none.
        runner_group: Name of a runner group at GitHub that runners of this class join, of an
            organization or enterprise. Its repositories alone get these runners, whatever labels
            their jobs have: without one GitHub may give a runner of the class to each job of the
            fleet whose labels it has, and the class's role with it. Needs ``allow_images=False``,
            because runners in an image that a job chose have another group. Default: the fleet's.

        What only a deployment gives, which is the last six, cannot stand in the catalog when it is
        edited by hand; a class keeps it by its name.

    Raises:
        TypeError: if a value is of another kind.
        ValueError: if Fargate does not know the size, the architecture or a capacity provider is
            unknown, a job could not ask for a label or a capability, ``max_runners`` is less
            than 1, a timeout is one that ``LifecycleTimeouts`` cannot keep, a variable or a tag is
            none or the fleet's own, two mounts are at one place, or ``runner_group`` is given and
            jobs may choose images.
    """

    cpu: int
    memory: int
    architecture: Architecture = "X86_64"
    labels: Sequence[str] | None = None
    capabilities: Sequence[str] | None = None
    capacity: Sequence[CapacityProvider] = field(default=("FARGATE",))
    max_runners: int | None = None
    allow_images: bool = True
    ephemeral_storage: int | None = None
    boot_timeout: Duration | None = None
    idle_timeout: Duration | None = None
    job_timeout: Duration | None = None
    image: RunnerImage | None = None
    environment: Mapping[str, str] | None = None
    tags: Mapping[str, str] | None = None
    vpc_subnets: ec2.SubnetSelection | None = None
    task_role: iam.IRole | None = None
    mounts: Sequence[EfsMount] | None = None
    runner_group: str | None = None

    def __post_init__(self) -> None:
        """Check the size, the labels, the capacity providers and the limit."""
        check_types(RunnerClass, vars(self))
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture {self.architecture!r} is not Fargate's, "
                f"use one of {list(ARCHITECTURES)}"
            )
        check_labels(self.labels or (), of="labels of a class")
        self._check_capabilities()
        self._check_capacity()
        most = self.max_runners
        if most is not None and not is_token(most) and not 1 <= most <= MOST_RUNNERS:
            raise ValueError(
                f"max_runners {most!r} of a class cannot be kept, use a whole number from 1 to "
                f"{MOST_RUNNERS}, the most that a fleet may have, or leave it out for no limit of "
                "its own"
            )
        storage = self.ephemeral_storage
        if storage is not None and not is_token(storage) and storage not in EPHEMERAL_STORAGE_GIB:
            raise ValueError(
                f"ephemeral_storage {storage!r} of a class is not Fargate's, use "
                f"{EPHEMERAL_STORAGE_GIB[0]} to {EPHEMERAL_STORAGE_GIB[-1]} GiB, or leave it out "
                "for 20"
            )
        for name, duration in self._timeouts.items():
            check_timeout(name, duration, of=" of a class")
        _check_environment(self.environment or {})
        _check_tags(self.tags or {})
        check_mounts(self.mounts or ())
        if self.runner_group is not None and (self.allow_images or not self.runner_group):
            raise ValueError(
                f"runner_group {self.runner_group!r} of a class would not hold, for a job that "
                "chooses an image has its runner in another group: give its name, and "
                "allow_images=False with it"
            )
        if is_token(self.cpu) or is_token(self.memory):
            return
        if self.cpu not in FARGATE_MEMORY_MIB:
            raise ValueError(
                f"cpu {self.cpu!r} is not a Fargate size, use one of {sorted(FARGATE_MEMORY_MIB)}"
            )
        allowed = list(FARGATE_MEMORY_MIB[self.cpu])
        if self.memory not in allowed:
            raise ValueError(
                f"memory {self.memory!r} does not go with cpu {self.cpu}, use one of {allowed}"
            )

    def to_catalog(self) -> dict[str, object]:
        """The class as it stands in the catalog's JSON."""
        labels = _DEFAULT_LABELS[self.architecture] if self.labels is None else self.labels
        entry: dict[str, object] = {
            "cpu": self.cpu,
            "memory": self.memory,
            "architecture": self.architecture,
            "labels": list(labels),
            "capacity": list(self.capacity),
        }
        if self.capabilities is not None:
            entry["capabilities"] = list(self.capabilities)
        if self.max_runners is not None:
            entry["max_runners"] = self.max_runners
        if not self.allow_images:
            entry["allow_images"] = False
        if self.ephemeral_storage is not None:
            entry["ephemeral_storage"] = self.ephemeral_storage
        for name, duration in self._timeouts.items():
            entry[f"{name}_timeout_seconds"] = _whole(duration.to_seconds())
        return entry

    @property
    def is_by_deployment(self) -> bool:
        """Whether it has something that the catalog's JSON cannot give it."""
        given = (self.environment, self.tags, self.vpc_subnets, self.task_role, self.runner_group)
        return bool(self.mounts) or any(one is not None for one in given)

    @property
    def _timeouts(self) -> dict[str, Duration]:
        own = {"boot": self.boot_timeout, "idle": self.idle_timeout, "job": self.job_timeout}
        return {name: duration for name, duration in own.items() if duration is not None}

    def choosable(self) -> frozenset[str] | None:
        """The labels by which jobs are to choose it, lower-cased; None if only by its name."""
        named = {label.lower() for label in self.labels or ()} - {SELF_HOSTED}
        return frozenset(named | self._words) if named else None

    def serves(self, other: RunnerClass) -> bool:
        """Whether every job that chooses ``other`` by labels could have this class as well.

        What an image has are labels as well, so those in different images may be told apart.
        """
        if other.image != self.image:
            return False
        labels = _DEFAULT_LABELS[self.architecture] if self.labels is None else self.labels
        has = {label.lower() for label in labels} | self._words
        return (other.choosable() or frozenset()) <= has and (
            self.allow_images or not other.allow_images
        )

    @property
    def _words(self) -> set[str]:
        return {capability.lower() for capability in self.capabilities or ()}

    def _check_capacity(self) -> None:
        unknown = [name for name in self.capacity if name not in CAPACITY_PROVIDERS]
        if unknown or not self.capacity:
            raise ValueError(
                f"capacity {list(self.capacity)!r} is not usable, "
                f"name at least one of {list(CAPACITY_PROVIDERS)}"
            )
        if len(set(self.capacity)) < len(self.capacity):
            raise ValueError(
                f"capacity {list(self.capacity)!r} names one twice, and it is tried in order: name "
                "each once"
            )

    def _check_capabilities(self) -> None:
        given = self.capabilities
        if given is None:
            return
        if not given:
            raise ValueError(
                "capabilities of a class are none, give some such as "
                '["python"], or leave it out for those of the image'
            )
        for capability in given:
            if not _CAPABILITY.fullmatch(capability):
                raise ValueError(
                    f"capability {capability!r} of a class cannot be a label, use letters, digits, "
                    "dots, dashes, underscores and plus signs"
                )
        if len(self._words) < len(given):
            raise ValueError(
                f"capabilities {list(given)!r} of a class names one twice, in whatever case: name "
                "it once"
            )


def _check_environment(environment: Mapping[str, str]) -> None:
    for name in environment:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(
                f"environment of a class has {name!r}, which is no variable's name, use letters, "
                "digits and underscores, and no digit first"
            )
        if _OUR_VARIABLES.fullmatch(name):
            raise ValueError(
                f"environment of a class has {name!r}, by which the fleet tells a runner what it "
                "is: give the variable another name"
            )
    size = len(json.dumps(dict(environment), separators=(",", ":")))
    if size > _MOST_ENVIRONMENT:
        raise ValueError(
            f"environment of a class is {size} characters of JSON, and a task can be told "
            f"{_MOST_ENVIRONMENT}: give fewer or shorter variables"
        )


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > _MOST_TAGS:
        raise ValueError(
            f"tags of a class are {len(tags)}, and ECS takes {_MOST_TAGS} beside the fleet's own: "
            f"leave out {len(tags) - _MOST_TAGS}"
        )
    for key, value in tags.items():
        if key.lower().startswith(_OUR_TAGS):
            raise ValueError(
                f"tags of a class have {key!r}, and names that begin with {_OUR_TAGS[0]} are AWS's "
                f"and those with {_OUR_TAGS[1]} the fleet's: give it another name"
            )
        for text, most in ((key, 128), (value, 256)):
            if is_token(text):
                continue
            if len(text) > most or not _TAG_TEXT.fullmatch(text) or not key:
                raise ValueError(
                    f"tags of a class have {key!r}: {value!r}, which ECS does not take, use "
                    "letters, digits, spaces and + - = . _ : / @, up to 128 in a name and 256 in a "
                    "value"
                )


def _whole(seconds: float) -> float:
    # a token is a number as well, which must stay as it is
    return seconds if is_token(seconds) else int(seconds)


DEFAULT_RUNNER_CLASSES: Mapping[str, RunnerClass] = {
    "small": RunnerClass(cpu=512, memory=1024),
    "medium": RunnerClass(cpu=1024, memory=2048),
    "large": RunnerClass(cpu=2048, memory=4096),
}
"""The sizes that a fleet has when none are named; the first one is the default class."""
