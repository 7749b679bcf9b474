"""Demand and supply: GitHub's queued jobs against the fleet's runners. Pure.

Runners are counted by label set, never paired with jobs: GitHub gives a job to any runner that has
its labels, and is registered for its repository or for what that is in. Whose runner it was only
decides which job gets the next one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fleet_runtime.explanation.causes import is_permanent
from fleet_runtime.job import labels
from fleet_runtime.job.job import Job
from fleet_runtime.job.labels import Refusal
from fleet_runtime.job.runner_name import first_runner_id, next_runner_id, own_runner_id
from fleet_runtime.job.runner_scope import RunnerScopes
from fleet_runtime.reconciliation.rounds import in_rounds
from fleet_runtime.runner.rows import TURN, Runner

GRACE_SECONDS = 60
"""The grace that the pauses below are meant for; they scale with another one."""

_PAUSES_SECONDS = (0, 600, 3600)
"""After the first, second and every further runner that ended without a job: what is broken for an
hour will not be mended by more runners a minute. After an error that another runner would meet
again, one pause further on: somebody has to mend it first."""

_HELD_BACK_SECONDS = 3600
"""After a runner that got no job while others of its run had theirs, for the first of those that
wait; twice as long for the second, and so on. What has them started is the end of one that runs:
this is for a limit that was lifted meanwhile. One of them looks sooner, see ``next_try``."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What demand and supply differ by.

    Attributes:
        missing: Queued jobs to start a runner for, in rounds of the repositories, oldest first.
        fresh: The same, but so young that their own event may still be on its way: it would start
            no second runner, as long as nothing but a job's first runner is started for them.
        surplus: Runners that no queued job needs: idle ones, and those that nothing runs of yet.
    """

    missing: tuple[Job, ...]
    fresh: tuple[Job, ...]
    surplus: tuple[Runner, ...]


@dataclass(kw_only=True)
class Legs:
    """The jobs of a run that have the same labels, as the legs of a matrix do.

    GitHub holds some of them back although they are queued, for ``max-parallel`` or a limit of its
    own, and tells of it nowhere. It shows: a runner got none of them while others ran.

    Attributes:
        jobs: All of them, those too that are over.
        spare: How many runners of theirs have no job yet.
        run: All jobs of the run, whatever their labels. The legs of one matrix may differ in them
            (``runs-on: ${{ matrix.os }}``), and are held to one limit.
    """

    jobs: Sequence[Job] = ()
    spare: int = 0
    run: Legs | None = None

    @property
    def running(self) -> int:
        """How many run."""
        return sum(job.status == "in_progress" for job in self.jobs)

    def add_runner(self) -> None:
        """Count a runner more that has no job yet."""
        self.spare += 1
        if self.run:
            self.run.add_runner()

    def have_place(self, *, since: int) -> bool:
        """Whether another runner would get a job, as far as it shows; see ``places``."""
        has_run = self.run is not None and self.run.have_place(since=since)
        return has_run or self.places(since=since) > 0

    def ran(self, *, at: int) -> int:
        """How many ran at a time."""
        return sum(_ran(job, at=at) for job in self.jobs)

    def places(self, *, since: int) -> int:
        """How many runners more would get a job, after one of theirs got none until then.

        As many as ended since, if others ran then; as many as started, if none did: then it was
        GitHub that gave nobody a job, and each that it has given one since tells of one more. So
        does each that runs beside those that ran then: what held them back was no limit.
        """
        ran = self.ran(at=since)
        return (abs(ran - self.running) if ran else self.began(since=since)) - self.spare

    def began(self, *, since: int) -> int:
        """How many have begun since a time."""
        return sum(_has_begun(job) and _began_at(job) > since for job in self.jobs)

    def place(self, job: Job) -> int:
        """The place of a job among those that wait, from 1 on."""
        return 1 + sum(one.status == "queued" and one.job_id < job.job_id for one in self.jobs)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A runner is to be started under this name."""

    runner_id: str


