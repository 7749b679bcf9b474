"""Task-definition families: one for each image, launched by its newest revision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet_runtime.aws.client import Client
from fleet_runtime.images.revisions import RevisionRemover
from fleet_runtime.job.image_reference import family_name

_CONTAINER = "runner"


class Families:
    """Makes the families of images from the base task definition, with its tags.

    Args:
        ecs: An ECS client.
        base: The base task definition.
        prefix: What the names of the families begin with.
        remover: Takes revisions away.
    """

    def __init__(self, *, ecs: Client, base: str, prefix: str, remover: RevisionRemover) -> None:
        self._ecs = ecs
        self._remover = remover
        self._base = base
        self._prefix = prefix

    def name(self, tag: str) -> str:
        """Return the name of an image's family."""
        return family_name(self._prefix, tag)

    def register(self, family: str, *, image: str, architecture: str) -> str:
        """Launch another image by a family from now on.

        Args:
            family: The family, which is made if there is none.
            image: Reference of the image by its digest.
            architecture: ``X86_64`` or ``ARM64``.

        Returns:
            ARN of the revision. If the newest one has this image already it is that.
        """
        newest = self._newest(family)
        if newest and _image(newest) == image:
            return str(newest["taskDefinitionArn"])
        described = self._ecs.describe_task_definition(taskDefinition=self._base, include=["TAGS"])
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
            revision: ARN of the revision; nothing happens if it is empty.
        """
        if not revision:
            return
        family = revision.rpartition("/")[2].rpartition(":")[0]
        # one page: there are never more than the few that were made since the last time
        listed = self._ecs.list_task_definitions(familyPrefix=family, status="ACTIVE")
        for other in listed["taskDefinitionArns"]:
            if other != revision:
                self._remover.remove(other)

    def withdraw(self, family: str, *, image: str) -> None:
        """Let a family launch nothing any more, unless its newest revision is of another image.

        Args:
            family: The family.
            image: Reference of the image by its digest; empty for any.
        """
        newest = self._newest(family)
        if newest is None or (image and _image(newest) != image):
            return
        # this one last: until then it is tried again
        self.keep_only(newest["taskDefinitionArn"])
        self._remover.remove(newest["taskDefinitionArn"])

    def _newest(self, family: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._ecs.describe_task_definition(taskDefinition=family)[
                "taskDefinition"
            ]
        except self._ecs.exceptions.ClientException:
            return None
        return found if found["status"] == "ACTIVE" else None


def _tags(described: Mapping[str, Any]) -> dict[str, Any]:
    """The tags that a definition can be made with: those of AWS's own are AWS's to give."""
    tags = [one for one in described.get("tags", []) if not one["key"].startswith("aws:")]
    # an empty list would ask for the permission to give tags, too
    return {"tags": tags} if tags else {}


def _image(definition: dict[str, Any]) -> str:
    containers = definition["containerDefinitions"]
    return str(next(one["image"] for one in containers if one["name"] == _CONTAINER))
