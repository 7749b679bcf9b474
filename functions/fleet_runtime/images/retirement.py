"""Says on the fleet's bus that GitHub has retired a version of its runner."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.aws.announcements import announce
from fleet_runtime.aws.client import Client

DETAIL_TYPE = "runner_version_retired"


@dataclass(frozen=True, kw_only=True)
class Retirement:
    """Puts ``runner_version_retired`` events. Saying the same twice does no harm.

    Attributes:
        events: An EventBridge client.
        bus: Name of the fleet's bus.
    """

    events: Client
    bus: str

    def tell(self, runner_version: str, *, deprecated_at: str | None, image_tag: str = "") -> None:
        """Say that images with a version are dead.

        Args:
            runner_version: The version.
            deprecated_at: Since when, ISO 8601; None if only a runner has said that it is.
            image_tag: That runner's image; empty if GitHub has said so.

        Raises:
            EventNotTakenError: if the bus did not take it.
        """
        announce(
            self.events,
            bus=self.bus,
            detail_type=DETAIL_TYPE,
            detail={
                "runner_version": runner_version,
                "deprecated_at": deprecated_at,
                "image_tag": image_tag,
            },
        )
