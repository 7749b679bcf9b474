"""A run as it goes on: a live table on a terminal, a line a change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cdk_runner_fleet.cli.output import print_table, status_text
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
            line = f"{change.at - self._began:7.2f}s  {change.job_name}  {change.runner_id}"
            self._console.print(line.rstrip(), status_text(change.what), sep="  ")

    def _table(self) -> Table:
        table = Table("JOB", "RUNNER", "CLASS", "IMAGE", "STATUS", "SO FAR", box=box.SIMPLE_HEAD)
        for job in list(self._watch.jobs.values()):
            row = job.row
            status = job.conclusion or str(row.get("status", job.status))
            table.add_row(
                Text(job.name),
                Text(str(row.get("runner_id", ""))),
                Text(str(row.get("class_name", ""))),
                Text(str(row.get("image_tag", ""))),
                status_text(status),
                Text(_so_far(job.steps)),
            )
        return table


def _so_far(steps: Sequence[Step]) -> str:
    """The phases in the order they were gone through, with their seconds."""
    now, parts = time.time(), []
    for phase, group in groupby((step for step in steps if step.phase), lambda step: step.phase):
        seconds = sum((step.left_at or now) - step.entered_at for step in group)
        parts.append(f"{phase} {seconds:.1f}")
    return " → ".join(parts)


def print_report(console: Console, report: Mapping[str, Any], jobs: Collection[JobState]) -> None:
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
            console.print(Text(f"{job.name}: {job.error}", style="bold red"))
            lines = [line for line in job.log_tail if line != job.error]
            for line in lines[-_LOG_LINES:]:
                console.print(Text(f"  {line}", style="dim"))
    console.print(
        Text("phases in seconds, Fargate cost estimated; AWS is emulated here", style="dim")
    )
    console.print(
        Text.assemble(
            f"{report['workflow']}: ",
            status_text(report["conclusion"]),
            f" in {report['seconds']:.1f} s, about {report['cost_usd']:.6f} USD on Fargate",
        )
    )
