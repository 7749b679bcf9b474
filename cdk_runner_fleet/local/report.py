"""What became of a run, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cdk_runner_fleet.history import phase_seconds
from cdk_runner_fleet.local.watch import JobState

__all__ = ["job_report", "run_report"]


def run_report(
    *, workflow: str, seconds: float, jobs: Iterable[JobState], runners: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """The report of a run: `workflow`, `conclusion`, `seconds`, `cost_usd` and its `jobs`.

    Its cost is that of all runners that were started for it, those that ran no job included.
    """
    reports = [job_report(job) for job in jobs]
    # GitHub docs, "Using conditions to control job execution": a skipped job counts as success
    succeeded = bool(reports) and all(
        each["conclusion"] in ("success", "skipped") for each in reports
    )
    return {
        "workflow": workflow,
        "conclusion": "success" if succeeded else "failure",
        "seconds": round(seconds, 3),
        "cost_usd": round(sum(float(row.get("cost_usd", 0)) for row in runners), 6),
        "jobs": reports,
    }


def job_report(job: JobState) -> dict[str, Any]:
    """The report of one job; `phases` are seconds, `cost_usd` is None if nothing was launched."""
    row = job.row
    return {
        "name": job.name,
        "labels": list(job.labels),
        "runner_id": row.get("runner_id"),
        "class_name": row.get("class_name"),
        "image_tag": row.get("image_tag"),
        "conclusion": job.conclusion,
        "phases": phase_seconds(job.steps),
        "cost_usd": float(row["cost_usd"]) if "cost_usd" in row else None,
        "error": job.error,
    }
