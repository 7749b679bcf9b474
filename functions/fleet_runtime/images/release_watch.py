"""Looks which releases of its runner GitHub supports, before images with an old one stop to work.

GitHub serves a release for 30 days or more after the next one came out, and retires it at once if
it has to. The answers stand in the ledger, where builds look for their release.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fleet_runtime.aws.announcements import Bus
from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.github import runners
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable
from fleet_runtime.images.image import ImageRow
from fleet_runtime.images.release_news import ReleaseNews
from fleet_runtime.images.releases import Release, Releases, ReleasesEntry, is_version
from fleet_runtime.images.rows import IN_USE_SECONDS, ImageRecords
from fleet_runtime.observability import logger, measure

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
    bus: Bus
    runner_release: Release
    connection: Connection


@dataclass(frozen=True, kw_only=True)
class ReleaseWatch:
    """Compares the runners in the fleet's images with what GitHub supports.

    Attributes:
        images: The images' rows.
        releases: What is known of the runner's releases.
        github: GitHub.
        news: Says which versions are dead, and which one has followed.
        clock: Epoch seconds. Default: the system's.
    """

    images: ImageRecords
    releases: ReleasesEntry
    github: GitHub
    news: ReleaseNews
    clock: Callable[[], float] = time.time

    @classmethod
    def of(cls, settings: Settings) -> ReleaseWatch:
        """Make it from the function's settings."""
        dynamodb = client("dynamodb")
        ledger = Ledger(dynamodb=dynamodb, table=settings.ledger_table)
        return cls(
            images=ImageRecords(dynamodb=dynamodb, table=settings.image_table),
            releases=ReleasesEntry(ledger=ledger, pin=settings.runner_release),
            github=GitHub.of(settings.connection),
            news=ReleaseNews(events=client("events"), bus=settings.bus),
        )

    def is_due(self) -> bool:
        """Whether it is time for the day's look, or builds wait for a release to have."""
        known, now = self.releases.read(), self.clock()
        is_old = known.checked_at <= now - _LOOK_SECONDS
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
        versions = self._versions(self.images.all())
        known = self.releases.read()
        try:
            told = self._learn(sorted(versions), known)
        except GitHubUnavailable:
            self._report(versions, known)
            raise
        return self._report(versions, told)

    def follow(self, version: str, *, found_in: str) -> None:
        """Look for a release to have images follow with, as a runner has found theirs retired.

        Images of that version may have been told off already, when none to follow with was known.
        So they are told again; while GitHub sets no date itself, it stays that runner's word about
        its own image. Of a version that this does not have there is nothing to look for.

        Args:
            version: The runner's version.
            found_in: The runner's image.

        Raises:
            GitHubUnavailable: GitHub does not answer now.
            EventNotTakenError: The bus did not take it.
        """
        rows = list(self.images.all())
        if not any(row.tag == found_in and row.runner_version == version for row in rows):
            logger.warning("not its image's version", runner_version=version, found_in=found_in)
            return
        asked = filter(is_version, {*self._versions(rows), version})
        told, now = self._learn(sorted(asked), self.releases.read()), self.clock()
        since = told.retired([version], now=now).get(version)
        if since:
            self.news.retired(version, deprecated_at=since)
        elif told.current.version != version:
            found_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
            self.news.retired(version, deprecated_at=found_at, image_tag=found_in)

    def _learn(self, versions: Sequence[str], known: Releases) -> Releases:
        """Ask GitHub, and keep what it says; what is known already if it refuses to say."""
        try:
            told = self._ask(versions, known)
        except GitHubRefused as error:
            logger.error("not told of runner releases", error=str(error), remedy=_REMEDY)
            return known
        self.releases.keep(told)
        if told.current.is_newer_than(known.current):
            # lost if the bus does not take it; images in use follow within a day all the same
            self.news.taken_over(told.current.version)
        return told

    def _versions(self, rows: Iterable[ImageRow]) -> dict[str, bool]:
        """The versions in the images that a job may start with, and whether one has of late."""
        since = int(self.clock()) - IN_USE_SECONDS
        versions: dict[str, bool] = {}
        for row in rows:
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

    def _report(self, versions: Mapping[str, bool], known: Releases) -> dict[str, Any]:
        now = self.clock()
        in_use = [version for version, is_used in versions.items() if is_used]
        days_left = known.days_left(in_use, now=now)
        if days_left is not None:
            measure({"RunnerVersionDaysLeft": days_left})
        retired = known.retired(versions, now=now)
        for version, since in sorted(retired.items()):
            logger.error("runner version retired", version=version, since=since)
            self.news.retired(version, deprecated_at=since)
        return {
            "release": known.current.version,
            "days_left": days_left,
            "retired": sorted(retired),
        }
