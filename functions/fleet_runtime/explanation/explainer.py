"""Tells a job's author that no runner will come, and why; and tells what GitHub says of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from fleet_runtime.aws.client import client
from fleet_runtime.explanation.explanation import Explanation
from fleet_runtime.explanation.unserved import SERVED_DETAIL_TYPE
from fleet_runtime.github import remedies
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.jobs import get_job
from fleet_runtime.github.message import GitHubError, GitHubRefused
from fleet_runtime.github.runners import RegisteredRunner, list_runners
from fleet_runtime.job.job import Job, cut
from fleet_runtime.job.label_rules import LabelRules
from fleet_runtime.job.runner_scope import RunnerScopes
from fleet_runtime.observability import count, logger
from fleet_runtime.runner.rows import REFUSED, Runner, RunnerRecords

_HAS_RUNNER = ("in_progress", "completed")
_TELLING = {"checks": "write"}
_MOST_RUNNER_PAGES = 20
"""Of a hundred runners each: what there is time for."""
_LISTED_SECONDS = 60
"""How long a list of runners is good for. Of jobs that are somebody else's there may be hundreds,
and each would cost GitHub's quota a list. Who came since takes back what was said of its job."""
_ISO = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where runners' rows are, how GitHub is asked, and whether it is told anything."""

    runner_table: str
    label_rules: LabelRules
    scopes: RunnerScopes
    connection: Connection
    explain_at_github: bool


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Explains each job that gets no runner once.

    Attributes:
        records: The runners' rows.
        asking: GitHub, to be asked about jobs and runners.
        telling: GitHub, to be told. An App that may not be told anything is still answered.
        explain_at_github: Whether authors are told there, or in the log alone.
        label_rules: Which jobs are the fleet's.
        scopes: Where runners are registered.
    """

    records: RunnerRecords
    asking: GitHub
    telling: GitHub
    explain_at_github: bool
    label_rules: LabelRules
    scopes: RunnerScopes
    _listed: dict[str, tuple[int, tuple[RegisteredRunner, ...]]] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def of(cls, settings: Settings) -> Explainer:
        """Make it from the function's settings."""
        return cls(
            records=RunnerRecords(dynamodb=client("dynamodb"), table=settings.runner_table),
            asking=GitHub.of(settings.connection),
            telling=GitHub.of(replace(settings.connection, github_permissions=_TELLING)),
            explain_at_github=settings.explain_at_github,
            label_rules=settings.label_rules,
            scopes=settings.scopes,
        )

    def hear(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Handle an event of the fleet's bus: see ``explain`` and ``take_back``.

        Raises:
            GitHubUnavailable: GitHub cannot be told now; the same event tells it later.
        """
        if kind == SERVED_DETAIL_TYPE:
            self.take_back(detail)
        else:
            self.explain(detail)

    def explain(self, detail: Mapping[str, Any]) -> None:
        """Handle a ``job_unserved`` event, which may come twice, or when the job is served.

        Raises:
            GitHubUnavailable: GitHub cannot be told now; nothing is written, so that the same
                event tells it later.
        """
        about = Explanation.from_detail(detail)
        runner = self.records.find(about.runner_id)
        if not _is_news(about, runner):
            logger.info("nothing to explain", runner_id=about.runner_id)
            return
        if not about.log_only and self._is_anothers(about, job_id=int(detail["job_id"])):
            return
        explained_as = "log" if about.log_only else self._tell(about)
        logger.warning(
            "job unserved",
            runner_id=about.runner_id,
            error=about.error,
            cause=about.cause,
            explained_as=explained_as,
        )
        if about.waits:
            self.records.update(
                about.runner_id,
                values={"wait_explained_at": self.records.now, "explained_as": explained_as},
                condition="attribute_exists(live)",
            )
            return
        mark = "given_up_at" if about.final else "explained_at"
        first = self.records.update(
            about.runner_id,
            values={mark: self.records.now, "explained_as": explained_as},
            condition=f"attribute_exists(runner_id) AND attribute_not_exists({mark})"
            " AND attribute_not_exists(live)",
        )
        if first and not (runner and (runner.explained_at or runner.given_up_at)):
            count("JobUnserved")

    def take_back(self, detail: Mapping[str, Any]) -> None:
        """Handle a ``job_served`` event: what was said of the job is said no longer.

        Raises:
            GitHubUnavailable: GitHub cannot be told now; the same event tells it later.
        """
        about = Explanation.from_detail(detail)
        runner = self.records.find(about.runner_id)
        if runner and runner.taken_back_at and runner.taken_back_at >= (runner.told_at or 0):
            logger.info("taken back before", runner_id=about.runner_id)
            return
        explained_as = self._tell(about)
        logger.info("taken back", runner_id=about.runner_id, explained_as=explained_as)
        self.records.update(
            about.runner_id,
            values={"taken_back_at": self.records.now},
            # a row that was begun anew has nothing to take back
            condition="attribute_exists(explained_as)",
        )

    def view(self, job_id: int, *, repository: str) -> dict[str, Any]:
        """Say what GitHub says of a job, or why it does not: ``{"error": …}``."""
        try:
            job = self._job(job_id, repository=repository)
            return _view(job) | {"left_alone": self.label_rules.ignored(job.labels)}
        except GitHubRefused as error:
            hint = "; is it one of this fleet's, and may its credentials see it?"
            return {"error": f"{error}{hint if error.status == 404 else ''}"}
        except GitHubError as error:
            return {"error": str(error)}

    def _is_anothers(self, about: Explanation, *, job_id: int) -> bool:
        """Whether the job has another runner, was cancelled, or is for another runner to serve."""
        if not self.explain_at_github:
            return False
        try:
            job = self._job(job_id, repository=about.repository)
            if job.status in _HAS_RUNNER:
                logger.info("job has a runner", runner_id=about.runner_id)
                return True
            left_to = self._who_serves(job) if about.error == REFUSED else None
        except GitHubRefused as error:
            # no permission to look is none to keep quiet
            logger.warning("job not found", runner_id=about.runner_id, error=str(error))
            return False
        if left_to is None:
            return False
        logger.info("left to another runner", runner_id=about.runner_id, left_to=left_to)
        self.records.update(
            about.runner_id,
            values={"left_at": self.records.now, "left_to": left_to},
            condition="attribute_exists(runner_id) AND attribute_not_exists(live)",
        )
        return True

    def _who_serves(self, job: Job) -> str | None:
        """Name a runner that has all of a job's labels, whosever and whatever it does now."""
        wanted = {str(label).lower() for label in job.labels}
        # somebody's may be in either place where the fleet's may be only in one
        places = dict.fromkeys((self.scopes.github_scope, self.scopes.of(job.repository)))
        registered = (one for place in places for one in self._runners(place.path))
        return next((cut(one.name) for one in registered if wanted <= one.labels), None)

    def _runners(self, scope: str) -> tuple[RegisteredRunner, ...]:
        """List the runners of a scope, as GitHub had them a minute ago at the most."""
        now = self.records.now
        at, listed = self._listed.get(scope, (0, ()))
        if now >= at + _LISTED_SECONDS:
            listed = tuple(self.asking.items(list_runners(scope=scope), most=_MOST_RUNNER_PAGES))
            self._listed[scope] = now, listed
        return listed

    def _tell(self, about: Explanation) -> str:
        """Tell it at GitHub; returns how: ``check_run``, ``commit_status`` or only the ``log``."""
        if not self.explain_at_github or not about.head_sha:
            return "log"
        try:
            self.telling.ask(about.as_check_run())
        except GitHubRefused:
            # check runs are for Apps alone
            return self._tell_by_status(about)
        return "check_run"

    def _tell_by_status(self, about: Explanation) -> str:
        try:
            self.telling.ask(about.as_commit_status())
        except GitHubRefused as error:
            logger.error(
                "not explained at GitHub",
                runner_id=about.runner_id,
                error=str(error),
                remedy=remedies.of_telling(error),
            )
            count("ExplainRefused")
            return "log"
        return "commit_status"

    def _job(self, job_id: int, *, repository: str) -> Job:
        return self.asking.ask(get_job(repository=repository, job_id=job_id))


def _is_news(about: Explanation, runner: Runner | None) -> bool:
    if about.waits:
        return bool(runner and runner.waits and runner.wait_explained_at is None)
    if runner is None:
        return True
    told = runner.given_up_at if about.final else runner.given_up_at or runner.explained_at
    return runner.has_ended and told is None


def _view(job: Job) -> dict[str, Any]:
    """What explains something of a job, named and written as GitHub does."""
    return {
        "status": job.status,
        "conclusion": job.conclusion,
        "labels": list(job.labels),
        "runner_name": job.runner_name,
        "created_at": _time(job.created_at),
        "started_at": _time(job.started_at),
        "completed_at": _time(job.completed_at),
        "head_sha": job.head_sha,
        "html_url": job.url,
    }


def _time(epoch: int | None) -> str | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC).strftime(_ISO)
