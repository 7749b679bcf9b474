"""One run of reconciliation: what GitHub, the rows, Step Functions and ECS say, brought together.

First it only reads. Where nothing is to be done that is all, and nothing was written. What it does
then, it does under a lease, step by step: a step that fails stops none that does not need it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fleet_runtime import labels
from fleet_runtime.access import GitHubAccess
from fleet_runtime.catalog import CatalogError
from fleet_runtime.credentials import CredentialsError
from fleet_runtime.deliveries import Due, Redelivery
from fleet_runtime.demand import GiveUp, Start, balance
from fleet_runtime.github import GitHubError
from fleet_runtime.items import texts
from fleet_runtime.jobs import Job
from fleet_runtime.ledger import Ledger
from fleet_runtime.listing import JobLister, Listing
from fleet_runtime.observability import count, logger
from fleet_runtime.pages import Pages
from fleet_runtime.records import IN_LINE, STARTED, Runner, RunnerRecords
from fleet_runtime.repairs import Repairs
from fleet_runtime.supply import Supply
from fleet_runtime.sweeps import Sweeps
from fleet_runtime.unserved import EventNotTakenError

FULL_SECONDS = 900
"""Everything is looked at at least this often, whatever seems to be idle."""
LEASE = "reconcile"

_MOST_ROWS = 5000
_MOST_STARTS = 100
_RECENT_REPOSITORIES = 30
_SETTLING_GRACES = 6
"""Graces after the last work: one more than what is left over has to be old, see ``sweeps``."""
_ASKING_SECONDS = 50
"""For listing jobs at GitHub: less than half of the function's time, the rest is for acting."""
_REPOSITORIES = "repositories"

_PASSING = (
    GitHubError,
    CredentialsError,
    CatalogError,
    EventNotTakenError,
    BotoCoreError,
    ClientError,
)
"""What may go wrong in a step without being a fault of this program."""


@dataclass(kw_only=True)
class Report:
    """What a run has done.

    Attributes:
        started: Runners that were missing.
        released: Runners that no job needed.
        redelivered: GUIDs of deliveries that were asked for again.
        repaired: Runners whose events were lost, and those whose job is lost.
        swept: What was left over: runners, tasks, registrations, turns.
        explained: Runners whose jobs will have no further one, which their authors are told.
        failed: What went wrong, by step.
        skipped: Why nothing was done; empty if something was.
    """

    started: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    redelivered: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: str = ""


@dataclass(frozen=True, kw_only=True)
class _View:
    """What was seen before anything is done."""

    live: dict[str, Runner]
    jobs: tuple[Job, ...]
    is_complete: bool
    due: Sequence[Due]

    @property
    def fleets_jobs(self) -> list[Job]:
        """Jobs for the fleet; those of GitHub's own runners are not."""
        return [job for job in self.jobs if labels.ignored(job.labels) is None]


