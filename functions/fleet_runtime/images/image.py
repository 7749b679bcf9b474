"""An image: as it is wanted, as a build has made it, and as its row tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.aws.items import Item, number, numbers, text, texts

BUILD_FAILED = "Image.BuildFailed"
BUILD_THROTTLED = "Image.BuildThrottled"
TOO_MANY = "Image.TooMany"
"""Why there is no image, by the names that causes have."""

REBUILD_IN_LINE = "QUEUED"
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

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Image:
        """Read what the state machine asks for."""
        return cls(
            tag=event["image_tag"],
            base=event["image_base"],
            architecture=event["architecture"],
            family=event["task_definition"],
        )


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
    asked_by: frozenset[str]
    lease_expires_at: int
    build_id: str
    log_url: str
    error: str
    failure: str
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
            architecture=text(item, "architecture"),
            family=text(item, "task_definition"),
            revision=text(item, "task_definition_arn"),
            waiters=texts(item, "waiters"),
            asked_by=texts(item, "asked_by"),
            lease_expires_at=number(item, "lease_expires_at") or 0,
            build_id=text(item, "build_id"),
            log_url=text(item, "build_log_url"),
            error=text(item, "build_error"),
            failure=text(item, "build_failure"),
            retry_at=number(item, "retry_at") or 0,
            content_tag=text(item, "content_tag"),
            digest=text(item, "image_digest"),
            runner_version=text(item, "runner_version"),
            built_at=number(item, "built_at") or 0,
            used_at=number(item, "used_at") or 0,
            superseded=numbers(item, "superseded"),
            rebuild_id=text(item, "rebuild_id"),
        )

    @property
    def awaits_build(self) -> bool:
        """Whether a build is to be started as soon as there is a turn for it."""
        return self.status == "QUEUED" or self.rebuild_id == REBUILD_IN_LINE

    @property
    def running(self) -> str:
        """ARN of the build that makes the image, or makes it anew; empty if there is none."""
        if self.status == "BUILDING":
            return self.build_id
        return "" if self.rebuild_id == REBUILD_IN_LINE else self.rebuild_id

    def is_leased(self, now: int) -> bool:
        """Whether somebody sees to the image."""
        return self.status in ("QUEUED", "BUILDING") and self.lease_expires_at > now
