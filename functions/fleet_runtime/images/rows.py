"""Images' rows: what state an image is in, who sees to it and who waits for it.

Everyone who wants an image first joins its ``waiters``. The row is then QUEUED until its build has
a turn, BUILDING, and READY or FAILED. QUEUED and BUILDING are leases: once they have run out,
whoever comes looks what became of the build. A READY image that is built anew stays READY, and so
does one whose rebuild fails; a RETIRED one must not be launched any more.

Each change is one conditional write. The end is written first and the waiters are told after it,
so a crash in between loses nobody: the event comes again.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet_runtime.aws.items import Item, Value
from fleet_runtime.aws.table import Records
from fleet_runtime.images.image import REBUILD_IN_LINE, Built, Image, ImageRow

RETRY_SECONDS = 300
"""How long an image that could not be built is not tried again."""

IN_USE_SECONDS = 30 * 86400
"""An image that was used since then is in use: it is built anew, and its runner is watched."""
_LONGEST_WAIT_SECONDS = 86400
"""A runner that joined an image's waiters so long ago does not wait for it any more."""
_ATTEMPTS = (
    "lease_expires_at",
    "queued_at",
    "asked_by",
    "build_error",
    "build_failure",
    "retry_at",
    "rebuild_id",
    "rebuild_error",
)
"""What a row says of attempts to build the image."""