@dataclass(frozen=True, kw_only=True)
class Wait:
    """No runner is to be started now, and why."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """No more runners for this job.

    Attributes:
        last: The last one that was tried.
    """

    last: Runner


def balance(
    queued: Sequence[Job],
    runners: Sequence[Runner],
    *,
    scopes: RunnerScopes,
    prefix: str,
    now: int,
    grace: int,
    unlisted: Collection[str] = (),
) -> Balance:
    """Compare GitHub's queued jobs with the runners that are starting or waiting.

    They are compared by label set, and where runners are registered for single repositories, by
    repository.

    Args:
        queued: Every queued job of the fleet, whatever its age.
        runners: Every live runner, in line or started.
        scopes: Where runners are registered.
        prefix: What the runners' names begin with.
        now: Epoch seconds.
        grace: Seconds; younger jobs are fresh, younger runners are never surplus.
        unlisted: Repositories some of whose jobs may not be among those queued. Their runners are
            no supply unless their own job is: jobs that nobody has listed wait for the others.
            Default: all were listed.
    """

    def is_young(job: Job) -> bool:
        return queued_at(job) > now - grace

    known = {own_runner_id(job, prefix=prefix) for job in queued}
    wanted: dict[str, list[Job]] = defaultdict(list)
    supply: dict[str, list[Runner]] = defaultdict(list)
    for job in queued:
        wanted[scopes.waiting_key(_key(job.labels), scope=scopes.of(job.repository))].append(job)
    for runner in runners:
        is_known = runner.repository not in unlisted or first_runner_id(runner.runner_id) in known
        if runner.started_at is None and not runner.is_over and is_known:
            scope = scopes.github_scope.registered(runner.registered_for)
            supply[scopes.waiting_key(_key(runner.runner_labels), scope=scope)].append(runner)
    missing: list[Job] = []
    fresh: list[Job] = []
    surplus: list[Runner] = []
    for key in {*wanted, *supply}:
        jobs, there = wanted[key], supply[key]
        ids = {own_runner_id(job, prefix=prefix) for job in jobs}
        served = {first_runner_id(runner.runner_id) for runner in there}
        young_ids = {own_runner_id(job, prefix=prefix) for job in jobs if is_young(job)}
        # what the young have is theirs: their events have come
        old = sum(not is_young(job) for job in jobs)
        count = old - (len(there) - len(young_ids & served))
        lacking = [job for job in jobs if own_runner_id(job, prefix=prefix) not in served]
        lacking = in_rounds(sorted(lacking, key=queued_at))
        short = [job for job in lacking if not is_young(job)][: max(0, count)]
        missing += short
        young = [job for job in lacking if is_young(job)]
        fresh += young[: max(0, len(jobs) - len(there) - len(short))]

        # those whose own job is gone before others, the oldest first
        there.sort(key=lambda one: (first_runner_id(one.runner_id) in ids, one.queued_at or 0))
        idle = [one for one in there if _is_idle(one, before=now - grace)]
        unneeded = idle[: max(0, len(idle) - len(jobs))]
        parked = [one for one in there if _is_parked(one, before=now - grace)]
        left = len(there) - len(unneeded) - len(jobs)
        surplus += unneeded + parked[: max(0, left)]
    return Balance(
        missing=tuple(in_rounds(sorted(missing, key=queued_at))),
        fresh=tuple(in_rounds(sorted(fresh, key=queued_at))),
        surplus=tuple(surplus),
    )


def queued_at(job: Job) -> int:
    """When the job began to wait, epoch seconds; a job behind an approval is older than that."""
    return max(job.created_at or 0, job.started_at or 0)


def legs_of_runs(jobs: Iterable[Job], runners: Iterable[Runner]) -> dict[object, Legs]:
    """Put the jobs of each run together that have the same labels, by ``leg_key``."""
    found: dict[object, Legs] = defaultdict(Legs)
    runs: dict[object, Legs] = defaultdict(Legs)
    for job in jobs:
        legs, run = found[leg_key(job)], runs[job.run_id, job.run_attempt]
        legs.run = run
        for each in (legs, run):
            each.jobs = (*each.jobs, job)
    for runner in runners:
        if runner.started_at is None and not runner.is_over:
            attempt = runner.run_id, runner.run_attempt
            legs = found[*attempt, _key(runner.runner_labels)]
            legs.run = runs[attempt]
            legs.add_runner()
    return found


def leg_key(job: Job) -> object:
    """Equal for two jobs exactly if they are legs of the same run."""
    return job.run_id, job.run_attempt, _key(job.labels)


def next_try(
    tried: Sequence[Runner], job: Job, *, legs: Legs, now: int, grace: int, ceiling: int
) -> Start | Wait | GiveUp:
    """Decide what follows the runners that a job, still queued, has had so far.

    A runner that had a job, which was another one's then, or was released has done nothing wrong.
    One that no job came to is followed by a pause: as long as GitHub assigns no jobs, an hour each.
    It ends as soon as GitHub has a place for it, see ``Legs``, and of a run's legs only one runner
    at a time is there to see. Only those that failed count against the ceiling, too.

    Args:
        tried: The rows of the job's own runner and of its replacements, in order; not empty.
        job: The job.
        legs: The jobs of its run that have its labels.
        now: Epoch seconds.
        grace: Seconds; the pauses scale with it.
        ceiling: How many runners may follow the first one that failed.
    """
    last = tried[-1]
    if not last.is_over and last.started_at is None:
        return Wait(reason="a runner for it is on its way")
    if any(one.job_id == job.job_id and _began(one, after=now - 5 * grace) for one in tried):
        return Wait(reason="it has begun: GitHub's list is behind")
    in_vain = [one for one in tried if one.started_at is None and _came_to_nothing(one)]
    if sum(one.status == "FAILED" for one in in_vain) > ceiling:
        return GiveUp(last=last)
    if in_vain and in_vain[-1] is last:
        since = last.ended_at or 0
        pause = _PAUSES_SECONDS[: len(in_vain) + is_permanent(last.error)][-1]
        if last.status != "FAILED":
            if legs.have_place(since=since):
                return Start(runner_id=next_runner_id(last.runner_id))
            if legs.spare:
                return Wait(reason="another runner of its run has no job yet")
            if legs.ran(at=since) and legs.running:
                place = legs.place(job)
                # a limit that lasts is not known by one runner: one of the run looks once more
                is_first = place == len(in_vain) == 1 and not legs.began(since=since)
                pause = _PAUSES_SECONDS[1] if is_first else _HELD_BACK_SECONDS * place
        until = since + pause * grace / GRACE_SECONDS
        if now < until:
            return Wait(reason=f"{len(in_vain)} came to nothing, the next one begins at {until:g}")
    return Start(runner_id=next_runner_id(last.runner_id))


def _key(texts: Sequence[object]) -> str:
    request = labels.read(texts)
    # what cannot be read is served by nobody: such jobs are missing until they are refused
    return "" if isinstance(request, Refusal) else request.waiting_labels


def _has_begun(job: Job) -> bool:
    # a job that waits has a time of its start too, and one that was cancelled before it
    return job.runner_name is not None and job.status in ("in_progress", "completed")


def _began_at(job: Job) -> int:
    return job.started_at or 0


def _ran(job: Job, *, at: int) -> bool:
    ended = job.completed_at if job.status == "completed" else None
    return _has_begun(job) and _began_at(job) <= at and (ended is None or ended >= at)


def _came_to_nothing(runner: Runner) -> bool:
    return runner.status == "FAILED" or runner.released_at is None


def _is_idle(runner: Runner, *, before: int) -> bool:
    return runner.waiting_for == "job" and (runner.claimed_at or 0) <= before


def _began(runner: Runner, *, after: int) -> bool:
    # what it has only said of itself keeps its own job waiting for the next one, and nothing else
    return max(runner.started_at or 0, runner.hook_started_at or 0) > after


def _is_parked(runner: Runner, *, before: int) -> bool:
    return runner.waiting_for in (TURN, "capacity") and (runner.recorded_at or 0) <= before
