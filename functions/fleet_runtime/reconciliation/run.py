"""One run of reconciliation: what GitHub, the rows, Step Functions and ECS say, brought together.

First it only reads. Where nothing is to be done that is all, and nothing was written. What it does
then, it does under a lease, step by step: a step that fails stops none that does not need it, and
what there is no time for comes next time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial

from botocore.exceptions import BotoCoreError, ClientError

from fleet_runtime.admission.catalog_reader import CatalogReader
from fleet_runtime.admission.starts import Starts, read_line
from fleet_runtime.aws.announcements import EventNotTakenError
from fleet_runtime.aws.items import texts
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.credentials import CredentialsError
from fleet_runtime.github.etags import Etags
from fleet_runtime.github.jobs import get_job
from fleet_runtime.github.message import GitHubError, GitHubRefused
from fleet_runtime.job.catalog import CatalogError
from fleet_runtime.job.job import Job
from fleet_runtime.job.label_rules import LabelRules
from fleet_runtime.job.runner_scope import RunnerScopes
from fleet_runtime.observability import count, logger, measure
from fleet_runtime.reconciliation.demand import GiveUp, Legs, Start, balance, leg_key, legs_of_runs
from fleet_runtime.reconciliation.listing import GONE, JobLister, Listing
from fleet_runtime.reconciliation.redelivery import Due, Redelivery
from fleet_runtime.reconciliation.repairs import Repairs
from fleet_runtime.reconciliation.rounds import in_rounds
from fleet_runtime.reconciliation.standing import Standing
from fleet_runtime.reconciliation.supply import Supply
from fleet_runtime.reconciliation.sweeps import Sweeps
from fleet_runtime.runner.rows import Runner, RunnerRecords

FULL_SECONDS = 900
"""Everything is looked at at least this often, whatever seems to be idle."""
LEASE = "reconcile"

_MOST_ROWS = 5000
_MOST_STARTS = 100
"""Runners that are started in a run. Jobs that have to wait do not count: of a matrix that GitHub
holds back there may be more of them, and they are the oldest."""
_RECENT_REPOSITORIES = 30
_SETTLING_GRACES = 6
"""Graces after the last work: one more than what is left over has to be old, see ``sweeps``."""
_ASKING_SECONDS = 50
"""For listing jobs at GitHub: less than half of the function's time, the rest is for acting."""
_HOOKS_SECONDS = 15
"""For listing deliveries, which is the lesser half of looking."""
_LAST_SECONDS = 10
"""No step begins in the function's last seconds: one request to GitHub may take 8."""
_MOST_WAITS = 20
"""Long waits that are explained in a run: nobody is in a hurry to read them."""
_NO_TIME = "no time left"
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
class Done:
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

    now: int
    live: dict[str, Runner]
    jobs: tuple[Job, ...]
    is_complete: bool
    listed: frozenset[str]
    due: Sequence[Due]
    label_rules: LabelRules

    @property
    def fleets_jobs(self) -> list[Job]:
        """Jobs for the fleet; those of GitHub's own runners and of others' are not."""
        return [job for job in self.jobs if self.label_rules.ignored(job.labels) is None]