class Reconciliation:
    """Reconciles. Kept between runs, for what it remembers of GitHub's lists.

    Args:
        records: The runners.
        ledger: The fleet's ledger.
        access: GitHub.
        lister: Lists GitHub's jobs.
        pages: What its lists said last.
        redelivery: Has failed deliveries repeated.
        repairs: Repairs what lost events left.
        supply: Starts and releases runners.
        sweeps: Makes what ends leftovers, for one run.
        prefix: What the runners' names begin with.
        grace: Seconds; what is younger is left alone.
        lease_seconds: How long a run may last.
        clock: Seconds that only go up. Default: the system's.
    """

    def __init__(
        self,
        *,
        records: RunnerRecords,
        ledger: Ledger,
        access: GitHubAccess,
        lister: JobLister,
        pages: Pages,
        redelivery: Redelivery,
        repairs: Repairs,
        supply: Supply,
        sweeps: Callable[[], Sweeps],
        prefix: str,
        grace: int,
        lease_seconds: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._access = access
        self._lister = lister
        self._pages = pages
        self._redelivery = redelivery
        self._repairs = repairs
        self._supply = supply
        self._sweeps = sweeps
        self._prefix = prefix
        self._grace = grace
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._full_at = float("-inf")
        self._busy_until = float("-inf")

    def run(self, *, owner: str) -> Report:
        """Reconcile once, unless another run is at it.

        Args:
            owner: Whose lease it is, different for each run.
        """
        report = Report()
        is_full = self._clock() - self._full_at >= FULL_SECONDS
        if is_full:
            self._pages.forget()
            self._redelivery.forget()
        view = self._look(report)
        if self._has_work(view):
            # on until what the last work left behind has come of age
            self._busy_until = self._clock() + _SETTLING_GRACES * self._grace
        elif not is_full and self._clock() >= self._busy_until:
            report.skipped = "nothing to do"
        if not report.skipped:
            self._act_alone(view, report, owner=owner)
            if is_full and not report.failed and not report.skipped:
                self._full_at = self._clock()
        self._pages.next_run()
        logger.info("reconciled", report=vars(report))
        return report

    def ended(self, runner_id: str) -> Report:
        """Clean up after an execution that was aborted or timed out."""
        report = Report()
        with _step("execution", report):
            report.swept += self._sweeps().execution(runner_id)
        logger.info("cleaned up", runner_id=runner_id, report=vars(report))
        return report

    def _look(self, report: Report) -> _View:
        live = self._live()
        due: Sequence[Due] = ()
        listing = Listing(jobs=(), is_complete=False, gone=frozenset())
        with _step("deliveries", report):
            due = self._redelivery.due()
        with _step("jobs", report), self._access.within(_ASKING_SECONDS):
            listing = self._list(live)
        if not listing.is_complete:
            report.failed.setdefault("jobs", "GitHub did not list all jobs: nothing is released")
        return _View(live=live, jobs=listing.jobs, is_complete=listing.is_complete, due=due)

    def _live(self) -> dict[str, Runner]:
        rows = [
            row
            for state in (STARTED, IN_LINE)
            for row in self._records.live(state, most=_MOST_ROWS)
        ]
        return {row.runner_id: row for row in rows}

    def _list(self, live: Mapping[str, Runner]) -> Listing:
        path = self._access.runners_path
        if path.startswith("/repos/"):
            return self._lister.jobs([path.removeprefix("/repos/")])
        known = texts(self._ledger.get(_REPOSITORIES), "names")
        recent = self._lister.active_repositories(count=_RECENT_REPOSITORIES)
        busy = {row.repository for row in live.values() if row.repository}
        listing = self._lister.jobs(sorted({*known, *recent, *busy}))
        self._remember(listing, known=known, busy=busy)
        return listing

    def _remember(self, listing: Listing, *, known: frozenset[str], busy: Iterable[str]) -> None:
        """Keep the repositories that have jobs for the fleet: only changes are written."""
        served = {job.repository for job in listing.jobs if labels.ignored(job.labels) is None}
        new, gone = {*served, *busy} - known - listing.gone, known & listing.gone
        if new:
            self._ledger.write(_REPOSITORIES, "ADD #names :new", **_names(":new", frozenset(new)))
        if gone:
            self._ledger.write(_REPOSITORIES, "DELETE #names :gone", **_names(":gone", gone))

    def _has_work(self, view: _View) -> bool:
        queued = any(job.action != "completed" for job in view.fleets_jobs)
        return bool(
            view.live or queued or any(due.failed for due in view.due) or self._repairs.has_lost()
        )

    def _act_alone(self, view: _View, report: Report, *, owner: str) -> None:
        if not self._ledger.take_lease(LEASE, owner=owner, seconds=self._lease_seconds):
            report.skipped = "another run is at it"
            return
        try:
            self._act(view, report)
        finally:
            self._ledger.drop_lease(LEASE, owner=owner)

    def _act(self, view: _View, report: Report) -> None:
        for due in view.due:
            with _step("deliveries", report):
                report.redelivered += self._redelivery.redeliver(due)
        self._repair(view, report)
        self._balance(view, report)
        self._sweep(view, report)
        for runner in view.live.values():
            with _step("waits", report):
                if self._supply.explain_wait(runner):
                    report.explained.append(runner.runner_id)
        with _step("line", report):
            report.started += self._supply.dispatcher.starts.next_in_line()

    def _repair(self, view: _View, report: Report) -> None:
        with _step("started", report):
            report.repaired += self._repairs.started(view.fleets_jobs, view.live)
        with _step("completed", report):
            report.repaired += self._repairs.completed(view.jobs, view.live)
        with _step("lost", report):
            report.repaired += self._repairs.lost(view.jobs, view.live)
        with _step("rerun", report):
            report.repaired += self._repairs.rerun()

    def _balance(self, view: _View, report: Report) -> None:
        queued = [job for job in view.fleets_jobs if job.action == "queued"]
        # repaired rows are no supply any more
        live = self._live() if report.repaired else view.live
        found = balance(
            queued,
            [*live.values()],
            prefix=self._prefix,
            now=self._records.now,
            grace=self._grace,
        )
        for job in (*found.missing, *found.fresh)[:_MOST_STARTS]:
            with _step("missing", report):
                outcome = self._supply.serve(job, is_fresh=job in found.fresh)
                if isinstance(outcome, Start):
                    report.started.append(outcome.runner_id)
                elif isinstance(outcome, GiveUp):
                    report.explained.append(outcome.last.runner_id)
        # half a list of jobs must never end a runner
        for runner in found.surplus if view.is_complete else ():
            with _step("surplus", report):
                if self._supply.release(runner):
                    report.released.append(runner.runner_id)

    def _sweep(self, view: _View, report: Report) -> None:
        sweeps = self._sweeps()
        steps: dict[str, Callable[[Mapping[str, Runner]], list[str]]] = {
            "executions": sweeps.executions,
            "tasks": sweeps.tasks,
            "registrations": sweeps.registrations,
            "turns": sweeps.turns,
        }
        for name, sweep in steps.items():
            with _step(name, report):
                report.swept += sweep(view.live)


@contextmanager
def _step(name: str, report: Report) -> Iterator[None]:
    """Note what goes wrong in a step, and go on."""
    try:
        yield
    except _PASSING as error:
        report.failed[name] = f"{type(error).__name__}: {error}"
        logger.warning("step failed", step=name, error=report.failed[name])
        count("ReconcileStepFailed")


def _names(name: str, values: frozenset[str]) -> dict[str, Any]:
    return {"names": {"#names": "names"}, "values": {name: values}}
