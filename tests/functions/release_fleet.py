"""watch_release with a GitHub twin: for all its tests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import watch_release
from cdk_runner_fleet.local.twin import GitHubTwin
from fleet_runtime.images.releases import ENTRY

from .aws_stand_in import ENVIRONMENT, Aws

DAY = 86400
PIN = json.loads(ENVIRONMENT["RUNNER_RELEASE"])
NEWER = {"x64": "a" * 64, "arm64": "b" * 64}
DEPRECATIONS = "*/runners/deprecations/*"


def in_days(days: float) -> str:
    """A date as GitHub writes it; a minute is added, so that the whole days are still left."""
    at = datetime.fromtimestamp(time.time() + days * DAY + 60, tz=UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def archives(version: str, sums: dict[str, str]) -> dict[str, str]:
    return {f"actions-runner-linux-{arch}-{version}.tar.gz": sum_ for arch, sum_ in sums.items()}


def is_used(
    aws: Aws, version: str | None, *, days_ago: float = 1, status: str | None = "READY"
) -> None:
    """Put an image with a runner of this version."""
    given = {"status": status, "runner_version": version}
    aws.put_image(
        image_tag=f"image-{version}-{status}-{days_ago}",
        used_at=int(time.time() - days_ago * DAY),
        **{name: value for name, value in given.items() if value is not None},
    )


def entry(aws: Aws) -> dict[str, Any]:
    found = aws._item("ledger", {"entry": {"S": ENTRY}}) or {}
    return {
        name: json.loads(value) if name in ("sha256", "versions") else value
        for name, value in found.items()
    }


def told(aws: Aws) -> list[dict[str, Any]]:
    return [
        json.loads(one["Detail"])
        for call in aws.events.named("PutEvents")
        for one in call["Entries"]
    ]


def days_left(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, float]]:
    """The metric, with whose it is."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]
    name = "RunnerVersionDaysLeft"
    return [(line["fleet"], line[name]) for line in lines if name in line]


def logged(caplog: pytest.LogCaptureFixture) -> str:
    return "".join(str(vars(record)) for record in caplog.records)


@pytest.fixture
def twin() -> Iterator[GitHubTwin]:
    with GitHubTwin(
        repository="octo-org/example",
        token="ghp_the-personal-access-token",
        webhook_secret="s",
        enterprise="acme",
    ) as twin:
        yield twin


@pytest.fixture
def fleet(aws: Aws, twin: GitHubTwin, environment: pytest.MonkeyPatch) -> Aws:
    environment.setenv("GITHUB_API_URL", twin.url)
    return aws


@pytest.fixture
def watch(fleet: Aws, context: Any) -> Any:
    return lambda: watch_release.handler({}, context)


def has(aws: Aws, version: str, *, status: str = "READY") -> None:
    """Put the image of ``found`` with a runner of this version."""
    aws.put_image(
        image_tag="default-1", status=status, used_at=int(time.time()), runner_version=version
    )


def found(version: str) -> dict[str, Any]:
    """The event of a runner that has found its version retired."""
    return {
        "detail-type": "retired_runner_found",
        "detail": {"runner_version": version, "image_tag": "default-1"},
    }
