"""The images that a fleet has for its classes, as its deployment names them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet_runtime.job import image_reference


@dataclass(frozen=True, kw_only=True)
class FleetImage:
    """An image that classes have their jobs run in: one that is built, or a ready one.

    Attributes:
        name: What classes call it by, and what its name begins with.
        base: Normalised reference of what it is built from; empty if it is ready.
        recipe: Digest of all else that goes into it; empty if it is ready.
        architectures: Those that it is built for before a job asks for it.
        task_definitions: Those of a ready image by architecture.
        declared: What it declares to have, lower-cased; empty if it declares nothing.
        detected: What will be found in it, lower-cased; empty if only the image itself can tell.
    """

    name: str
    base: str = ""
    recipe: str = ""
    architectures: tuple[str, ...] = ()
    task_definitions: Mapping[str, str]
    declared: tuple[str, ...] = ()
    detected: tuple[str, ...] = ()

    @property
    def is_built(self) -> bool:
        """Whether the fleet builds it."""
        return self.base != ""

    def tag(self, architecture: str) -> str:
        """Its name, which a ready image has as it stands."""
        if not self.is_built:
            return self.name
        return image_reference.image_tag(
            self.base, recipe=self.recipe, architecture=architecture, readable=self.name
        )


@dataclass(frozen=True, kw_only=True)
class FleetImages:
    """A fleet's images. The first is that of classes which name none."""

    images: tuple[FleetImage, ...]

    @classmethod
    def parse(cls, text: str) -> FleetImages:
        """Read a JSON list of objects.

        Raises:
            ValueError: if it is none of at least one image.
        """
        found = json.loads(text)
        if not isinstance(found, list) or not found:
            raise ValueError("it must be a JSON list of at least one image")
        return cls(images=tuple(map(_read, found)))

    @property
    def default(self) -> FleetImage:
        """The image of classes that name none."""
        return self.images[0]

    @property
    def built(self) -> Sequence[FleetImage]:
        """Those that the fleet builds."""
        return [image for image in self.images if image.is_built]

    @property
    def bases(self) -> frozenset[str]:
        """What they are built from."""
        return frozenset(image.base for image in self.built)

    def find(self, name: str) -> FleetImage | None:
        """Find an image by its name; the first if that is empty."""
        if not name:
            return self.default
        return next((image for image in self.images if image.name == name), None)


def _read(entry: object) -> FleetImage:
    if not isinstance(entry, dict):
        raise ValueError("each image must be an object")
    values: dict[str, Any] = {
        "task_definitions": {},
        **{key: tuple(one) if isinstance(one, list) else one for key, one in entry.items()},
    }
    image = FleetImage(**values)
    # of the two exactly one
    if not image.name or image.is_built is bool(image.task_definitions):
        raise ValueError("each image must have a name, and either a base or task_definitions")
    return image