class ImageRecords(Records):
    """The image table."""

    KEY = "image_tag"

    def find(self, tag: str) -> ImageRow:
        """Read a row, with every write before it; all empty if there is none."""
        return ImageRow.from_item(self._table.get(tag) or {"image_tag": {"S": tag}})

    def all(self) -> Iterator[ImageRow]:
        """Read every row."""
        return map(ImageRow.from_item, self._table.scan())

    def queue(
        self,
        image: Image,
        *,
        seen: ImageRow,
        seconds: int,
        runner_id: str = "",
        repository: str = "",
    ) -> bool:
        """Have an image built; False if the row is no longer as it was seen.

        Args:
            image: The image.
            seen: The row: of an image without a build, or with one that nobody sees to.
            seconds: How long the lease holds.
            runner_id: A runner that waits for it, and may not be on the row's list any more;
                empty if none does.
            repository: Whose job asks for it; empty if nobody's.
        """
        is_queued, is_under_way = seen.status == "QUEUED", seen.status in ("QUEUED", "BUILDING")
        since: dict[str, Value] = {"queued_at": self.now}
        values: dict[str, Value] = {
            "status": "QUEUED",
            "image_base": image.base,
            "architecture": image.architecture,
            "task_definition": image.family,
            "lease_expires_at": self.now + seconds,
            "used_at": self.now,
            "updated_at": self.now,
        }
        add: dict[str, Value] = {"waiters": frozenset({runner_id})} if runner_id else {}
        remove = ["build_id", "build_log_url", "build_error", "build_failure", "retry_at"]
        if not repository:
            remove.append("asked_by")
        elif is_queued:
            add["asked_by"] = frozenset({repository})
        else:
            values["asked_by"] = frozenset({repository})
        expected: dict[str, Value | None] = {"status": seen.status or None}
        if seen.digest and not is_under_way:
            expected["image_digest"] = seen.digest
        row = self._table.update(
            image.tag,
            values=values if is_queued else values | since,
            first=since if is_queued else {},
            add=add,
            remove=remove,
            expected=expected,
            condition="lease_expires_at <= :now" if is_under_way else "",
            operands={":now": self.now} if is_under_way else {},
        )
        return row is not None

    def asked(self, tag: str, *, repository: str) -> None:
        """Note that an image is in line for this repository too, as long as it is."""
        self._table.update(
            tag, add={"asked_by": frozenset({repository})}, expected={"status": "QUEUED"}
        )

    def queue_rebuild(self, row: ImageRow) -> bool:
        """Have a READY image built anew; False if it is not as it was seen."""
        queued = self._table.update(
            row.tag,
            values={"rebuild_id": REBUILD_IN_LINE},
            remove=("rebuild_error",),
            expected={"status": "READY", "built_at": row.built_at or None},
        )
        return queued is not None

    def started(
        self, row: ImageRow, *, build_id: str, log_url: str, seconds: int
    ) -> ImageRow | None:
        """Note the build of an image that awaited one, unless its end was handled already.

        Args:
            row: The image.
            build_id: ARN of the build.
            log_url: Where its log is.
            seconds: How long the lease holds.

        Returns:
            The row of an image that is built for the first time, with all who wait for it.
        """
        if row.status == "QUEUED":
            written = self._table.update(
                row.tag,
                values={
                    "status": "BUILDING",
                    "build_id": build_id,
                    "build_log_url": log_url,
                    "lease_expires_at": self.now + seconds,
                    "updated_at": self.now,
                },
                expected={"status": "QUEUED"},
            )
            return _row(written)
        self._table.update(
            row.tag, values={"rebuild_id": build_id}, expected={"rebuild_id": REBUILD_IN_LINE}
        )
        return None

    def extend(self, tag: str, *, build_id: str, seconds: int) -> None:
        """Hold the lease of a build that takes its time."""
        self._table.update(
            tag,
            values={"lease_expires_at": self.now + seconds},
            expected={"status": "BUILDING", "build_id": build_id},
        )

    def requeue(self, tag: str, *, build_id: str, seconds: int) -> ImageRow | None:
        """Have an image built, or built anew, whose build came to nothing; nobody is told.

        Returns:
            The row, or None if another build is at it.
        """
        queued = self._table.update(
            tag,
            values={
                "status": "QUEUED",
                "lease_expires_at": self.now + seconds,
                "queued_at": self.now,
            },
            remove=("build_id",),
            expected={"status": "BUILDING", "build_id": build_id},
        )
        return _row(queued) or _row(
            self._table.update(
                tag,
                values={"rebuild_id": REBUILD_IN_LINE},
                expected={"status": "READY", "rebuild_id": build_id},
            )
        )

    def ready(self, seen: ImageRow, built: Built, *, family: str, revision: str) -> ImageRow | None:
        """Write that an image is there, in place of the one before.

        Args:
            seen: The row.
            built: The image.
            family: The task-definition family that launches it.
            revision: ARN of the newest revision of that.

        Returns:
            The row, with all who wait for it, or None if another build came first.
        """
        superseded = {tag: at for tag, at in seen.superseded.items() if tag != built.content_tag}
        if seen.content_tag and seen.content_tag != built.content_tag:
            superseded[seen.content_tag] = self.now
        written = self._table.update(
            seen.tag,
            values={
                "status": "READY",
                "content_tag": built.content_tag,
                "image_digest": built.digest,
                "base_digest": built.base_digest,
                "runner_version": built.runner_version,
                "task_definition": family,
                "task_definition_arn": revision,
                "build_id": built.build_id,
                "build_log_url": built.log_url,
                "built_at": self.now,
                "updated_at": self.now,
                "superseded": superseded,
            },
            remove=_ATTEMPTS,
            expected={"built_at": seen.built_at or None},
        )
        return _row(written)

    def moved(self, seen: ImageRow, *, family: str, revision: str) -> ImageRow | None:
        """Write that a READY image is launched by another family; None if it is not it by now."""
        written = self._table.update(
            seen.tag,
            values={
                "task_definition": family,
                "task_definition_arn": revision,
                "updated_at": self.now,
            },
            expected={"status": "READY", "image_digest": seen.digest},
        )
        return _row(written)

    def outdated(self, seen: ImageRow, content_tag: str) -> None:
        """Note an image in the registry that has no use: a newer one came first."""
        self._table.update(
            seen.tag,
            values={"superseded": {**seen.superseded, content_tag: self.now}},
            expected={"content_tag": seen.content_tag},
        )

    def forget_superseded(self, seen: ImageRow, tags: frozenset[str]) -> None:
        """Strike off former images that are no longer in the registry."""
        left = {tag: at for tag, at in seen.superseded.items() if tag not in tags}
        self._table.update(
            seen.tag, values={"superseded": left}, expected={"superseded": seen.superseded}
        )

    def failed(
        self,
        tag: str,
        *,
        build_id: str,
        started_at: float,
        error: str,
        failure: str,
        log_url: str,
        retry_seconds: int,
    ) -> ImageRow | None:
        """Write that an image could not be built.

        Args:
            tag: The image.
            build_id: ARN of the build; empty if there was none.
            started_at: When it began, epoch seconds.
            error: What went wrong.
            failure: The error's name among the fleet's causes.
            log_url: Where its log is.
            retry_seconds: How long it is not tried again.

        Returns:
            The row, with all who wait for it, or None if it is READY or another build is at it.
        """
        written = self._table.update(
            tag,
            values={
                "status": "FAILED",
                "build_error": error,
                "build_failure": failure,
                "build_log_url": log_url,
                "retry_at": self.now + retry_seconds,
                "updated_at": self.now,
            },
            remove=("lease_expires_at", "rebuild_id"),
            condition="#status IN (:queued, :building, :failed, :retired)"
            " AND (build_id = :build OR rebuild_id = :build"
            " OR (attribute_not_exists(build_id) AND"
            " (attribute_not_exists(queued_at) OR queued_at <= :started)))",
            operands={
                ":queued": "QUEUED",
                ":building": "BUILDING",
                ":failed": "FAILED",
                ":retired": "RETIRED",
                ":build": build_id,
                ":started": int(started_at),
            },
        )
        return _row(written)

    def rebuild_failed(self, tag: str, *, build_id: str, error: str) -> bool:
        """Write that an image could not be built anew; it stays READY. False if it was not it."""
        row = self._table.update(
            tag,
            values={"rebuild_error": error, "updated_at": self.now},
            remove=("rebuild_id",),
            expected={"status": "READY"},
            condition="rebuild_id IN (:build, :queued)",
            operands={":build": build_id, ":queued": REBUILD_IN_LINE},
        )
        return row is not None

    def retire(self, row: ImageRow) -> None:
        """Write that an image must not be launched any more, unless it was built anew."""
        self._table.update(
            row.tag,
            values={"status": "RETIRED", "updated_at": self.now},
            remove=("rebuild_id",),
            expected={"status": "READY", "runner_version": row.runner_version},
        )

    def leave(self, row: ImageRow) -> bool:
        """Give up an image that nobody uses, before all that belongs to it is deleted.

        Returns:
            False if it is used again.
        """
        left = self._table.update(
            row.tag,
            values={"status": "RETIRED"},
            remove=("rebuild_id",),
            condition="(attribute_not_exists(used_at) OR used_at <= :used)"
            " AND (NOT #status IN (:queued, :building) OR lease_expires_at <= :now)",
            operands={
                ":queued": "QUEUED",
                ":building": "BUILDING",
                ":used": row.used_at,
                ":now": self.now,
            },
        )
        return left is not None

    def delete(self, row: ImageRow) -> None:
        """Delete the row of an image that was given up, unless somebody wants it again."""
        self._table.delete(
            row.tag,
            condition="#status = :retired"
            " AND (attribute_not_exists(used_at) OR used_at <= :used)"
            " AND (attribute_not_exists(waiters) OR updated_at <= :gone)",
            operands={
                ":retired": "RETIRED",
                ":used": row.used_at,
                ":gone": self.now - _LONGEST_WAIT_SECONDS,
            },
        )

    def used(self, tag: str, *, at: int, runner_version: str) -> None:
        """Note that a runner of this image was at work.

        Args:
            tag: The image; one that the fleet does not build gets a row by this.
            at: When, epoch seconds.
            runner_version: What the runner said it is; empty if it said nothing. What the fleet
                has built itself it knows better: a runner may be from the build before.
        """
        said: dict[str, Value] = {"runner_version": runner_version} if runner_version else {}
        taken = self._table.update(
            tag, values={"used_at": at, **said}, expected={"content_tag": None}
        )
        if taken is None:
            self._table.update(
                tag, values={"used_at": at}, condition="attribute_exists(content_tag)"
            )

    def told(self, tag: str, *, waiters: frozenset[str]) -> ImageRow | None:
        """Strike off those who waited and have been told. Who came since stays on the list.

        Returns:
            The row after it; None if there is none any more, or nobody waited.
        """
        if not waiters:
            return None
        written = self._table.update(
            tag, discard={"waiters": waiters}, condition="attribute_exists(image_tag)"
        )
        return _row(written)


def _row(item: Item | None) -> ImageRow | None:
    return None if item is None else ImageRow.from_item(item)
