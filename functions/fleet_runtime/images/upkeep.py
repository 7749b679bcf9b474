"""Keeps images young and few: rebuilds what is used, deletes what is not, retires what is dead."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.images import releases as release
from fleet_runtime.images.builder import Builder
from fleet_runtime.images.rows import Image, ImageRow
from fleet_runtime.job import image_reference as images
from fleet_runtime.observability import logger

DAY_SECONDS = 86400
REBUILD_SECONDS = 7 * DAY_SECONDS
"""How old an image gets."""
IN_USE_SECONDS = 30 * DAY_SECONDS
"""How long after its last runner an image is still built anew."""
SUPERSEDED_SECONDS = 7 * DAY_SECONDS
"""How long an image stays in the registry when a newer one has its place: jobs may run with it."""
UNUSED_SECONDS = 60 * DAY_SECONDS
"""How long after its last runner an image is deleted."""


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """What is done about images that no job is asking for just now."""

    builder: Builder

    def deployed(self, *, owner: str) -> None:
        """Have the default image built for every architecture, before the first job.

        Args:
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if its build cannot be started just now.
        """
        for image in self._default_images():
            self.builder.request(image, owner=owner)

    def daily(self, *, owner: str) -> None:
        """Build anew what is used, delete what has no use, and start what waits for a turn.

        Args:
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if nothing can be built just now.
        """
        rows = list(self.builder.images.all())
        now = self.builder.images.now
        defaults = {image.tag for image in self._default_images()}
        for row in rows:
            if self._is_to_rebuild(row, now=now):
                self.builder.rebuild(row)
        self.builder.advance(owner)
        # last, and again what stands in the rows: a build may have ended meanwhile
        rows = list(self.builder.images.all())
        for row in rows:
            if row.tag not in defaults and row.used_at <= now - UNUSED_SECONDS:
                self._delete(row, rows)
            else:
                self._delete_superseded(row, rows, before=now - SUPERSEDED_SECONDS)

    def retired(self, version: str, *, found_in: str = "", owner: str) -> None:
        """Launch no image any more whose runner GitHub has retired.

        A runner's word counts for all images if it is of the default image. Jobs choose the bases
        of the others, and what is in a base could say so of any version: that takes away its own
        image and no other.

        Args:
            version: The runner's version.
            found_in: The image whose runner has found it; empty if GitHub says so.
            owner: Who asks: the same when it is tried again.

        Raises:
            BuildNotStarted: if the default image's build cannot be started just now.
        """
        builder = self.builder
        if found_in and found_in not in {image.tag for image in self._default_images()}:
            self._retire(builder.images.find(found_in))
            return
        is_known = builder.releases.dead([version], now=builder.images.now)
        if release.is_version(version) and not is_known:
            # only a runner has said so: nobody is to build the same again
            builder.ledger.write(
                release.ENTRY,
                "SET #found = :now",
                names={"#found": release.found_dead(version)},
                values={":now": builder.images.now},
            )
        for row in builder.images.all():
            if row.runner_version == version:
                self._retire(row)
        if builder.releases.current.version != version:
            self.deployed(owner=owner)

    def _retire(self, row: ImageRow) -> None:
        if not row.digest or row.status not in ("READY", "RETIRED"):
            return
        logger.warning("image retired", image_tag=row.tag, runner_version=row.runner_version)
        self.builder.images.retire(row)
        self._withdraw(row, image=self.builder.registry.reference(row.digest))

    def _withdraw(self, row: ImageRow, *, image: str) -> None:
        # executions that began before a deployment launch by the family of then
        for family in {row.family, f"{self.builder.config.task_family}-{row.tag}"}:
            self.builder.families.withdraw(family, image=image)

    def _is_to_rebuild(self, row: ImageRow, *, now: int) -> bool:
        return (
            row.status == "READY"
            and row.used_at >= now - IN_USE_SECONDS
            and row.built_at <= now - REBUILD_SECONDS
            and images.is_current(
                row.tag,
                base=row.base,
                recipe=self.builder.config.image_recipe,
                architecture=row.architecture,
            )
        )

    def _delete(self, row: ImageRow, rows: list[ImageRow]) -> None:
        """Delete all that belongs to an image, its row last: until then it is tried again."""
        builder = self.builder
        if not builder.images.leave(row):
            return
        logger.info("image deleted", image_tag=row.tag, used_at=row.used_at)
        if row.family:
            self._withdraw(row, image="")
        others = [other for other in rows if other.tag != row.tag]
        for tag in filter(None, (row.content_tag, *row.superseded)):
            if builder.images.find(row.tag).status != "RETIRED":
                # a job wants it again, and the build may have found this very image
                return
            builder.registry.delete(tag, keep=_in_use(others))
        builder.images.delete(row)

    def _delete_superseded(self, row: ImageRow, rows: list[ImageRow], *, before: int) -> None:
        old = frozenset(tag for tag, at in row.superseded.items() if at <= before)
        for tag in sorted(old):
            if tag not in self.builder.images.find(row.tag).superseded:
                # a build has just made this very image again
                continue
            self.builder.registry.delete(tag, keep=_in_use(rows))
        if old:
            self.builder.images.forget_superseded(row, old)

    def _default_images(self) -> list[Image]:
        config = self.builder.config
        if not config.build_default_image:
            return []
        found = []
        for architecture in config.image_build_projects:
            tag = images.image_tag(
                config.default_image_base,
                recipe=config.image_recipe,
                architecture=architecture,
                readable=config.runner_image_tag,
            )
            found.append(
                Image(
                    tag=tag,
                    base=config.default_image_base,
                    architecture=architecture,
                    family=f"{config.task_family}-{tag}",
                )
            )
        return found


def _in_use(rows: list[ImageRow]) -> frozenset[str]:
    """Digests that must stay in the registry."""
    return frozenset(row.digest for row in rows if row.digest)
