"""Images' rows: what state an image is in, who sees to it and who waits for it.

Everyone who wants an image first joins its ``waiters``. The row is then QUEUED until its build has
a turn, BUILDING, and READY or FAILED. QUEUED and BUILDING are leases: once they have run out,
whoever comes looks what became of the build. A READY image that is built anew stays READY, and so
does one whose rebuild fails; a RETIRED one must not be launched any more.

Each change is one conditional write. The end is written first and the waiters are told after it,
so a crash in between loses nobody: the event comes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fleet_runtime.aws.client import Client
from fleet_runtime.aws.items import Item, Value, encode, encode_all, number, numbers, text, texts

RETRY_SECONDS = 300
"""How long an image that could not be built is not tried again."""

_LONGEST_WAIT_SECONDS = 86400
"""A runner that joined an image's waiters so long ago does not wait for it any more."""
_IN_LINE = "QUEUED"
"""A rebuild's id until it has one."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that is wanted.

    Attributes:
        tag: Its name, the row's key.
        base: Normalised reference of the image it is built from.
        architecture: ``X86_64`` or ``ARM64``.
        family: The task-definition family that launches it.
    """

    tag: str
    base: str
    architecture: str
    family: str


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build has made.

    Attributes:
        build_id: ARN of the build.
        log_url: Where its log is.
        content_tag: The image's tag in the registry.
        digest: The image's digest there.
        base_digest: Digest of its base.
        runner_version: Of the runner in it.
    """

    build_id: str
    log_url: str
    content_tag: str
    digest: str
    base_digest: str
    runner_version: str


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """A row. Texts it lacks are empty, numbers 0; an image nobody has asked for has no status."""

    tag: str
    status: str
    base: str
    architecture: str
    family: str
    revision: str
    waiters: frozenset[str]
    lease_expires_at: int
    build_id: str
    log_url: str
    error: str
    retry_at: int
    content_tag: str
    digest: str
    runner_version: str
    built_at: int
    used_at: int
    superseded: Mapping[str, int]
    rebuild_id: str

    @classmethod
    def from_item(cls, item: Item) -> ImageRow:
        """Read a row."""
        return cls(
            tag=text(item, "image_tag"),
            status=text(item, "status"),
            base=text(item, "image_base"),
            # rows from before there were others lack it
            architecture=text(item, "architecture") or "X86_64",
            family=text(item, "task_definition"),
            revision=text(item, "task_definition_arn"),
            waiters=texts(item, "waiters"),
            lease_expires_at=number(item, "lease_expires_at") or 0,
            build_id=text(item, "build_id"),
            log_url=text(item, "build_log_url"),
            error=text(item, "build_error"),
            retry_at=number(item, "retry_at") or 0,
            content_tag=text(item, "content_tag"),
            digest=text(item, "image_digest"),
            runner_version=text(item, "runner_version"),
            built_at=number(item, "built_at") or 0,
            used_at=number(item, "used_at") or number(item, "updated_at") or 0,
            superseded=numbers(item, "superseded"),
            rebuild_id=text(item, "rebuild_id"),
        )

    @property
    def awaits_build(self) -> bool:
        """Whether a build is to be started as soon as there is a turn for it."""
        return self.status == "QUEUED" or self.rebuild_id == _IN_LINE

    @property
    def running(self) -> str:
        """ARN of the build that makes the image, or makes it anew; empty if there is none."""
        if self.status == "BUILDING":
            return self.build_id
        return "" if self.rebuild_id == _IN_LINE else self.rebuild_id

    def is_leased(self, now: int) -> bool:
        """Whether somebody sees to the image."""
        return self.status in ("QUEUED", "BUILDING") and self.lease_expires_at > now


class ImageRecords:
    """The image table.

    Args:
        dynamodb: A DynamoDB client.
        table: Name of the table.
        clock: Epoch seconds. Default: the system's.
    """

    def __init__(
        self, *, dynamodb: Client, table: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock

    @property
    def now(self) -> int:
        """Epoch seconds."""
        return int(self._clock())

    def find(self, tag: str) -> ImageRow:
        """Read a row, with every write before it; all empty if there is none."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key={"image_tag": encode(tag)}, ConsistentRead=True
        )
        return ImageRow.from_item(answer.get("Item") or {"image_tag": encode(tag)})

    def all(self) -> Iterator[ImageRow]:
        """Read every row."""
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._table, ConsistentRead=True
        )
        for page in pages:
            yield from map(ImageRow.from_item, page["Items"])

    def queue(self, image: Image, *, seen: ImageRow, seconds: int, runner_id: str = "") -> bool:
        """Have an image built; False if the row is no longer as it was seen.

        Args:
            image: The image.
            seen: The row: of an image without a build, or with one that nobody sees to.
            seconds: How long the lease holds.
            runner_id: A runner that waits for it, and may not be on the row's list any more;
                empty if none does.
        """
        condition = "#status = :seen" if seen.status else "attribute_not_exists(#status)"
        values: dict[str, Value] = {":seen": seen.status} if seen.status else {}
        if seen.status in ("QUEUED", "BUILDING"):
            condition += " AND lease_expires_at <= :now"
        elif seen.digest:
            condition += " AND image_digest = :digest"
            values[":digest"] = seen.digest
        row = self._update(
            image.tag,
            "SET #status = :queued, image_base = :base, architecture = :architecture,"
            " task_definition = :family, lease_expires_at = :expires, used_at = :now,"
            " updated_at = :now, queued_at = "
            + ("if_not_exists(queued_at, :now)" if seen.status == "QUEUED" else ":now")
            + " REMOVE build_id, build_log_url, build_error, retry_at"
            + (" ADD waiters :me" if runner_id else ""),
            condition=condition,
            values=values
            | ({":me": frozenset({runner_id})} if runner_id else {})
            | {
                ":queued": "QUEUED",
                ":base": image.base,
                ":architecture": image.architecture,
                ":family": image.family,
                ":expires": self.now + seconds,
                ":now": self.now,
            },
        )
        return row is not None

    def queue_rebuild(self, row: ImageRow) -> bool:
        """Have a READY image built anew; False if it is not as it was seen."""
        seen, values = _built_as(row)
        queued = self._update(
            row.tag,
            "SET rebuild_id = :rebuild REMOVE rebuild_error",
            condition=f"#status = :ready AND {seen}",
            values={":rebuild": _IN_LINE, ":ready": "READY", **values},
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
            return self._update(
                row.tag,
                "SET #status = :building, build_id = :build, build_log_url = :log,"
                " lease_expires_at = :expires, updated_at = :now",
                condition="#status = :queued",
                values={
                    ":building": "BUILDING",
                    ":queued": "QUEUED",
                    ":build": build_id,
                    ":log": log_url,
                    ":expires": self.now + seconds,
                    ":now": self.now,
                },
            )
        self._update(
            row.tag,
            "SET rebuild_id = :build",
            condition="rebuild_id = :queued",
            values={":build": build_id, ":queued": _IN_LINE},
        )
        return None

    def extend(self, tag: str, *, build_id: str, seconds: int) -> None:
        """Hold the lease of a build that takes its time."""
        self._update(
            tag,
            "SET lease_expires_at = :expires",
            condition="#status = :building AND build_id = :build",
            values={":building": "BUILDING", ":build": build_id, ":expires": self.now + seconds},
        )

    def requeue(self, tag: str, *, build_id: str, seconds: int) -> None:
        """Have an image built, or built anew, whose build came to nothing; nobody is told."""
        self._update(
            tag,
            "SET #status = :queued, lease_expires_at = :expires, queued_at = :now REMOVE build_id",
            condition="#status = :building AND build_id = :build",
            values={
                ":queued": "QUEUED",
                ":building": "BUILDING",
                ":build": build_id,
                ":expires": self.now + seconds,
                ":now": self.now,
            },
        )
        self._update(
            tag,
            "SET rebuild_id = :queued",
            condition="#status = :ready AND rebuild_id = :build",
            values={":ready": "READY", ":queued": _IN_LINE, ":build": build_id},
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
        condition, values = _built_as(seen)
        return self._update(
            seen.tag,
            "SET #status = :ready, content_tag = :content, image_digest = :digest,"
            " base_digest = :base, runner_version = :version, task_definition = :family,"
            " task_definition_arn = :revision, build_id = :build, build_log_url = :log,"
            " built_at = :now, updated_at = :now, superseded = :superseded"
            " REMOVE lease_expires_at, queued_at, build_error, retry_at, rebuild_id, rebuild_error",
            condition=condition,
            values={
                ":ready": "READY",
                ":content": built.content_tag,
                ":digest": built.digest,
                ":base": built.base_digest,
                ":version": built.runner_version,
                ":family": family,
                ":revision": revision,
                ":build": built.build_id,
                ":log": built.log_url,
                ":now": self.now,
                ":superseded": superseded,
                **values,
            },
        )

    def moved(self, seen: ImageRow, *, family: str, revision: str) -> ImageRow | None:
        """Write that a READY image is launched by another family; None if it is not it by now."""
        return self._update(
            seen.tag,
            "SET task_definition = :family, task_definition_arn = :revision, updated_at = :now",
            condition="#status = :ready AND image_digest = :digest",
            values={
                ":ready": "READY",
                ":digest": seen.digest,
                ":family": family,
                ":revision": revision,
                ":now": self.now,
            },
        )

    def outdated(self, seen: ImageRow, content_tag: str) -> None:
        """Note an image in the registry that has no use: a newer one came first."""
        superseded = {**seen.superseded, content_tag: self.now}
        self._update(
            seen.tag,
            "SET superseded = :superseded",
            condition="content_tag = :content",
            values={":superseded": superseded, ":content": seen.content_tag},
        )

    def forget_superseded(self, seen: ImageRow, tags: frozenset[str]) -> None:
        """Strike off former images that are no longer in the registry."""
        self._update(
            seen.tag,
            "SET superseded = :left",
            condition="superseded = :seen",
            values={
                ":left": {tag: at for tag, at in seen.superseded.items() if tag not in tags},
                ":seen": seen.superseded,
            },
        )

    def failed(
        self,
        tag: str,
        *,
        build_id: str,
        started_at: float,
        error: str,
        log_url: str,
        retry_seconds: int,
    ) -> ImageRow | None:
        """Write that an image could not be built.

        Args:
            tag: The image.
            build_id: ARN of the build; empty if there was none.
            started_at: When it began, epoch seconds.
            error: What went wrong.
            log_url: Where its log is.
            retry_seconds: How long it is not tried again.

        Returns:
            The row, with all who wait for it, or None if it is READY or another build is at it.
        """
        return self._update(
            tag,
            "SET #status = :failed, build_error = :error, build_log_url = :log, retry_at = :retry,"
            " updated_at = :now REMOVE lease_expires_at, rebuild_id",
            condition="#status IN (:queued, :building, :failed, :retired)"
            " AND (build_id = :build OR rebuild_id = :build"
            " OR (attribute_not_exists(build_id) AND"
            " (attribute_not_exists(queued_at) OR queued_at <= :started)))",
            values={
                ":queued": "QUEUED",
                ":building": "BUILDING",
                ":failed": "FAILED",
                ":retired": "RETIRED",
                ":build": build_id,
                ":started": int(started_at),
                ":error": error,
                ":log": log_url,
                ":retry": self.now + retry_seconds,
                ":now": self.now,
            },
        )

    def rebuild_failed(self, tag: str, *, build_id: str, error: str) -> bool:
        """Write that an image could not be built anew; it stays READY. False if it was not it."""
        row = self._update(
            tag,
            "SET rebuild_error = :error, updated_at = :now REMOVE rebuild_id",
            condition="#status = :ready AND rebuild_id IN (:build, :queued)",
            values={
                ":ready": "READY",
                ":build": build_id,
                ":queued": _IN_LINE,
                ":error": error,
                ":now": self.now,
            },
        )
        return row is not None

    def retire(self, row: ImageRow) -> None:
        """Write that an image must not be launched any more, unless it was built anew."""
        self._update(
            row.tag,
            "SET #status = :retired, updated_at = :now REMOVE rebuild_id",
            condition="#status = :ready AND runner_version = :version",
            values={
                ":ready": "READY",
                ":retired": "RETIRED",
                ":version": row.runner_version,
                ":now": self.now,
            },
        )

    def leave(self, row: ImageRow) -> bool:
        """Give up an image that nobody uses, before all that belongs to it is deleted.

        Returns:
            False if it is used again.
        """
        left = self._update(
            row.tag,
            "SET #status = :retired REMOVE rebuild_id",
            condition="(attribute_not_exists(used_at) OR used_at <= :used)"
            " AND (NOT #status IN (:queued, :building) OR lease_expires_at <= :now)",
            values={
                ":retired": "RETIRED",
                ":queued": "QUEUED",
                ":building": "BUILDING",
                ":used": row.used_at,
                ":now": self.now,
            },
        )
        return left is not None

    def delete(self, row: ImageRow) -> None:
        """Delete the row of an image that was given up, unless somebody wants it again."""
        try:
            self._dynamodb.delete_item(
                TableName=self._table,
                Key={"image_tag": encode(row.tag)},
                ConditionExpression="#status = :retired"
                " AND (attribute_not_exists(used_at) OR used_at <= :used)"
                " AND (attribute_not_exists(waiters) OR updated_at <= :gone)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=encode_all(
                    {
                        ":retired": "RETIRED",
                        ":used": row.used_at,
                        ":gone": self.now - _LONGEST_WAIT_SECONDS,
                    }
                ),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def used(self, tag: str, *, at: int, runner_version: str) -> None:
        """Note that a runner of this image was at work.

        Args:
            tag: The image; one that the fleet does not build gets a row by this.
            at: When, epoch seconds.
            runner_version: What the runner said it is; empty if it said nothing. What the fleet
                has built itself it knows better: a runner may be from the build before.
        """
        said: dict[str, Value] = {":version": runner_version} if runner_version else {}
        taken = self._update(
            tag,
            "SET used_at = :at" + (", runner_version = :version" if said else ""),
            condition="attribute_not_exists(content_tag)",
            values={":at": at, **said},
        )
        if taken is None:
            self._update(
                tag,
                "SET used_at = :at",
                condition="attribute_exists(content_tag)",
                values={":at": at},
            )

    def told(self, tag: str, *, waiters: frozenset[str]) -> None:
        """Strike off those who waited and have been told. Who came since stays on the list."""
        if waiters:
            self._update(
                tag,
                "DELETE waiters :waiters",
                condition="attribute_exists(image_tag)",
                values={":waiters": waiters},
            )

    def _update(
        self, tag: str, expression: str, *, condition: str, values: Mapping[str, Value]
    ) -> ImageRow | None:
        names = {"#status": "status"}  # a reserved word
        used = {name: names[name] for name in names if name in expression + condition}
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key={"image_tag": encode(tag)},
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeValues=encode_all(values),
                ReturnValues="ALL_NEW",
                **({"ExpressionAttributeNames": used} if used else {}),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None
        return ImageRow.from_item(answer["Attributes"])


def _built_as(seen: ImageRow) -> tuple[str, dict[str, Value]]:
    """The condition that an image has not been built since, and its operands."""
    if seen.built_at:
        return "built_at = :seen", {":seen": seen.built_at}
    return "attribute_not_exists(built_at)", {}
