"""By which recipe an image is made: its name tells, if it is one of today's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet_runtime.images.image import ImageRow
from fleet_runtime.job import image_reference
from fleet_runtime.job.fleet_images import FleetImages


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """The recipes of this deployment.

    Attributes:
        images: The fleet's images, each of which has one.
        of_choices: That of images on a base that a job chose; empty if none may.
    """

    images: FleetImages
    of_choices: str

    def has(self, row: ImageRow) -> bool:
        """Whether an image is made by a recipe of today, and not by an earlier one."""
        return bool(self._current(row))

    def of(self, row: ImageRow) -> str:
        """Digest of the recipe to build an image by.

        One that was asked for before a deployment is built by what has come in the place of its
        recipe: that of the fleet's image on the same base, if there is one.
        """
        same_base = (image.recipe for image in self.images.built if image.base == row.base)
        return self._current(row) or next(same_base, self.of_choices)

    def _current(self, row: ImageRow) -> str:
        found = (
            recipe
            for recipe in self._all()
            if image_reference.is_current(
                row.tag, base=row.base, recipe=recipe, architecture=row.architecture
            )
        )
        return next(found, "")

    def _all(self) -> Iterator[str]:
        yield from (image.recipe for image in self.images.built)
        if self.of_choices:
            yield self.of_choices
