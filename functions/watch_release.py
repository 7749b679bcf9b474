"""Watches which releases of its runner GitHub supports, before images with an old one stop to work.

GitHub retires a release eight to ten weeks after it came out, and at once if it has to. Once a day,
after a deployment and when a runner has found its version retired, this asks which release GitHub
has everyone install and when it retires the versions that the fleet's images have. While there is
none that images can be built with, it asks every hour. The answers stand in the ledger, where
builds look for their release.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.aws.client import client
from fleet_runtime.aws.items import number
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.github import runners
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable
from fleet_runtime.images.releases import ENTRY, Release, Releases, is_version
from fleet_runtime.images.retirement import DETAIL_TYPE, Retirement
from fleet_runtime.images.rows import ImageRecords
from fleet_runtime.observability import gauge, logger, observed

IN_USE_SECONDS = 30 * 86400
"""An image that was used since then is in use. It is rebuilt by itself for as long."""
_LOOK_SECONDS = 22 * 3600
"""How old what is known of releases gets. Less than a day, so that each has its look."""
_REMEDY = (
    "give the GitHub App Administration (of a repository) or Self-hosted runners (of an "
    "organization), or the token that runs the fleet what docs/github-access.md says; until then "
    "only the dates that are known already count down"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where images' rows and the ledger are, whom to tell and ask, and the library's release."""

    ledger_table: str
    image_table: str
    event_bus_name: str
    runner_release: Release
    connection: Connection


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Compares the runners in the fleet's images with what GitHub supports.

    Attributes:
        images: The images' rows.
        pin: The library's own release of the runner.
        ledger: The ledger.
        github: GitHub.
        retirement: Says which versions are dead.
        clock: Epoch seconds. Default: the system's.
    """

    images: ImageRecords
    pin: Release
    ledger: Ledger
    github: GitHub
    retirement: Retirement
    clock: Callable[[], float] = time.time

    def is_due(self) -> bool:
        """Whether it is time for the day's look, or builds wait for a release to have."""
        entry, now = self.ledger.get(ENTRY), self.clock()
        known = Releases.from_item(entry, pin=self.pin)
        is_old = (number(entry, "checked_at") or 0) <= now - _LOOK_SECONDS
        return is_old or bool(known.dead([known.current.version], now=now))

    def run(self) -> dict[str, Any]:
        """Do the day's look.

        Returns:
            ``release``, which images are built with, ``days_left`` of the versions in use, None
            if GitHub has set no date, and those that are ``retired``.

        Raises:
            GitHubUnavailable: GitHub does not answer now. Days left are told all the same.
            EventNotTakenError: The bus did not take what is dead.
        """
        versions = self._versions()
        known = self._known()
        try:
            told = self._learn(sorted(versions), known)
        except GitHubUnavailable:
            self._report(versions, known)
            raise
        return self._report(versions, told)

    def follow(self, version: str) -> None:
        """Look for a release to have images follow with, as a runner has found theirs retired.

        Images of that version may have been told off already, when none to follow with was known.
        So they are told again, now with a date: that is not answered by another look.

        Args:
            version: The runner's version.

        Raises:
            GitHubUnavailable: GitHub does not answer now.
            EventNotTakenError: The bus did not take it.
        """
        asked = filter(is_version, {*self._versions(), version})
        told, now = self._learn(sorted(asked), self._known()), self.clock()
        since = told.dead([version], now=now).get(version)
        if since or told.current.version != version:
            now_then = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
            self.retirement.tell(version, deprecated_at=since or now_then)

    def _known(self) -> Releases:
        return Releases.from_item(self.ledger.get(ENTRY), pin=self.pin)

    def _learn(self, versions: Sequence[str], known: Releases) -> Releases:
        """Ask GitHub, and keep what it says; what is known already if it refuses to say."""
        try:
            told = self._ask(versions, known)
        except GitHubRefused as error:
            logger.error("not told of runner releases", error=str(error), remedy=_REMEDY)
            return known
        self._keep(told)
        return told

    def _versions(self) -> dict[str, bool]:
        """The versions in the images that a job may start with, and whether one has of late."""
        since = int(self.clock()) - IN_USE_SECONDS
        versions: dict[str, bool] = {}
        for row in self.images.all():
            is_used = row.used_at >= since
            # an image that is not built by the fleet has no status, and is never deleted
            is_launched = row.status == "READY" or (not row.status and is_used)
            # a runner has said it, and it goes into a path
            if is_launched and is_version(row.runner_version):
                versions[row.runner_version] = versions.get(row.runner_version, False) or is_used
        return versions

    def _ask(self, versions: Sequence[str], known: Releases) -> Releases:
        request = runners.list_runner_downloads(scope=self.github.scope.path)
        offered = Release.offered(self.github.ask(request))
        current = known.current
        if offered and offered.is_newer_than(current):
            logger.info("newer runner release", version=offered.version, instead_of=current.version)
            current = offered
        dates = {
            version: self._date(version, known) for version in sorted({*versions, current.version})
        }
        return replace(known, current=current, dates=dates)

    def _date(self, version: str, known: Releases) -> str | None:
        answer = self.github.ask(
            runners.get_runner_deprecation(scope=self.github.scope.path, version=version)
        )
        # a version that GitHub no longer knows does not come to life again
        return answer.runtime_deprecates_at if answer else known.dates.get(version)

    def _keep(self, told: Releases) -> None:
        values = told.to_values() | {"checked_at": int(self.clock())}
        self.ledger.write(
            ENTRY,
            "SET " + ", ".join(f"{name} = :{name}" for name in values),
            values={f":{name}": value for name, value in values.items()},
        )

    def _report(self, versions: Mapping[str, bool], known: Releases) -> dict[str, Any]:
        now = self.clock()
        in_use = [version for version, is_used in versions.items() if is_used]
        days_left = known.days_left(in_use, now=now)
        if days_left is not None:
            gauge("RunnerVersionDaysLeft", days_left)
        retired = known.dead(sorted(versions), now=now)
        for version, since in retired.items():
            logger.error("runner version retired", version=version, since=since)
            self.retirement.tell(version, deprecated_at=since)
        return {
            "release": known.current.version,
            "days_left": days_left,
            "retired": sorted(retired),
        }


@cache
def _watch() -> Watch:
    settings = environment.read(Settings)
    return Watch(
        images=ImageRecords(dynamodb=client("dynamodb"), table=settings.image_table),
        pin=settings.runner_release,
        ledger=Ledger(dynamodb=client("dynamodb"), table=settings.ledger_table),
        github=GitHub.of(settings.connection),
        retirement=Retirement(events=client("events"), bus=settings.event_bus_name),
    )


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, Any] | None:  # noqa: ARG001
    """Lambda's entry point for the schedule, deployments, ``runner_version_retired`` and people.

    Args:
        event: Anything.
        context: Lambda's context.

    Returns:
        What was found, see ``Watch.run``; nothing for ``runner_version_retired``, nor in an hour
        in which no look is due.

    Raises:
        GitHubUnavailable: GitHub does not answer now; Lambda tries again.
    """
    kind = event.get("detail-type")
    if kind == "Scheduled Event" and not _watch().is_due():
        return None
    if kind != DETAIL_TYPE:
        return _watch().run()
    if event["detail"]["deprecated_at"] is None:
        # one with a date is from here
        _watch().follow(event["detail"]["runner_version"])
    return None
