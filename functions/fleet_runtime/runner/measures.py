"""What a runner's row says of how long its start took, and of what was paid for nothing. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.runner.rows import Runner

_SHORTEST_BILLED_SECONDS = 60
"""Fargate bills a minute at least ("AWS Fargate pricing")."""
_OWN = frozenset({"Image", "Job", "Runner"})
_SERVICES = frozenset({"DynamoDB", "DynamoDb", "Ecs", "Lambda"})


@dataclass(frozen=True, kw_only=True)
class Start:
    """Seconds of a runner's start, by phase; None for what the row does not know.

    Attributes:
        admission: From the job's queueing until its execution began: deliveries and turns.
        launch: From then until ECS took the task: capacity, and the image's build.
        boot: From then until the task claimed its registration.
        assignment: From then until GitHub had a job start on it.
    """

    admission: int | None
    launch: int | None
    boot: int | None
    assignment: int | None

    @classmethod
    def of(cls, runner: Runner) -> Start:
        """Read it from a row."""
        return cls(
            admission=between(runner.queued_at, runner.recorded_at),
            launch=between(runner.recorded_at, runner.launched_at),
            boot=between(runner.launched_at, runner.claimed_at),
            assignment=between(runner.claimed_at, runner.started_at),
        )


@dataclass(frozen=True, kw_only=True)
class Waste:
    """What was paid of a runner's task while no job ran on it."""

    seconds: int
    usd: float

    @classmethod
    def of(cls, runner: Runner) -> Waste | None:
        """Read it from the row of a runner that has ended; None if none of its tasks ran."""
        lasted = between(runner.launched_at, runner.ended_at)
        if lasted is None:
            return None
        paid = max(_SHORTEST_BILLED_SECONDS, lasted)
        began = runner.started_at or runner.hook_started_at
        at_work = between(began, runner.completed_at or runner.ended_at) or 0
        idle = max(0, paid - at_work)
        return cls(seconds=idle, usd=round(runner.cost_usd * idle / paid, 6))


def between(since: int | None, until: int | None) -> int | None:
    """Seconds from one time to another; None if one of them is not known.

    Not below 0: clocks differ by a second, and CloudWatch has no percentiles of what has a value
    below 0.
    """
    return None if since is None or until is None else max(0, until - since)


def label(error: str) -> str:
    """Name an error so that there is a known number of names: a service's own are one."""
    origin = error.partition(".")[0]
    if origin in _OWN:
        return error
    return origin if origin in _SERVICES else "Other"
