"""How many images each repository has of its own: no more than one may have."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.aws.items import texts
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.images.rows import ImageRecords

_THERE = frozenset({"QUEUED", "BUILDING", "READY"})


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """The images that a repository's jobs had built, an entry of the ledger for each repository.

    An image counts for every repository that asked for its build, and as long as it is in line, is
    built or is there. What has gone is struck off when there is room for no more, so nothing has to
    be told of ends, and none is missed.

    Attributes:
        ledger: The ledger.
        images: The images' rows.
        most: How many images one repository may have, at least 1.
    """

    ledger: Ledger
    images: ImageRecords
    most: int

    def claim(self, tag: str, *, repository: str) -> bool:
        """Count an image as a repository's, once; False if it has as many as it may have."""
        if self._add(tag, repository):
            return True
        tags = texts(self.ledger.get(_entry(repository)), "tags")
        gone = frozenset(one for one in tags if self.images.find(one).status not in _THERE)
        if not gone:
            return False
        self.ledger.update(_entry(repository), discard={"tags": gone})
        return self._add(tag, repository)

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
