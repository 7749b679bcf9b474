"""How long each waiting state of a runner's life may last."""

from __future__ import annotations

from dataclasses import dataclass, field

from aws_cdk import Duration, Tokenization

from cdk_runner_fleet.values.types import check_types

LONGEST_SECONDS = {"boot": 3600, "idle": 86400, "image_build": 28800, "job": 432000}
"""The most that each may be. Five days is the longest that GitHub lets a job run on a self-hosted
runner (GitHub docs, "Actions limits"), eight hours the longest that CodeBuild runs a build."""


@dataclass(frozen=True, kw_only=True)
class LifecycleTimeouts:
    """How long each waiting state of a runner's life may last.

    Args:
        boot: From the task's launch to its claim. Fargate takes 30 to 60 seconds, more for large
            images. Default: 5 minutes.
        idle: From registration at GitHub to a job. Default: 10 minutes.
        image_build: For CodeBuild to build a runner image. Default: 30 minutes.
        job: The longest a job may run. Default: 6 hours, GitHub's own default ``timeout-minutes``
            (GitHub docs, "Workflow syntax", ``jobs.<job_id>.timeout-minutes``): a fleet that is
            stricter than the workflow's author expects kills jobs that GitHub would let finish.

    Raises:
        TypeError: if one is no ``Duration``.
        ValueError: if one is not at least a second, or longer than Step Functions can wait with it,
            or a token of another unit than seconds, which nobody can convert yet.
    """

    boot: Duration = field(default_factory=lambda: Duration.minutes(5))
    idle: Duration = field(default_factory=lambda: Duration.minutes(10))
    image_build: Duration = field(default_factory=lambda: Duration.minutes(30))
    job: Duration = field(default_factory=lambda: Duration.hours(6))

    def __post_init__(self) -> None:
        """Check each against its bounds."""
        check_types(LifecycleTimeouts, vars(self))
        for name in LONGEST_SECONDS:
            check_timeout(name, getattr(self, name))


def seconds_of(duration: Duration) -> str:
    """The seconds of a duration as a setting has them. Those of a token are known at deployment."""
    return Tokenization.stringify_number(duration.to_seconds())


def check_timeout(name: str, duration: Duration, *, of: str = "") -> None:
    """Raise ``ValueError`` for a duration that the state called ``name`` cannot wait."""
    if duration.is_unresolved():
        check_unit(f"{name} timeout{of}", duration)
        return
    seconds, most = duration.to_milliseconds() / 1000, LONGEST_SECONDS[name]
    if not 1 <= seconds <= most or seconds % 1:
        raise ValueError(
            f"{name} timeout of {seconds:g} seconds{of} cannot be kept, use 1 to {most}, and whole "
            "ones"
        )


def check_unit(name: str, duration: Duration) -> None:
    """Raise ``ValueError`` if a duration is a token whose seconds cannot be told."""
    if duration.is_unresolved() and duration.unit_label() != "seconds":
        raise ValueError(
            f"{name} is a token in {duration.unit_label()}, which cannot be converted before "
            "deployment: give Duration.seconds(…) of it"
        )
