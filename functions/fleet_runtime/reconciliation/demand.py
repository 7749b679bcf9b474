"""Demand and supply: GitHub's queued jobs against the fleet's runners. Pure.

Runners are counted by label set, never paired with jobs: GitHub gives a job to any runner that has
its labels. Whose runner it was only decides which job gets the next one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fleet_runtime.explanation.causes import is_permanent
from fleet_runtime.job import labels
from fleet_runtime.job.job import Job
from fleet_runtime.job.labels import Refusal
from fleet_runtime.runner.name import first_runner_id, next_runner_id, own_runner_id
from fleet_runtime.runner.rows import TURN, Runner

GRACE_SECONDS = 60
"""The grace that the pauses below are meant for; they scale with another one."""

_PAUSES_SECONDS = (0, 600, 3600)
"""After the first, second and every further runner that ended without a job: what is broken for an
hour will not be mended by more runners a minute. After an error that another runner would meet
again, one pause further on: somebody has to mend it first."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What demand and supply differ by.

    Attributes:
        missing: Queued jobs to start a runner for, oldest first.
        fresh: The same, but so young that their own event may still be on its way: it would start
            no second runner, as long as nothing but a job's first runner is started for them.
        surplus: Runners that no queued job needs: idle ones, and those that nothing runs of yet.
    """

    missing: tuple[Job, ...]
    fresh: tuple[Job, ...]
    surplus: tuple[Runner, ...]


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
    queued: Sequence[Job], runners: Sequence[Runner], *, prefix: str, now: int, grace: int
) -> Balance:
    """Compare GitHub's queued jobs with the runners that are starting or waiting, by label set.

    Args:
        queued: Every queued job of the fleet, whatever its age.
        runners: Every live runner, in line or started.
        prefix: What the runners' names begin with.
        now: Epoch seconds.
        grace: Seconds; younger jobs are fresh, younger runners are never surplus.
    """
    wanted: dict[str, list[Job]] = defaultdict(list)
    supply: dict[str, list[Runner]] = defaultdict(list)
    for job in queued:
        wanted[_key(job.labels)].append(job)
    for runner in runners:
        if runner.started_at is None and not runner.is_over:
            supply[_key(runner.runner_labels)].append(runner)
    missing: list[Job] = []
    fresh: list[Job] = []
    surplus: list[Runner] = []
    for key in {*wanted, *supply}:
        jobs, there = wanted[key], supply[key]
        ids = {own_runner_id(job, prefix=prefix) for job in jobs}
        served = {first_runner_id(runner.runner_id) for runner in there}
        old = [job for job in jobs if queued_at(job) <= now - grace]
        young_ids = ids - {own_runner_id(job, prefix=prefix) for job in old}
        # what the young have is theirs: their events have come
        count = len(old) - (len(there) - len(young_ids & served))
        lacking = [job for job in jobs if own_runner_id(job, prefix=prefix) not in served]
        lacking.sort(key=queued_at)
        short = [job for job in lacking if job in old][: max(0, count)]
        missing += short
        young = [job for job in lacking if job not in old]
        fresh += young[: max(0, len(jobs) - len(there) - len(short))]

        # those whose own job is gone before others, the oldest first
        there.sort(key=lambda one: (first_runner_id(one.runner_id) in ids, one.queued_at or 0))
        idle = [one for one in there if _is_idle(one, before=now - grace)]
        unneeded = idle[: max(0, len(idle) - len(jobs))]
        parked = [one for one in there if _is_parked(one, before=now - grace)]
        left = len(there) - len(unneeded) - len(jobs)
        surplus += unneeded + parked[: max(0, left)]
    return Balance(
        missing=tuple(sorted(missing, key=queued_at)),
        fresh=tuple(sorted(fresh, key=queued_at)),
        surplus=tuple(surplus),
    )


def queued_at(job: Job) -> int:
    """When the job began to wait, epoch seconds; a job behind an approval is older than that."""
    return max(job.created_at or 0, job.started_at or 0)


def next_try(
    tried: Sequence[Runner], job: Job, *, now: int, grace: int, ceiling: int
) -> Start | Wait | GiveUp:
    """Decide what follows the runners that a job, still queued, has had so far.

    A runner that had a job, which was another one's then, or was released has done nothing wrong.
    One that no job came to is followed by a pause: as long as GitHub assigns no jobs, an hour each.
    Only those that failed count against the ceiling, too.

    Args:
        tried: The rows of the job's own runner and of its replacements, in order; not empty.
        job: The job.
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
        pauses = _PAUSES_SECONDS[: len(in_vain) + is_permanent(last.error)]
        until = (last.ended_at or 0) + pauses[-1] * grace / GRACE_SECONDS
        if now < until:
            return Wait(reason=f"{len(in_vain)} came to nothing, the next one begins at {until:g}")
    return Start(runner_id=next_runner_id(last.runner_id))


def _key(texts: Sequence[object]) -> str:
    request = labels.read(texts)
    # what cannot be read is served by nobody: such jobs are missing until they are refused
    return "" if isinstance(request, Refusal) else request.waiting_labels


def _came_to_nothing(runner: Runner) -> bool:
    return runner.status == "FAILED" or runner.released_at is None


def _is_idle(runner: Runner, *, before: int) -> bool:
    return runner.waiting_for == "job" and (runner.claimed_at or 0) <= before


def _began(runner: Runner, *, after: int) -> bool:
    return runner.started_at is not None and runner.started_at > after


def _is_parked(runner: Runner, *, before: int) -> bool:
    return runner.waiting_for in (TURN, "capacity") and (runner.recorded_at or 0) <= before
