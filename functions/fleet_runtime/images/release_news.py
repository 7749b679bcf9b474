"""Says on the fleet's bus what has become of releases of GitHub's runner."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.aws.announcements import Bus, announce
from fleet_runtime.aws.client import Client

FOUND = "retired_runner_found"
"""A runner says that its own version is retired. The watch looks what to have its image follow."""
RETIRED = "runner_version_retired"
"""GitHub has retired a version; or a runner has found so, and there is a release to follow with."""
TAKEN_OVER = "runner_release_taken_over"
"""Images are built with a newer release from now on."""


@dataclass(frozen=True, kw_only=True)
class ReleaseNews:
    """Puts events of releases. Saying the same twice does no harm.

    Attributes:
        events: An EventBridge client.
        bus: Where they go.
    """

    events: Client
    bus: Bus

    def retired(self, runner_version: str, *, deprecated_at: str, image_tag: str = "") -> None:
        """Say that images with a version are dead.

        Args:
            runner_version: The version.
            deprecated_at: Since when, ISO 8601.
            image_tag: The image whose runner has found it, which alone is meant then; empty if
                GitHub has set the date.

        Raises:
            EventNotTakenError: if the bus did not take it.
        """
        self._tell(
            RETIRED,
            runner_version=runner_version,
            deprecated_at=deprecated_at,
            image_tag=image_tag,
        )

    def found_retired(self, runner_version: str, *, image_tag: str) -> None:
        """Say that a runner has found its version retired.

        Args:
            runner_version: The version, as the runner says.
            image_tag: The runner's image.

        Raises:
            EventNotTakenError: if the bus did not take it.
        """
        self._tell(FOUND, runner_version=runner_version, image_tag=image_tag)

    def taken_over(self, runner_version: str) -> None:
        """Say that images are built with a newer release from now on.

        Args:
            runner_version: Its version.

        Raises:
            EventNotTakenError: if the bus did not take it.
        """
        self._tell(TAKEN_OVER, runner_version=runner_version)

    def _tell(self, kind: str, **detail: str) -> None:
        announce(self.events, bus=self.bus, detail_type=kind, detail=detail)
