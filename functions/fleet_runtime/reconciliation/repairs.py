"""What lost events left behind, and jobs whose runner is gone.

A repair says again what the lost event would have said, through the same code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleet_runtime.aws.items import texts
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.dispatch.dispatcher import Dispatcher
from fleet_runtime.github import runners
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.jobs import (
    MOST_PAGES,
    force_cancel,
    get_ended_attempt,
    get_job,
    list_jobs,
    rerun_job,
)
from fleet_runtime.github.message import GitHubRefused
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.github.runners import Removal
from fleet_runtime.job.job import Job, JobEvent
from fleet_runtime.job.runner_name import read_name
from fleet_runtime.observability import count, logger
from fleet_runtime.reconciliation.refusals import Refusals
from fleet_runtime.reconciliation.rounds import in_rounds
from fleet_runtime.runner.rows import Runner, RunnerRecords

_MOST_LOOKUPS = 20
"""Jobs that are asked for one by one in a run."""
_JOBLESS_GRACES = 2
"""Graces after its claim in which a runner's job is heard of."""
_LOST = "lost"

# a person ended the runner, or the job would end the next one too
_DELIBERATE = frozenset({"Runner.JobTimeout", "Runner.Terminated"})
_OUT_OF_MEMORY = "OutOfMemory"


