"""Images' rows: who builds an image, how it ended and who waits for it.

Everyone who wants an image first joins its ``waiters``. Who then takes the lease sees to the
image; a lease that ran out was a dead builder's and may be taken. The end is written first and
the waiters are told after it, so a crash in between loses nobody: the event comes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleet_runtime.aws import Client
from fleet_runtime.items import Item, Value, encode, encode_all, text, texts


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that is wanted.

    Attributes:
        tag: Its content-addressed tag, the row's key.
        base: Normalised reference of the image it is built from.
        family: The task-definition family that launches it.
    """

    tag: str
    base: str
    family: str


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """A row, as far as the functions use it."""

    status: str
    family: str
    waiters: frozenset[str]

    @classmethod
    def from_item(cls, item: Item) -> ImageRow:
        """Read a row."""
        return cls(
            status=text(item, "status"),
            family=text(item, "task_definition"),
            waiters=texts(item, "waiters"),
        )


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

    def find(self, tag: str) -> ImageRow | None:
        """Read a row, with every write before it."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key={"image_tag": encode(tag)}, ConsistentRead=True
        )
        return ImageRow.from_item(answer["Item"]) if "Item" in answer else None

    def take_lease(self, image: Image, *, seconds: int) -> bool:
        """Become the one who sees to the image; False if somebody does, or has.

        Args:
            image: The image. One that is ready but launched by another family, that of a task
                definition since replaced, has to be seen to as well.
            seconds: How long the lease holds.
        """
        now = int(self._clock())
        row = self._update(
            image.tag,
            "SET #status = :building, image_base = :base, task_definition = :family,"
            " lease_expires_at = :expires, updated_at = :now"
            " REMOVE build_id, build_log_url, build_error",
            condition="attribute_not_exists(#status) OR #status = :failed"
            " OR (#status = :building AND lease_expires_at <= :now)"
            " OR (#status = :ready AND task_definition <> :family)",
            values={
                ":building": "BUILDING",
                ":failed": "FAILED",
                ":ready": "READY",
                ":base": image.base,
                ":family": image.family,
                ":expires": now + seconds,
                ":now": now,
            },
        )
        return row is not None

    def started(self, tag: str, *, build_id: str, log_url: str) -> None:
        """Note which build makes the image, unless it has ended already."""
        self._update(
            tag,
            "SET build_id = :build, build_log_url = :log",
            condition="#status = :building",
            values={":building": "BUILDING", ":build": build_id, ":log": log_url},
        )

    def ready(self, tag: str, *, digest: str, family: str, log_url: str) -> frozenset[str]:
        """Write that the image is there; returns who waited for it."""
        row = self._update(
            tag,
            "SET #status = :ready, image_digest = :digest, task_definition = :family,"
            " build_log_url = :log, updated_at = :now REMOVE lease_expires_at, build_error",
            values={
                ":ready": "READY",
                ":digest": digest,
                ":family": family,
                ":log": log_url,
                ":now": int(self._clock()),
            },
        )
        return row.waiters if row else frozenset()

    def failed(self, tag: str, *, build_id: str, error: str, log_url: str) -> frozenset[str] | None:
        """Write that a build failed.

        Returns:
            Who waited for it, or None if the image is ready or another build is at it.
        """
        row = self._update(
            tag,
            "SET #status = :failed, build_error = :error, build_log_url = :log,"
            " updated_at = :now REMOVE lease_expires_at",
            condition="#status IN (:building, :failed)"
            " AND (attribute_not_exists(build_id) OR build_id = :build)",
            values={
                ":building": "BUILDING",
                ":failed": "FAILED",
                ":build": build_id,
                ":error": error,
                ":log": log_url,
                ":now": int(self._clock()),
            },
        )
        return row.waiters if row else None

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
        self,
        tag: str,
        expression: str,
        *,
        values: Mapping[str, Value],
        condition: str | None = None,
    ) -> ImageRow | None:
        optional: dict[str, object] = {"ConditionExpression": condition} if condition else {}
        if "#status" in expression + (condition or ""):  # a reserved word
            optional["ExpressionAttributeNames"] = {"#status": "status"}
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key={"image_tag": encode(tag)},
                UpdateExpression=expression,
                ExpressionAttributeValues=encode_all(values),
                ReturnValues="ALL_NEW",
                **optional,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None
        return ImageRow.from_item(answer["Attributes"])