class Reconciliation:
    """Reconciles. Kept between runs, for what it remembers of GitHub's lists.

    Args:
        records: The runners.
        ledger: The fleet's ledger.
        catalog: The classes.
        github: GitHub.
        github_hooks: The same with what the redelivery may do.
        etags: What either said last.
        lister: Lists GitHub's jobs.
        redelivery: Has failed deliveries repeated.
        repairs: Repairs what lost events left.
        supply: Starts and releases runners.
        starts: Begins the lives of those in line.
        sweeps: Ends leftovers.
        label_rules: Which jobs are the fleet's.
        scopes: Where runners are registered.
        prefix: What the runners' names begin with.
        grace: Seconds; what is younger is left alone.
        clock: Seconds that only go up. Default: the system's.
    """

    def __init__(
        self,
        *,
        records: RunnerRecords,
        ledger: Ledger,
        catalog: CatalogReader,
        github: GitHub,
        github_hooks: GitHub,
        etags: Etags,
        lister: JobLister,
        redelivery: Redelivery,
        repairs: Repairs,
        supply: Supply,
        starts: Starts,
        sweeps: Sweeps,
        label_rules: LabelRules,
        scopes: RunnerScopes,
        prefix: str,
        grace: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._catalog = catalog
        self._github = github
        self._github_hooks = github_hooks
        self._etags = etags
        self._lister = lister
        self._redelivery = redelivery
        self._repairs = repairs
        self._supply = supply
        self._starts = starts
        self._sweeps = sweeps
        self._label_rules = label_rules
        self._scopes = scopes
        self._prefix = prefix
        self._grace = grace
        self._clock = clock
        self._gone: frozenset[str] = frozenset()
        self._was_quiet = False
        self._full_at = float("-inf")
        self._busy_until = float("-inf")

    def run(self, *, owner: str, seconds: float) -> Done:
        """Reconcile once, unless another run is at it.

        Args:
            owner: Whose lease it is, different for each run.
            seconds: After which this process is stopped.

        Raises:
            ValueError, KeyError: if there was a row that could not be read; after all else was
                done.
        """
        done = Done()
        ends_at = self._clock() + seconds
        is_full = self._clock() - self._full_at >= FULL_SECONDS
        if is_full:
            self._etags.forget()
            self._redelivery.forget_hooks()
            self._gone = frozenset()
        left = seconds - _LAST_SECONDS
        with self._github.within(left), self._github_hooks.within(left):
            view = self._look(done)
            if self._has_work(view):
                # on until what the last work left behind has come of age
                self._busy_until = self._clock() + _SETTLING_GRACES * self._grace
            elif not is_full and self._clock() >= self._busy_until:
                done.skipped = "nothing to do"
            try:
                if not done.skipped:
                    self._act_alone(view, done, owner=owner, ends_at=ends_at, is_full=is_full)
            finally:
                self._measure(view)
                logger.info("reconciled", report=vars(done))
        return done

    def execution_ended(self, runner_id: str) -> Done:
        """Clean up after an execution that was aborted or timed out."""
        done = Done()
        with _step("execution", done):
            done.swept += self._sweeps.execution(runner_id)
        logger.info("cleaned up", runner_id=runner_id, report=vars(done))
        return done

    def _measure(self, view: _View) -> None:
        """Tell how the fleet stands; once while it is at rest: metrics are billed by the hour."""
        stands = Standing.of(view.live.values(), now=view.now)
        if stands.is_quiet and self._was_quiet:
            return
        self._was_quiet = stands.is_quiet
        queued = sum(job.status == "queued" for job in view.fleets_jobs)
        measure(
            {
                "JobsQueued": queued if view.is_complete else None,
                "LongestWaitSeconds": stands.longest_wait,
                "RunnersIdle": stands.idle,
                "RunnersRunning": stands.running,
                "RunnersStarting": stands.starting,
                "RunnersWaiting": stands.waiting,
            }
        )

    def _look(self, done: Done) -> _View:
        # what comes up while GitHub is asked is younger than the list
        now = self._records.now
        live = self._live()
        due: Sequence[Due] = ()
        listing = Listing(jobs=(), is_complete=False, listed=frozenset(), gone=frozenset())
        with _step("jobs", done), self._github.within(_ASKING_SECONDS):
            listing = self._list(live, done)
        if not listing.is_complete:
            done.failed.setdefault("jobs", "GitHub did not list all jobs: nothing is released")
            count("ListingIncomplete")
        with _step("classes", done):
            # whoever has edited them hears soon of what is wrong, whether a job asks or none
            self._catalog.catalog()
        with _step("deliveries", done), self._github_hooks.within(_HOOKS_SECONDS):
            due = self._redelivery.due()
        return _View(
            now=now,
            live=live,
            jobs=listing.jobs,
            is_complete=listing.is_complete,
            listed=listing.listed,
            due=due,
            label_rules=self._label_rules,
        )

    def _live(self) -> dict[str, Runner]:
        in_line = (waiting.runner_id for waiting in read_line(self._records))
        rows = self._records.live(most=_MOST_ROWS, in_line=in_line)
        return {row.runner_id: row for row in rows}

    def _list(self, live: Mapping[str, Runner], done: Done) -> Listing:
        scope = self._github.scope
        if scope.kind == "repos":
            return self._lister.jobs([scope.name])
        known = texts(self._ledger.get(_REPOSITORIES), "names")
        recent: list[str] | None = None
        with _step("repositories", done):
            recent = self._lister.active_repositories(most=_RECENT_REPOSITORIES)
        # what was gone is asked for again with everything else, not before
        busy = {row.repository for row in live.values() if row.repository} - self._gone
        listing = self._lister.jobs(sorted({*known, *(recent or ()), *busy} - self._gone))
        self._gone |= listing.gone
        self._remember(listing, known=known, busy=busy)
        return replace(listing, is_complete=listing.is_complete and recent is not None)

    def _remember(self, listing: Listing, *, known: frozenset[str], busy: Iterable[str]) -> None:
        """Keep the repositories that have jobs for the fleet: only changes are written."""
        ignored = self._label_rules.ignored
        served = {job.repository for job in listing.jobs if ignored(job.labels) is None}
        new, gone = {*served, *busy} - known - listing.gone, known & listing.gone
        if new:
            self._ledger.update(_REPOSITORIES, add={"names": frozenset(new)})
        if gone:
            self._ledger.update(_REPOSITORIES, discard={"names": gone})

    def _has_work(self, view: _View) -> bool:
        queued = any(job.status != "completed" for job in view.fleets_jobs)
        return bool(
            view.live or queued or any(due.failed for due in view.due) or self._repairs.has_lost()
        )

    def _act_alone(
        self, view: _View, done: Done, *, owner: str, ends_at: float, is_full: bool
    ) -> None:
        # a run that is cut cannot give its lease back: it ends with the process
        seconds = max(1, math.ceil(ends_at - self._clock()))
        if not self._ledger.take_lease(LEASE, owner=owner, seconds=seconds):
            done.skipped = "another run is at it"
            return
        if is_full:
            # whatever fails: a full run each time would use GitHub's quota up
            self._full_at = self._clock()
        try:
            self._act(view, done, until=ends_at - _LAST_SECONDS)
        finally:
            self._ledger.drop_lease(LEASE, owner=owner)

    def _act(self, view: _View, done: Done, *, until: float) -> None:
        faults: list[Exception] = []
        for name, step in self._steps(view, done, until=until):
            if self._clock() >= until:
                done.failed.setdefault(name, _NO_TIME)
                continue
            try:
                with _step(name, done):
                    step()
            except (ValueError, KeyError) as error:
                # a row that cannot be read must be seen to, and must not keep all others waiting
                done.failed[name] = f"{type(error).__name__}: {error}"
                faults.append(error)
        if faults:
            raise faults[0]

    def _steps(
        self, view: _View, done: Done, *, until: float
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield the steps, the most urgent first: jobs that wait, before what may take long.

        Of them there may be any number, as one that is refused stays queued for a day. They are in
        rounds of the repositories, so half of the time suffices for everybody's first.
        """
        yield "started", partial(self._hear_started, view, done)
        queued = [job for job in view.fleets_jobs if job.status == "queued"]
        # repaired rows are no supply any more
        supply = [row for row in view.live.values() if row.runner_id not in done.repaired]
        legs = legs_of_runs(view.fleets_jobs, supply)
        found = balance(
            queued,
            supply,
            scopes=self._scopes,
            prefix=self._prefix,
            now=view.now,
            grace=self._grace,
            unlisted=(() if view.is_complete else {row.repository for row in supply} - view.listed),
        )
        fresh = set(found.fresh)
        missing_until = (self._clock() + until) / 2
        for job in (*found.missing, *found.fresh):
            if len(done.started) >= _MOST_STARTS:
                break
            if self._clock() >= missing_until:
                done.failed.setdefault("missing", _NO_TIME)
                break
            is_fresh = job in fresh
            yield "missing", partial(self._serve, job, done, legs[leg_key(job)], is_fresh=is_fresh)
        # half a list of jobs must never end a runner
        for runner in found.surplus if view.is_complete else ():
            yield "surplus", partial(self._release, runner, done)
        yield "line", partial(self._serve_line, done)
        for due in view.due:
            yield "deliveries", partial(self._redeliver, due, done)
        yield from self._repairing(view, done)
        yield from self._sweeping(view, done)
        waiting = [row for row in view.live.values() if row.waits and row.wait_explained_at is None]
        waiting.sort(key=lambda row: row.recorded_at or 0)
        for runner in in_rounds(waiting)[:_MOST_WAITS]:
            yield "waits", partial(self._explain_wait, runner, done)

    def _hear_started(self, view: _View, done: Done) -> None:
        done.repaired += self._repairs.repair_starts(view.jobs, view.live)

    def _serve(self, job: Job, done: Done, legs: Legs, *, is_fresh: bool) -> None:
        outcome = self._supply.serve(job, legs=legs, is_fresh=is_fresh)
        if isinstance(outcome, Start):
            legs.add_runner()
            done.started.append(outcome.runner_id)
        elif isinstance(outcome, GiveUp):
            done.explained.append(outcome.last.runner_id)

    def _release(self, runner: Runner, done: Done) -> None:
        if not self._is_wanted(runner) and self._supply.release(runner):
            done.released.append(runner.runner_id)

    def _is_wanted(self, runner: Runner) -> bool:
        """Ask GitHub once more whether the runner's own job is queued: a list may be behind."""
        if runner.job_id is None or not runner.repository:
            return False
        request = get_job(repository=runner.repository, job_id=runner.job_id)
        try:
            return self._github.ask(request).status == "queued"
        except GitHubRefused as error:
            if error.status not in GONE:
                raise
            return False

    def _serve_line(self, done: Done) -> None:
        done.started += self._starts.next_in_line()

    def _redeliver(self, due: Due, done: Done) -> None:
        done.redelivered += self._redelivery.redeliver(due)

    def _repairing(self, view: _View, done: Done) -> Iterator[tuple[str, Callable[[], None]]]:
        repairs: dict[str, Callable[[], Iterable[str]]] = {
            "completed": partial(self._repairs.repair_ends, view.jobs, view.live),
            "jobless": partial(self._repairs.end_jobless, view.live),
            "lost": partial(self._repairs.find_lost, view.jobs, view.live),
            "rerun": self._repairs.rerun_lost,
        }
        for name, repair in repairs.items():
            yield name, partial(_extend, done.repaired, repair)

    def _sweeping(self, view: _View, done: Done) -> Iterator[tuple[str, Callable[[], None]]]:
        sweeps, live = self._sweeps, view.live
        # asked for once, by whichever needs it first
        registered = cache(sweeps.registered)
        steps: list[tuple[str, Callable[[], Iterable[str]]]] = [
            ("executions", partial(sweeps.executions, live)),
            ("tasks", partial(sweeps.tasks, live, registered=registered)),
            *(
                (
                    "registrations",
                    partial(sweeps.registrations, live, place=place, registered=registered),
                )
                for place in sweeps.places(live)
            ),
            ("turns", partial(sweeps.turns, live)),
        ]
        for name, sweep in steps:
            yield name, partial(_extend, done.swept, sweep)

    def _explain_wait(self, runner: Runner, done: Done) -> None:
        # its turn may have come since it was seen
        row = self._records.find(runner.runner_id)
        if row and self._supply.explain_wait(row):
            done.explained.append(row.runner_id)


def _extend(names: list[str], step: Callable[[], Iterable[str]]) -> None:
    # one by one: a step that fails at last has done what it did before
    for name in step():
        names.append(name)


@contextmanager
def _step(name: str, done: Done) -> Iterator[None]:
    """Note what goes wrong in a step, and go on."""
    try:
        yield
    except _PASSING as error:
        done.failed[name] = f"{type(error).__name__}: {error}"
        logger.warning("step failed", step=name, error=done.failed[name])
        count("ReconcileStepFailed")