@dataclass(frozen=True, kw_only=True)
class Repairs:
    """Repairs rows by what GitHub says, and jobs by what the rows say.

    Attributes:
        dispatcher: What the fleet does about a job.
        records: The runners.
        github: GitHub.
        registrations: The runners at GitHub.
        ledger: Where lost jobs that are to be run again are kept until they can be.
        grace: Seconds; what changed more recently is left alone.
        prefix: What the runners' names begin with.
        rerun_lost_jobs: Whether a job whose runner is gone is run again.
    """

    dispatcher: Dispatcher
    records: RunnerRecords
    github: GitHub
    registrations: Registrations
    ledger: Ledger
    grace: int
    prefix: str
    rerun_lost_jobs: bool
    _looked_up_at: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _rerun_at: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def repair_starts(self, jobs: Sequence[Job], live: Mapping[str, Runner]) -> list[str]:
        """Tell runners that their job has started; returns those that did not know."""
        repaired = []
        for job in jobs:
            runner = live.get(job.runner_name or "")
            if job.status != "in_progress" or runner is None or runner.started_at is not None:
                continue
            # the job of an earlier registration says nothing of the one that the runner has now
            if runner.may_have(job):
                self._say(job, runner)
                repaired.append(runner.runner_id)
        return repaired

    def repair_ends(self, jobs: Sequence[Job], live: Mapping[str, Runner]) -> Iterator[str]:
        """Tell runners that their job has ended; yields those that did not know.

        Only those are asked for whose job is not listed any more, in rounds of the repositories:
        first those not asked for yet, then those asked for longest ago, and of these the oldest.

        Raises:
            GitHubError: if GitHub does not say.
        """
        before = self.ledger.now - self.grace
        for job in jobs:
            ended = live.get(job.runner_name or "") if job.status == "completed" else None
            if ended is None or ended.completed_at is not None or _has_another(ended, job):
                continue
            if (job.completed_at or 0) <= before:
                self._say(job, ended)
                yield ended.runner_id
        listed = {job.job_id for job in jobs}
        unseen = [
            runner
            for runner in live.values()
            if runner.started_at is not None
            and runner.started_at <= before
            and runner.completed_at is None
            and runner.job_id not in listed
        ]
        refusals = Refusals()
        for runner in self._next_looked_up(unseen):
            found = None
            with refusals.of(runner.runner_id):
                found = self._look_up(runner)
            if found is None or found.status != "completed" or _has_another(runner, found):
                continue
            if found.runner_name == runner.runner_id:
                self._say(found, runner)
                yield runner.runner_id
        refusals.tell()

    def end_jobless(self, live: Mapping[str, Runner]) -> Iterator[str]:
        """End runners that GitHub has called busy once, and knows of no job on; yields those.

        A start that GitHub has not told of by now, and no list of its has, is a job that was over
        before anybody looked, or none: heartbeats are no reason to keep the runner. It is removed
        at GitHub first, which refuses that while a job runs.

        Raises:
            GitHubError: if GitHub does not do it.
        """
        before = self.ledger.now - _JOBLESS_GRACES * self.grace
        refusals = Refusals()
        jobless = [one for one in live.values() if _is_jobless(one, before=before)]
        for seen in in_rounds(jobless)[:_MOST_LOOKUPS]:
            # what was lost may have been made up for since
            runner = self.records.find(seen.runner_id)
            if runner is None or not _is_jobless(runner, before=before):
                continue
            removal = Removal.BUSY
            with refusals.of(runner.runner_id):
                removal = self.registrations.remove(
                    name=runner.runner_id,
                    github_runner_id=runner.github_runner_id,
                    registered_for=runner.registered_for,
                )
            if removal is not Removal.BUSY and self.dispatcher.signals.has_no_job(runner):
                logger.warning("runner without a job ended", runner_id=runner.runner_id)
                count("EventRepaired")
                yield runner.runner_id
        refusals.tell()

    def find_lost(self, jobs: Sequence[Job], live: Mapping[str, Runner]) -> Iterator[str]:
        """Find jobs that GitHub takes for running though their runner is gone.

        GitHub cancels one that was acquired and never started after about 15 minutes, and fails
        one whose runner went away. Neither is ever given to another runner.

        Yields:
            The runners whose job is found to be lost now.
        """
        refusals = Refusals()
        asked = 0
        for job in in_rounds(jobs):
            name = job.runner_name or ""
            known = read_name(name)
            if job.status != "in_progress" or known is None or name in live:
                continue
            if known.prefix != self.prefix:
                continue
            runner = self.records.find(name)
            if runner is None or runner.is_namesake(job) or not self._is_lost(runner, job):
                continue
            if self._note_lost(runner, job):
                yield name
            if self._may_rerun(runner, attempt=job.run_attempt) and asked < _MOST_LOOKUPS:
                asked += 1
                with refusals.of(name):
                    self._cancel(job, runner)
        refusals.tell()

    def has_lost(self) -> bool:
        """Whether a lost job waits to be run again."""
        return self.rerun_lost_jobs and bool(texts(self.ledger.get(_LOST), "runners"))

    def rerun_lost(self) -> list[str]:
        """Run lost jobs again whose run has ended, each once; returns their runners.

        Once is the first attempt alone: what runs again is another attempt, with a runner and a
        row of its own, and that is not run again whatever becomes of it.

        Raises:
            GitHubUnavailable: if GitHub cannot be asked now.
        """
        if not self.rerun_lost_jobs:
            return []
        again = []
        for name in self._next_rerun(texts(self.ledger.get(_LOST), "runners")):
            runner = self.records.find(name)
            try:
                if runner and not self._rerun(runner):
                    continue
            except GitHubRefused as error:
                logger.warning("lost job not run again", runner_id=name, error=str(error))
            else:
                again.append(name)
            self.ledger.update(_LOST, discard={"runners": frozenset({name})})
        return again

    def _say(self, job: Job, runner: Runner) -> None:
        event = JobEvent.missed(job)
        logger.warning("event was lost", runner_id=runner.runner_id, action=event.action)
        count("EventRepaired")
        self.dispatcher.handle(event)

    def _next_looked_up(self, unseen: Sequence[Runner]) -> Sequence[Runner]:
        """Choose those whose turn it is to be asked for, so that each has one."""
        before = self._looked_up_at
        chosen = in_rounds(
            sorted(unseen, key=lambda one: (before.get(one.runner_id, 0), one.started_at or 0))
        )[:_MOST_LOOKUPS]
        now = dict.fromkeys((one.runner_id for one in chosen), self.ledger.now)
        kept = {one.runner_id: before.get(one.runner_id, 0) for one in unseen} | now
        before.clear()
        before.update(kept)
        return chosen

    def _next_rerun(self, names: Collection[str]) -> Sequence[str]:
        """Choose those whose run is asked for: it may go on for a month, and others' end before."""
        before = self._rerun_at
        chosen = sorted(names, key=lambda name: (before.get(name, 0), name))[:_MOST_LOOKUPS]
        now = dict.fromkeys(chosen, self.ledger.now)
        kept = {name: before.get(name, 0) for name in names} | now
        before.clear()
        before.update(kept)
        return chosen

    def _look_up(self, runner: Runner) -> Job | None:
        if runner.job_id is None or not runner.repository:
            return None
        request = get_job(repository=runner.repository, job_id=runner.job_id)
        try:
            return self.github.ask(request)
        except GitHubRefused as error:
            if error.status != 404:
                raise
            return None

    def _is_lost(self, runner: Runner, job: Job) -> bool:
        return (
            runner.has_ended
            and runner.completed_at is None
            and (runner.ended_at or 0) <= self.ledger.now - self.grace
            and (job.started_at or 0) <= self.ledger.now - self.grace
        )

    def _note_lost(self, runner: Runner, job: Job) -> bool:
        if self._may_rerun(runner, attempt=job.run_attempt):
            self.ledger.update(_LOST, add={"runners": frozenset({runner.runner_id})})
        first = self.records.update(
            runner.runner_id,
            values={**job.identity, "lost_at": self.ledger.now},
            condition="attribute_exists(runner_id) AND attribute_not_exists(lost_at)",
        )
        if first is None:
            return False
        logger.error("job lost", runner_id=runner.runner_id, job_id=job.job_id)
        count("JobLost")
        return True

    def _may_rerun(self, runner: Runner, *, attempt: int | None) -> bool:
        return (
            self.rerun_lost_jobs
            and attempt == 1
            and runner.error not in _DELIBERATE
            and _OUT_OF_MEMORY not in runner.cause
        )

    def _cancel(self, job: Job, runner: Runner) -> None:
        """End the run now instead of in 15 minutes, if nothing else of it would end with it."""
        if not self._is_alone(job) or self._is_online(runner):
            return
        self.github.ask(force_cancel(repository=job.repository, run_id=job.run_id))
        logger.warning("run cancelled", run_id=job.run_id, job_id=job.job_id)

    def _is_alone(self, job: Job) -> bool:
        """Whether GitHub says now that the job goes on, and that no other of its run does.

        The listing is up to minutes old, and of a run with more jobs than pages not whole.
        """
        request = list_jobs(repository=job.repository, run_id=job.run_id)
        pages = list(self.github.pages(request, most=MOST_PAGES))
        unfinished = [
            one.job_id for page in pages for one in page.items if one.status != "completed"
        ]
        # a run with more jobs than that is left to GitHub
        return pages[-1].following is None and unfinished == [job.job_id]

    def _is_online(self, runner: Runner) -> bool:
        """Whether GitHub hears from a runner. It calls one busy until it has given its job up."""
        scope = self.github.scope.registered(runner.registered_for)
        request = runners.find_runner(scope=scope.path, name=runner.runner_id)
        found = self.github.ask(request)
        return found is not None and found.status == "online"

    def _rerun(self, runner: Runner) -> bool:
        """Run a lost job again, once; False if its run has not ended yet."""
        repository, run_id = runner.repository, runner.run_id
        if not repository or run_id is None or runner.job_id is None:
            return True
        if not self._may_rerun(runner, attempt=runner.run_attempt):
            return True
        attempt = self.github.ask(get_ended_attempt(repository=repository, run_id=run_id))
        if attempt is None:
            return False
        job = self._look_up(runner)
        # a later attempt: this was done before, or a person did it
        if job is None or job.conclusion == "success" or attempt != runner.run_attempt:
            return True
        self.github.ask(rerun_job(repository=repository, job_id=runner.job_id))
        self.records.update(
            runner.runner_id,
            values={"rerun_requested_at": self.ledger.now},
            condition="attribute_exists(lost_at)",
        )
        logger.warning("lost job runs again", runner_id=runner.runner_id, job_id=runner.job_id)
        count("JobRerun")
        return True


def _is_jobless(runner: Runner, *, before: int) -> bool:
    """Whether a runner is taken for one with a job that GitHub has told of nowhere."""
    has_job = runner.waiting_for == "completion" and runner.started_at is None
    return has_job and (runner.claimed_at or 0) <= before


def _has_another(runner: Runner, job: Job) -> bool:
    """Whether a runner is at another job: an earlier registration or a namesake has this one."""
    if runner.may_have(job):
        return False
    return runner.started_at is not None or runner.is_namesake(job)
