"""What the lifecycle asks GitHub about its runner: to let go of it, and whether it is still there.

A runner that sends no heartbeat for minutes may be well: the fleet's own ears may be deaf, its API
or the way to it, or the job holds the heartbeat up. So only what GitHub has lost as well is lost.
Whoever cannot be asked stops nothing: the lifecycle goes on waiting, as long as a job may last.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.aws.client import client
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.jobs import get_job
from fleet_runtime.github.message import GitHubError
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.github.runners import Removal
from fleet_runtime.job.job import Job
from fleet_runtime.observability import count, logger
from fleet_runtime.runner.claims import GITHUB_SECONDS
from fleet_runtime.runner.rows import Runner, RunnerRecords

_RECENT_SECONDS = 60
"""A heartbeat as young as this came while the lifecycle was on its way to here."""


class RunnerOffline(Exception):  # noqa: N818 - the name is in the state machine
    """GitHub has lost the runner too, and the job on it has not ended."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where runners' rows are, and how GitHub is asked."""

    runner_table: str
    connection: Connection | None = None


@dataclass(frozen=True, kw_only=True)
class RegisteredRunners:
    """Runners as their rows and GitHub know them.

    Attributes:
        records: Their rows.
        github: GitHub; None if runners are registered nowhere.
        registrations: What it has of them.
    """

    records: RunnerRecords
    github: GitHub | None
    registrations: Registrations | None

    @classmethod
    def of(cls, settings: Settings) -> RegisteredRunners:
        """Make it from a function's settings."""
        github = GitHub.of(settings.connection) if settings.connection else None
        return cls(
            records=RunnerRecords(dynamodb=client("dynamodb"), table=settings.runner_table),
            github=github,
            registrations=Registrations(github) if github else None,
        )

    def deregister(self, runner_id: str) -> Removal:
        """Remove a runner's registration, unless a job has it, or there are none.

        Raises:
            GitHubUnavailable: GitHub cannot be asked now; the state machine retries.
            GitHubRefused: GitHub will not let the fleet do this.
        """
        if self.github is None or self.registrations is None:
            return Removal.ABSENT
        runner = self.records.find(runner_id)
        with self.github.within(GITHUB_SECONDS):
            removal = self.registrations.remove(
                name=runner_id,
                github_runner_id=runner.github_runner_id if runner else None,
                registered_for=runner.registered_for if runner else "",
            )
        logger.info("deregistered", runner_id=runner_id, removal=removal.value)
        return removal

    def is_online(self, runner_id: str) -> bool | None:
        """Find out whether a runner is still there that has sent no heartbeat.

        Returns:
            True if it is heard of again, by the fleet or by GitHub; False if it is not, and its job
            has ended, so that the job's ``completed`` event, or reconciliation in its place, ends
            the runner; None if GitHub does not say.

        Raises:
            RunnerOffline: GitHub does not hear the runner either, and its job has not ended. Or
                there is nobody else who could hear it.
        """
        runner = self.records.find(runner_id)
        online = self._is_heard(runner) if runner else None
        logger.warning("no heartbeat", runner_id=runner_id, online=online)
        return online

    def _is_heard(self, runner: Runner) -> bool | None:
        # the last heartbeat may be one of the task before this one
        heard = max(self.records.last_heartbeat(runner.runner_id) or 0, runner.claimed_at or 0)
        silence = self.records.now - heard
        if silence < _RECENT_SECONDS:
            return True
        if self.github is None or self.registrations is None:
            count("HeartbeatLost")
            raise RunnerOffline(f"no heartbeat came for {silence} s")
        if runner.github_runner_id is None:
            return None
        with self.github.within(GITHUB_SECONDS):
            try:
                found = self.registrations.look_up(
                    runner.github_runner_id, registered_for=runner.registered_for
                )
            except GitHubError as error:
                logger.warning("github does not say", runner_id=runner.runner_id, error=str(error))
                return None
            if found and found.status == "online":
                return True
            job = _job(self.github, runner)
        if job and job.status == "completed" and job.runner_name == runner.runner_id:
            return False
        if found is None and job is None:
            # 404 is also what a credential is answered that may not see the runner
            return None
        count("HeartbeatLost")
        says = "it is offline" if found else "there is no such runner"
        raise RunnerOffline(f"no heartbeat came for {silence} s, and GitHub says that {says}")


def _job(github: GitHub, runner: Runner) -> Job | None:
    """Look up the job that the row says the runner has; None if GitHub does not say."""
    if runner.job_id is None:
        return None
    request = get_job(repository=runner.repository, job_id=runner.job_id)
    try:
        return github.ask(request)
    except GitHubError as error:
        logger.warning("job not found", runner_id=runner.runner_id, error=str(error))
        return None
