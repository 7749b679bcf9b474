"""GitHub's own runner: the release that everyone is to install, and when versions are retired."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Archive", "Deprecation", "Releases"]

# what actions/runner has archives for
_PLATFORMS = (
    ("osx", "x64", "tar.gz"),
    ("osx", "arm64", "tar.gz"),
    ("linux", "x64", "tar.gz"),
    ("linux", "arm", "tar.gz"),
    ("linux", "arm64", "tar.gz"),
    ("win", "x64", "zip"),
    ("win", "arm64", "zip"),
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The runner for one platform. `sha256` is empty if GitHub does not say."""

    os: str
    architecture: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Deprecation:
    """When GitHub retires a version: ISO 8601, None while it has set no date.

    Args:
        registration: from when on it cannot be registered.
        runtime: from when on it gets no jobs.
    """

    registration: str | None = None
    runtime: str | None = None


class Releases:
    """What GitHub says of its runner.

    Attributes:
        current: the version that everyone is to install.
        sha256: of archives, by file name; of all others they are made up.
        deprecations: of the versions that GitHub knows.
    """

    def __init__(self) -> None:
        self.current = "2.338.0"
        self.sha256: Mapping[str, str] = {}
        self.deprecations = {self.current: Deprecation()}

    def publish(self, version: str, *, sha256: Mapping[str, str] | None = None) -> None:
        """Everyone is to install this version from now on."""
        self.current, self.sha256 = version, sha256 or {}
        self.deprecations.setdefault(version, Deprecation())

    def deprecate(
        self, version: str, *, runtime: str | None, registration: str | None = None
    ) -> None:
        """A version is retired then."""
        self.deprecations[version] = Deprecation(registration=registration, runtime=runtime)

    def archives(self) -> list[Archive]:
        """The archives of the current release."""
        return [self._archive(*platform) for platform in _PLATFORMS]

    def _archive(self, os: str, architecture: str, suffix: str) -> Archive:
        filename = f"actions-runner-{os}-{architecture}-{self.current}.{suffix}"
        made_up = hashlib.sha256(filename.encode()).hexdigest()
        return Archive(
            os=os,
            architecture=architecture,
            version=self.current,
            filename=filename,
            sha256=self.sha256.get(filename, made_up),
        )
