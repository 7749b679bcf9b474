"""Keeps images young and few: rebuilds what is used, deletes what is not, retires what is dead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fleet_runtime.images.build_queue import BuildNotStarted
from fleet_runtime.images.builder import Builder
from fleet_runtime.images.image import Image, ImageRow
from fleet_runtime.images.recipes import Recipes
from fleet_runtime.images.registry import ImageRegistry
from fleet_runtime.images.releases import ReleasesEntry
from fleet_runtime.images.rows import IN_USE_SECONDS, ImageRecords
from fleet_runtime.images.task_definitions import TaskDefinitions
from fleet_runtime.job.fleet_images import FleetImages
from fleet_runtime.observability import logger

DAY_SECONDS = 86400
REBUILD_SECONDS = 7 * DAY_SECONDS
"""How old an image gets while its runner's release is the current one."""
SUPERSEDED_SECONDS = 7 * DAY_SECONDS
"""How long an image stays in the registry when a newer one has its place: jobs may run with it."""
UNUSED_SECONDS = 60 * DAY_SECONDS
"""How long after its last runner an image is deleted."""


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """What is done about images that no job is asking for just now.

    Attributes:
        builder: Builds them.
        images: Their rows.
        releases: What is known of the runner's releases.
        registry: Where they are.
        families: What launches them.
        recipes: What they are made by today.
        defaults: The fleet's own images, of every architecture that classes have them for.
    """

    builder: Builder
    images: ImageRecords
    releases: ReleasesEntry
    registry: ImageRegistry
    families: TaskDefinitions
    recipes: Recipes
    defaults: tuple[Image, ...]

    def deployed(self, *, owner: str) -> None:
        """Have the fleet's own images built for every architecture, before the first job.

        If CodeBuild has no room, as in a young account, the first job has it built.
        What is in use follows if the library has brought a newer release of the runner.

        Args:
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if its build cannot be started just now, though there is room.
        """
        for image in self.defaults:
            with _postponing():
                self.builder.request(image, owner=owner)
        self.follow(owner=owner)

    def follow(self, *, owner: str) -> None:
        """Build anew what is used and is old, or has another release than builds get now.

        Args:
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if nothing can be built just now, though there is room.
        """
        now, release = self.images.now, self.releases.read().current.version
        for row in list(self.images.all()):
            if self._is_to_rebuild(row, now=now, release=release):
                self.builder.rebuild(row)
        with _postponing():
            self.builder.advance(owner)

    def daily(self, *, owner: str) -> None:
        """Build anew what is used, delete what has no use, and start what waits for a turn.

        Args:
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if nothing can be built just now, though there is room.
        """
        now = self.images.now
        defaults = {image.tag for image in self.defaults}
        self.follow(owner=owner)
        # last, and again what stands in the rows: a build may have ended meanwhile
        rows = list(self.images.all())
        for row in rows:
            if row.tag not in defaults and row.used_at <= now - UNUSED_SECONDS:
                self._delete(row, rows)
            else:
                self._delete_superseded(row, rows, before=now - SUPERSEDED_SECONDS)

    def retired(self, version: str, *, found_in: str, owner: str) -> None:
        """Launch no image any more whose runner GitHub has retired.

        What counts as GitHub's word is a date of its own, which the ledger has: it is about every
        image with that version. A runner's word is about its own image, if that is what the fleet
        has built it with, and about no other: what is in a base that a job has chosen could say
        so of any version. Only of the default image it also ends builds with that release.

        Args:
            version: The runner's version.
            found_in: The image whose runner has found it; empty if GitHub says so.
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if the default image's build cannot be started just now.
        """
        known = self.releases.read()
        if found_in:
            rows = [self.images.find(found_in)]
        elif known.retired([version], now=self.images.now):
            rows = list(self.images.all())
        else:
            rows = []
        dead = [row for row in rows if row.runner_version == version]
        if not dead:
            logger.warning("no image retired", runner_version=version, found_in=found_in)
            return
        is_default = found_in in {image.tag for image in self.defaults}
        is_current = version == known.current.version
        if is_default and is_current and not known.dead([version], now=self.images.now):
            # only a runner has said so: nobody is to build the same again
            self.releases.found_dead(version)
        for row in dead:
            self._retire(row)
        if not is_current and (is_default or not found_in):
            self.deployed(owner=owner)

    def _retire(self, row: ImageRow) -> None:
        if not row.digest or row.status not in ("READY", "RETIRED"):
            return
        logger.warning("image retired", image_tag=row.tag, runner_version=row.runner_version)
        self.images.retire(row)
        self._withdraw(row, image=self.registry.reference(row.digest))

    def _withdraw(self, row: ImageRow, *, image: str) -> None:
        # executions that began before a deployment launch by the family of then
        for family in {row.family, self.families.name(row.tag)}:
            self.families.withdraw(family, image=image)

    def _is_to_rebuild(self, row: ImageRow, *, now: int, release: str) -> bool:
        return (
            row.status == "READY"
            and row.used_at >= now - IN_USE_SECONDS
            and (row.built_at <= now - REBUILD_SECONDS or row.runner_version != release)
            # no job gets it any more
            and self.builder.bases.have(row.base)
            and self.recipes.has(row)
        )

    def _delete(self, row: ImageRow, rows: list[ImageRow]) -> None:
        """Delete all that belongs to an image, its row last: until then it is tried again."""
        if not self.images.leave(row):
            return
        logger.info("image deleted", image_tag=row.tag, used_at=row.used_at)
        if row.family:
            self._withdraw(row, image="")
        others = [other for other in rows if other.tag != row.tag]
        for tag in filter(None, (row.content_tag, *row.superseded)):
            if self.images.find(row.tag).status != "RETIRED":
                # a job wants it again, and the build may have found this very image
                return
            self.registry.delete(tag, keep=_in_use(others))
        self.images.delete(row)

    def _delete_superseded(self, row: ImageRow, rows: list[ImageRow], *, before: int) -> None:
        old = frozenset(tag for tag, at in row.superseded.items() if at <= before)
        for tag in sorted(old):
            if tag not in self.images.find(row.tag).superseded:
                # a build has just made this very image again
                continue
            self.registry.delete(tag, keep=_in_use(rows))
        if old:
            self.images.forget_superseded(row, old)


@contextmanager
def _postponing() -> Iterator[None]:
    """Leave what there is no room for to the next job, to the end of any build, or to tomorrow.

    No job waits for what upkeep builds: an event that is tried again would end among those that
    failed, and ring an alarm, although nothing is wrong.
    """
    try:
        yield
    except BuildNotStarted as error:
        if not error.is_postponed:
            raise
        logger.warning("build postponed", error=str(error))


def own_images(images: FleetImages, families: TaskDefinitions) -> tuple[Image, ...]:
    """Name what is built before a job asks: the fleet's own images, by architecture.

    Args:
        images: The fleet's images.
        families: What launches them.
    """
    named = [
        (image, architecture, image.tag(architecture))
        for image in images.built
        for architecture in image.architectures
    ]
    return tuple(
        Image(tag=tag, base=image.base, architecture=architecture, family=families.name(tag))
        for image, architecture, tag in named
    )


def _in_use(rows: list[ImageRow]) -> frozenset[str]:
    """Digests that must stay in the registry."""
    return frozenset(row.digest for row in rows if row.digest)
