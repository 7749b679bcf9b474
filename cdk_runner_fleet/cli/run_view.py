"""A run as it goes on: a live table on a terminal, a line a change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cdk_runner_fleet.cli.output import line, log_line, print_table, say, status_text, table
from cdk_runner_fleet.history import PHASES, Step
from cdk_runner_fleet.local.watch import Change, JobState, RunWatch

__all__ = ["RunView", "print_report"]

_REFRESHES_A_SECOND = 8
_LOG_LINES = 20


class RunView:
    """Shows a watched run while it is open.

    Args:
        console: Where to; whether it is a terminal decides how.
        watch: The run.
    """

    def __init__(self, console: Console, watch: RunWatch) -> None:
        self._console = console
        self._watch = watch
        self._began = time.time()
        self._live = (
            Live(
                console=console,
                get_renderable=self._table,
                refresh_per_second=_REFRESHES_A_SECOND,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> RunView:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, changes: Iterable[Change]) -> None:
        """Show what is new; a live table shows it by itself."""
        if self._live:
            return
        for change in changes:
            told = f"{change.at - self._began:7.2f}s  {change.job_name}  {change.runner_id}"
            self._console.print(line(told.rstrip(), "  ", status_text(change.what)))

    def _table(self) -> Table:
        return table(
            ("JOB", "RUNNER", "CLASS", "IMAGE", "STATUS", "SO FAR"),
            (
                (
                    job.name,
                    str(job.row.get("runner_id", "")),
                    str(job.row.get("class_name", "")),
                    str(job.row.get("image_tag", "")),
                    status_text(job.conclusion or str(job.row.get("status", job.status))),
                    _so_far(job.steps),
                )
                for job in list(self._watch.jobs.values())
            ),
        )


def _so_far(steps: Sequence[Step]) -> str:
    """The phases in the order they were gone through, with their seconds."""
    now, parts = time.time(), []
    for phase, group in groupby((step for step in steps if step.phase), lambda step: step.phase):
        seconds = sum((step.left_at or now) - step.entered_at for step in group)
        parts.append(f"{phase} {seconds:.1f}")
    return " → ".join(parts)


def print_report(report: Mapping[str, Any], jobs: Collection[JobState]) -> None:
    """Print the table of jobs, then the end of the log of each that failed."""
    print_table(
        ("JOB", "RUNNER", "CLASS", "IMAGE", "CONCLUSION", *map(str.upper, PHASES), "COST USD"),
        (
            (
                job["name"],
                job["runner_id"] or "",
                job["class_name"] or "",
                job["image_tag"] or "",
                status_text(job["conclusion"] or "unknown"),
                *(f"{seconds:.2f}" if seconds else "" for seconds in job["phases"].values()),
                "" if job["cost_usd"] is None else f"{job['cost_usd']:.6f}",
            )
            for job in report["jobs"]
        ),
    )
    for job in jobs:
        if job.error:
            say(f"{job.name}: {job.error}", style="bold red")
            lines = [each for each in job.log_tail if each != job.error]
            for each in lines[-_LOG_LINES:]:
                say("  ", log_line(each, style="dim"))
    say("phases in seconds, Fargate cost estimated; AWS is emulated here", style="dim")
    say(
        f"{report['workflow']}: ",
        status_text(report["conclusion"]),
        f" in {report['seconds']:.1f} s, about {report['cost_usd']:.6f} USD on Fargate",
    )
