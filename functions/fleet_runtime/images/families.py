"""Task-definition families: one for each image, launched by its newest revision.

A launch cannot say what a task has mounted, its definition does. So where classes have mounts each
image has further families, made from a base with these mounts: they are called like its first one
with something behind it, which the state machine adds for those classes. They are no business of
who asks for families here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.aws.client import Client, client
from fleet_runtime.observability import logger

_CONTAINER = "runner"


class NotOursError(Exception):
    """A family or an image is not the fleet's."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Whose families these are, and what they launch.

    Attributes:
        task_definition_arn: What they are made from.
        family_prefix: What their names begin with, whichever deployment made them.
        mounted_task_definitions: What those of classes with mounts are made from, by what stands
            behind their names.
        runner_repository_url: Where their images are.
    """

    task_definition_arn: str
    family_prefix: str
    mounted_task_definitions: Mapping[str, str]
    runner_repository_url: str


class Families:
    """Makes the families of images from base task definitions, with their tags.

    Args:
        ecs: An ECS client.
        bases: The base task definitions, by what stands behind the names of families; that with
            nothing behind them is the last.
        prefix: What the names of the fleet's families begin with.
        repository: Where its images are.
    """

    def __init__(
        self, *, ecs: Client, bases: Mapping[str, str], prefix: str, repository: str
    ) -> None:
        self._ecs = ecs
        self._bases = bases
        self._prefix = prefix
        self._repository = repository

    @classmethod
    def of(cls, settings: Settings) -> Families:
        """Make it from the function's settings."""
        return cls(
            ecs=client("ecs"),
            bases={**settings.mounted_task_definitions, "": settings.task_definition_arn},
            prefix=settings.family_prefix,
            repository=settings.runner_repository_url,
        )

    def register(self, family: str, *, image: str, architecture: str) -> str:
        """Launch another image by a family from now on.

        Args:
            family: The family, which is made if there is none.
            image: Reference of the image by its digest.
            architecture: ``X86_64`` or ``ARM64``.

        Returns:
            ARN of the revision, of the family without mounts. If the newest one has this image
            already it is that.

        Raises:
            NotOursError: if the family or the image is not the fleet's.
        """
        self._check_family(family)
        if not image.startswith(f"{self._repository}@sha256:"):
            raise _not_ours(f"image {image}", f"{self._repository}@sha256:…")
        revision = ""
        # that with mounts first: once the last one is there, nobody asks again
        for behind, base in self._bases.items():
            revision = self._clone(base, family + behind, image=image, architecture=architecture)
        return revision

    def _clone(self, base_arn: str, family: str, *, image: str, architecture: str) -> str:
        newest = self._newest(family)
        if newest and _image(newest) == image:
            return str(newest["taskDefinitionArn"])
        described = self._ecs.describe_task_definition(taskDefinition=base_arn, include=["TAGS"])
        base = described["taskDefinition"]
        taken = self._ecs.meta.service_model.operation_model("RegisterTaskDefinition").input_shape
        clone = {key: base[key] for key in taken.members if key in base}
        containers = [
            {**one, "image": image} if one["name"] == _CONTAINER else one
            for one in base["containerDefinitions"]
        ]
        platform = {
            "operatingSystemFamily": "LINUX",
            **base.get("runtimePlatform", {}),
            "cpuArchitecture": architecture,
        }
        made = self._ecs.register_task_definition(
            **clone
            | {"family": family, "containerDefinitions": containers, "runtimePlatform": platform},
            **_tags(described),
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def keep_only(self, revision: str) -> None:
        """Take all other revisions of a family away. Tasks that run with them run on.

        A family is launched by its newest revision: one that is left over from a registration
        that came to nothing would be launched once this one is gone.

        Args:
            revision: ARN of the revision.

        Raises:
            NotOursError: if it is not of a family of the fleet's.
        """
        family = revision.rpartition("/")[2].rpartition(":")[0]
        self._check_family(family)
        mounted = [(behind, base) for behind, base in self._bases.items() if behind]
        if mounted:
            kept = self._ecs.describe_task_definition(taskDefinition=revision)["taskDefinition"]
            about = {
                "image": _image(kept),
                "architecture": kept["runtimePlatform"]["cpuArchitecture"],
            }
            for behind, base in mounted:
                self._deregister_others(self._clone(base, family + behind, **about))
        self._deregister_others(revision)

    def _deregister_others(self, revision: str) -> None:
        arn = revision.rpartition(":")[0]
        # one page: there are never more than the few that were made since the last time
        listed = self._ecs.list_task_definitions(
            familyPrefix=arn.rpartition("/")[2], status="ACTIVE"
        )
        for other in listed["taskDefinitionArns"]:
            # the name is the whole one, as ECS has it; its stand-ins list what begins alike, too
            if other != revision and other.rpartition(":")[0] == arn:
                self._deregister(other)

    def withdraw(self, family: str, *, image: str) -> None:
        """Let a family launch nothing any more, unless its newest revision is of another image.

        Args:
            family: The family.
            image: Reference of the image by its digest; empty for any.

        Raises:
            NotOursError: if it is not a family of the fleet's.
        """
        self._check_family(family)
        for behind in self._bases:
            newest = self._newest(family + behind)
            if newest is None or (image and _image(newest) != image):
                continue
            # this one last: until then it is tried again
            self._deregister_others(newest["taskDefinitionArn"])
            self._deregister(newest["taskDefinitionArn"])

    def _deregister(self, revision: str) -> None:
        self._ecs.deregister_task_definition(taskDefinition=revision)

    def _check_family(self, family: str) -> None:
        # a colon or a slash would have it read as a revision, or as an ARN
        if not family.startswith(f"{self._prefix}-") or {":", "/"} & set(family):
            raise _not_ours(f"family {family}", f"{self._prefix}-…")

    def _newest(self, family: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._ecs.describe_task_definition(taskDefinition=family)[
                "taskDefinition"
            ]
        except self._ecs.exceptions.ClientException:
            return None
        return found if found["status"] == "ACTIVE" else None


def _not_ours(what: str, ours: str) -> NotOursError:
    logger.error("not the fleet's", what=what, ours=ours)
    return NotOursError(f"{what} is not the fleet's, whose are {ours}")


def _tags(described: Mapping[str, Any]) -> dict[str, Any]:
    """The tags that a definition can be made with: those of AWS's own are AWS's to give."""
    tags = [one for one in described.get("tags", []) if not one["key"].startswith("aws:")]
    # an empty list would ask for the permission to give tags, too
    return {"tags": tags} if tags else {}


def _image(definition: dict[str, Any]) -> str:
    containers = definition["containerDefinitions"]
    return str(next(one["image"] for one in containers if one["name"] == _CONTAINER))
