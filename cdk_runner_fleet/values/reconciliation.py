"""How GitHub's queued jobs are compared with the runners, regularly."""

from __future__ import annotations

from dataclasses import dataclass, field

from aws_cdk import Duration

from cdk_runner_fleet.values.timeouts import check_unit
from cdk_runner_fleet.values.types import check_types

_DAY_SECONDS = 86_400
"""A job that waits for a runner of one's own for longer is cancelled (GitHub docs, "Actions
limits")."""
_LONGEST_GRACE_SECONDS = _DAY_SECONDS // 60


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """When the fleet looks at GitHub itself for what events have missed, and what it does then.

    Args:
        every: How often GitHub's queued jobs are compared with the runners, in whole minutes.
            Default: every 2 minutes.
        grace: Jobs and runners younger than this are left alone then; pauses between one job's
            runners are 10 and 60 times as long. Default: 60 seconds.
        rerun_lost_jobs: Whether a job whose runner is gone before it reported an end is run again,
            once, from its beginning. Default: GitHub cancels or fails it.

    Raises:
        TypeError: if a value is of another kind.
        ValueError: if EventBridge has no such schedule, there is no grace, or a token is of another
            unit than seconds, which nobody can convert yet.
    """

    every: Duration = field(default_factory=lambda: Duration.minutes(2))
    grace: Duration = field(default_factory=lambda: Duration.seconds(60))
    rerun_lost_jobs: bool = False

    def __post_init__(self) -> None:
        """Check both times."""
        check_types(Reconciliation, vars(self))
        if not self.every.is_unresolved():
            seconds = self.every.to_milliseconds() / 1000
            if seconds < 60 or seconds % 60:
                raise ValueError(
                    f"every is {seconds:g} seconds, EventBridge's schedules have whole minutes, 1 "
                    "at the least"
                )
            if seconds > _DAY_SECONDS:
                raise ValueError(
                    f"every is {seconds:g} seconds, and GitHub ends a job that was queued for a "
                    "day: use at most a day"
                )
        check_unit("grace", self.grace)
        if not self.grace.is_unresolved():
            seconds = self.grace.to_milliseconds() / 1000
            if seconds < 1 or seconds % 1:
                raise ValueError(
                    f"grace is {seconds:g} seconds, use at least 1, and whole ones: what began "
                    "just now has to be left alone"
                )
            if seconds > _LONGEST_GRACE_SECONDS:
                raise ValueError(
                    f"grace is {seconds:g} seconds, and GitHub ends a job that was queued for a "
                    f"day, of which the longest pause is 60 times that: use at most "
                    f"{_LONGEST_GRACE_SECONDS}"
                )
