"""What lost events left behind, and jobs whose runner is gone.

A repair says again what the lost event would have said, through the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet_runtime import demand_api, github
from fleet_runtime.access import GitHubAccess
from fleet_runtime.dispatcher import Dispatcher
from fleet_runtime.github import GitHubRefused, failure
from fleet_runtime.items import texts
from fleet_runtime.jobs import Job
from fleet_runtime.ledger import Ledger
from fleet_runtime.observability import count, logger
from fleet_runtime.records import Runner

_MOST_LOOKUPS = 20
"""Jobs that are asked for one by one in a run."""
_LOST = "lost"
_UNFINISHED = ("queued", "in_progress", "waiting", "pending", "requested")


@dataclass(frozen=True, kw_only=True)
class Repairs:
    """Repairs rows by what GitHub says, and jobs by what the rows say.

    Attributes:
        dispatcher: What the fleet does about a job.
        access: GitHub.
        ledger: Where lost jobs that are to be run again are kept until they can be.
        grace: Seconds; what changed more recently is left alone.
        rerun_lost_jobs: Whether a job whose runner is gone is run again.
    """

    dispatcher: Dispatcher
    access: GitHubAccess
    ledger: Ledger
    grace: int
    rerun_lost_jobs: bool

    def started(self, jobs: Sequence[Job], live: Mapping[str, Runner]) -> list[str]:
        """Tell runners that their job has started; returns those that did not know."""
        repaired = []
        for job in jobs:
            runner = live.get(job.runner_name or "")
            if job.action == "in_progress" and runner and runner.started_at is None:
                self._say(job, runner)
                repaired.append(runner.runner_id)
        return repaired

    def completed(self, jobs: Sequence[Job], live: Mapping[str, Runner]) -> list[str]:
        """Tell runners that their job has ended; returns those that did not know.

        Only those are asked for whose job is not listed any more, the oldest first.

        Raises:
            GitHubError: if GitHub does not say.
        """
        listed = {job.job_id for job in jobs}
        before = self.ledger.now - self.grace
        unseen = [
            runner
            for runner in live.values()
            if runner.started_at is not None
            and runner.started_at <= before
            and runner.completed_at is None
            and runner.job_id not in listed
        ]
        unseen.sort(key=lambda runner: runner.started_at or 0)
        repaired = []
        for runner in unseen[:_MOST_LOOKUPS]:
            job = self._look_up(runner)
            if job and job.action == "completed" and job.runner_name == runner.runner_id:
                self._say(job, runner)
                repaired.append(runner.runner_id)
        return repaired

    def lost(self, jobs: Sequence[Job], live: Mapping[str, Runner]) -> list[str]:
        """Find jobs that GitHub takes for running though their runner is gone.

        GitHub cancels one that was acquired and never started after about 15 minutes, and fails
        one whose runner went away. Neither is ever given to another runner.

        Returns:
            The runners whose job is found to be lost now.
        """
        prefix = f"{self.dispatcher.config.runner_name_prefix}-"
        found = []
        for job in jobs:
            name = job.runner_name or ""
            if job.action != "in_progress" or not name.startswith(prefix) or name in live:
                continue
            runner = self.dispatcher.records.find(name)
            if runner is None or not self._is_lost(runner, job):
                continue
            if self._note_lost(runner, job):
                found.append(name)
            if self.rerun_lost_jobs:
                self._cancel(job, jobs)
        return found

    def has_lost(self) -> bool:
        """Whether a lost job waits to be run again."""
        return self.rerun_lost_jobs and bool(texts(self.ledger.get(_LOST), "runners"))

    def rerun(self) -> list[str]:
        """Run lost jobs again whose run has ended, each once; returns their runners.

        Raises:
            GitHubUnavailable: if GitHub cannot be asked now.
        """
        if not self.rerun_lost_jobs:
            return []
        again = []
        for name in sorted(texts(self.ledger.get(_LOST), "runners"))[:_MOST_LOOKUPS]:
            runner = self.dispatcher.records.find(name)
            try:
                if runner and not self._rerun(runner):
                    continue
            except GitHubRefused as error:
                logger.warning("lost job not run again", runner_id=name, error=str(error))
            else:
                again.append(name)
            self.ledger.write(_LOST, "DELETE runners :me", values={":me": frozenset({name})})
        return again

    def _say(self, job: Job, runner: Runner) -> None:
        logger.warning("event was lost", runner_id=runner.runner_id, action=job.action)
        count("EventRepaired")
        self.dispatcher.job(job)

    def _look_up(self, runner: Runner) -> Job | None:
        if runner.job_id is None or not runner.repository:
            return None
        request = github.get_job(repository=runner.repository, job_id=runner.job_id)
        response = self.access.send(request, repository=runner.repository)
        return demand_api.read_listed_job(response, repository=runner.repository)

    def _is_lost(self, runner: Runner, job: Job) -> bool:
        return (
            runner.has_ended
            and runner.completed_at is None
            and (runner.ended_at or 0) <= self.ledger.now - self.grace
            and (job.started_at or 0) <= self.ledger.now - self.grace
        )

    def _note_lost(self, runner: Runner, job: Job) -> bool:
        if self.rerun_lost_jobs:
            self.ledger.write(
                _LOST, "ADD runners :me", values={":me": frozenset({runner.runner_id})}
            )
        first = self.dispatcher.records.update(
            runner.runner_id,
            values={**job.identity, "lost_at": self.ledger.now},
            condition="attribute_exists(runner_id) AND attribute_not_exists(lost_at)",
        )
        if first is None:
            return False
        logger.error("job lost", runner_id=runner.runner_id, job_id=job.job_id)
        count("JobLost")
        return True

    def _cancel(self, job: Job, jobs: Sequence[Job]) -> None:
        """End the run now instead of in 15 minutes, if nothing else of it would end with it."""
        if any(
            other.run_id == job.run_id
            and other.job_id != job.job_id
            and other.action in _UNFINISHED
            for other in jobs
        ):
            return
        request = demand_api.force_cancel(repository=job.repository, run_id=job.run_id)
        response = self.access.send(request, repository=job.repository)
        # 409: it has ended meanwhile
        if response.status not in (202, 409):
            raise failure(response)
        logger.warning("run cancelled", run_id=job.run_id, job_id=job.job_id)

    def _rerun(self, runner: Runner) -> bool:
        """Run a lost job again, once; False if its run has not ended yet."""
        repository, run_id = runner.repository, runner.run_id
        if not repository or run_id is None or runner.job_id is None:
            return True
        response = self.access.send(
            demand_api.get_run(repository=repository, run_id=run_id), repository=repository
        )
        attempt = demand_api.read_ended_attempt(response)
        if attempt is None:
            return False
        job = self._look_up(runner)
        # a later attempt: this was done before, or a person did it
        if job is None or job.conclusion == "success" or attempt != runner.run_attempt:
            return True
        response = self.access.send(
            demand_api.rerun_job(repository=repository, job_id=runner.job_id),
            repository=repository,
        )
        if response.status != 201:
            raise failure(response)
        self.dispatcher.records.update(
            runner.runner_id,
            values={"rerun_requested_at": self.ledger.now},
            condition="attribute_exists(lost_at)",
        )
        logger.warning("lost job runs again", runner_id=runner.runner_id, job_id=runner.job_id)
        count("JobRerun")
        return True
