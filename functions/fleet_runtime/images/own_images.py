"""How many images each repository has of its own: no more than one may have."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.aws.items import texts
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.images.image import ImageRow
from fleet_runtime.images.recipes import Recipes
from fleet_runtime.images.rows import ImageRecords
from fleet_runtime.job.image_policy import Bases

_THERE = frozenset({"QUEUED", "BUILDING", "READY"})


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """The images that a repository's jobs had built, an entry of the ledger for each repository.

    An image counts for every repository that asked for its build, and as long as it is in line, is
    built or is there, and jobs get it: what an earlier recipe made or a shorter list no longer
    allows takes nobody's place. What has gone is struck off when there is room for no more, so
    nothing has to be told of ends, and none is missed.

    Attributes:
        ledger: The ledger.
        images: The images' rows.
        bases: What they may be built on.
        recipes: What they are made by now.
        most: How many images one repository may have, at least 1.
    """

    ledger: Ledger
    images: ImageRecords
    bases: Bases
    recipes: Recipes
    most: int

    def claim(self, tag: str, *, repository: str) -> bool:
        """Count an image as a repository's, once; False if it has as many as it may have."""
        if self._add(tag, repository):
            return True
        tags = texts(self.ledger.get(_entry(repository)), "tags")
        gone = frozenset(one for one in tags if not self._is_there(self.images.find(one)))
        if not gone:
            return False
        self.ledger.update(_entry(repository), discard={"tags": gone})
        return self._add(tag, repository)

    def _is_there(self, row: ImageRow) -> bool:
        is_got = self.bases.have(row.base) and self.recipes.has(row)
        return row.status in _THERE and is_got

    def _add(self, tag: str, repository: str) -> bool:
        added = self.ledger.update(
            _entry(repository),
            add={"tags": frozenset({tag})},
            condition="attribute_not_exists(tags) OR contains(tags, :tag) OR size(tags) < :most",
            operands={":tag": tag, ":most": self.most},
        )
        return added is not None


def _entry(repository: str) -> str:
    return f"images/{repository}"
