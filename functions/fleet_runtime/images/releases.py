"""Releases of GitHub's runner: which one images are built with, and how long each works.

GitHub gives no job to a runner whose version it has retired, so an image with one is dead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fleet_runtime.aws.items import Item, Value, number, text
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.github.runners import RunnerDownload

ENTRY = "runner-release"
"""The ledger's entry with what is known of releases."""
ARCHITECTURES = ("x64", "arm64")
"""As GitHub names them, of the releases that the fleet builds images with."""

_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILENAME = re.compile(r"actions-runner-linux-(?P<architecture>[a-z0-9]+)-(?P<version>.+)\.tar\.gz")
_DAY = 86400
_FOUND_SECONDS = _DAY
"""How long a runner's word counts for more than GitHub's list: that may lag, and a runner err."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release that images can be built with.

    Attributes:
        version: For example ``2.338.0``.
        sha256: Of its archive for Linux, by architecture.
    """

    version: str
    sha256: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Release:
        """Read the JSON of a release, see ``of``.

        Raises:
            ValueError: if it is none.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ValueError(f"it is no release of the runner: {error}") from error
        return cls.of(document)

    @classmethod
    def of(cls, document: Any) -> Release:
        """Read ``{"version": "2.338.0", "sha256": {"x64": …, "arm64": …}}``.

        Raises:
            ValueError: if it is not that, or one of its parts is missing or malformed.
        """
        found = document if isinstance(document, dict) else {}
        version, sha256 = found.get("version"), found.get("sha256")
        if not isinstance(version, str) or not is_version(version):
            raise ValueError(f"{version!r} is no version, write it as 2.338.0")
        sums = sha256 if isinstance(sha256, dict) else {}
        for architecture in ARCHITECTURES:
            if not _SHA256.fullmatch(str(sums.get(architecture))):
                raise ValueError(
                    f"the SHA-256 of {version} for {architecture} is {sums.get(architecture)!r}, "
                    "it must be 64 digits of 0-9 and a-f"
                )
        return cls(version=version, sha256={name: sums[name] for name in ARCHITECTURES})

    @classmethod
    def offered(cls, downloads: Iterable[RunnerDownload]) -> Release | None:
        """Read the release that GitHub has everyone install.

        Returns:
            None if it does not say which one that is, or not with the SHA-256 of every archive.
        """
        sums, versions = {}, set()
        for each in downloads:
            match = _FILENAME.fullmatch(each.filename)
            if match and match["architecture"] in ARCHITECTURES:
                sums[match["architecture"]] = each.sha256
                versions.add(match["version"])
        if len(versions) != 1:
            return None
        try:
            return cls.of({"version": versions.pop(), "sha256": sums})
        except ValueError:
            return None

    def is_newer_than(self, other: Release) -> bool:
        """Whether this is the later release of the two."""
        return _order(self.version) > _order(other.version)


@dataclass(frozen=True, kw_only=True)
class Releases:
    """What the fleet knows of releases: the ledger's entry and the library's own release.

    Attributes:
        current: What images are built with.
        dates: By version when GitHub retires it, ISO 8601; None while GitHub has set no date.
        found_dead: The version that runners of the default image have found retired last.
        found_dead_at: When, epoch seconds.
        checked_at: When GitHub was last asked, epoch seconds; 0 for never.
    """

    current: Release
    dates: Mapping[str, str | None]
    found_dead: str = ""
    found_dead_at: int = 0
    checked_at: int = 0

    @classmethod
    def from_item(cls, item: Item, *, pin: Release) -> Releases:
        """Read the entry, which may not be there yet.

        Args:
            item: The entry.
            pin: The library's own release; what images are built with if it is the newer one.
        """
        found = cls(
            current=pin,
            dates={},
            found_dead=text(item, "found_dead"),
            found_dead_at=number(item, "found_dead_at") or 0,
        )
        if "version" not in item:
            return found
        known = Release(version=text(item, "version"), sha256=json.loads(text(item, "sha256")))
        return replace(
            found,
            current=known if known.is_newer_than(pin) else pin,
            dates=json.loads(text(item, "versions")),
            checked_at=number(item, "checked_at") or 0,
        )

    def to_values(self) -> dict[str, str]:
        """Return the entry's attributes, without what runners have found."""
        return {
            "version": self.current.version,
            "sha256": json.dumps(dict(self.current.sha256)),
            "versions": json.dumps(dict(self.dates)),
        }

    def days_left(self, versions: Iterable[str], *, now: float) -> int | None:
        """Return the whole days until GitHub retires the first of these versions.

        Returns:
            A number below 0 if it has done so; None if it has set a date for none of them.
        """
        ends = [epoch(date) for version in versions if (date := self.dates.get(version))]
        return math.floor((min(ends) - now) / _DAY) if ends else None

    def retired(self, versions: Iterable[str], *, now: float) -> dict[str, str]:
        """Return those of these versions that GitHub has set a date for that is over, with it."""
        dates = {version: self.dates.get(version) for version in versions}
        return {version: date for version, date in dates.items() if date and epoch(date) <= now}

    def dead(self, versions: Iterable[str], *, now: float) -> dict[str, str]:
        """Return those of these versions that nothing is to be built with, and since when."""
        versions = list(versions)
        found = {}
        if self.found_dead in versions and self.found_dead_at > now - _FOUND_SECONDS:
            found[self.found_dead] = datetime.fromtimestamp(self.found_dead_at, UTC).isoformat()
        return found | self.retired(versions, now=now)


class ReleasesEntry:
    """The ledger's entry with what is known of releases.

    Args:
        ledger: The ledger.
        pin: The library's own release.
    """

    def __init__(self, *, ledger: Ledger, pin: Release) -> None:
        self._ledger = ledger
        self._pin = pin

    def read(self) -> Releases:
        """Read what is known, with every write before it."""
        return Releases.from_item(self._ledger.get(ENTRY), pin=self._pin)

    def keep(self, told: Releases) -> None:
        """Write what GitHub has said now."""
        values: dict[str, Value] = {**told.to_values(), "checked_at": self._ledger.now}
        self._ledger.update(ENTRY, values=values)

    def found_dead(self, version: str) -> None:
        """Write that a runner has found the version retired that images are built with.

        In place of what was found before: nothing is built with that any more.
        """
        values: dict[str, Value] = {"found_dead": version, "found_dead_at": self._ledger.now}
        self._ledger.update(ENTRY, values=values)


def is_version(version: str) -> bool:
    """Whether this is how a release's version is written."""
    return _VERSION.fullmatch(version) is not None


def epoch(date: str) -> float:
    """Read a date of GitHub's; raises ValueError."""
    found = datetime.fromisoformat(date)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
