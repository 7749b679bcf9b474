"""The jobs that GitHub has: those of the runs that are not over, in all repositories served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fleet_runtime import demand_api
from fleet_runtime.access import GitHubAccess
from fleet_runtime.demand_api import OPEN_RUNS, Run
from fleet_runtime.github import PAGE_SIZE, GitHubError, GitHubRefused
from fleet_runtime.jobs import Job
from fleet_runtime.observability import logger
from fleet_runtime.pages import Pages

MOST_RUNS = 200
"""Whose jobs are asked for at once, oldest first: what is behind them has its turn when they end.
One request each; 200 every two minutes would be more than an hour's quota, if they changed."""
_MOST_PAGES = 10
"""GitHub lists no more than 1,000 runs of a status."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What GitHub said.

    Attributes:
        jobs: The jobs of runs that are not over, those of GitHub's own runners too. What happened
            to each, its ``action``, is its status.
        is_complete: Whether these are all. If not, a job may be there that is not listed.
        gone: Repositories that are not there, or not for the fleet to see.
    """

    jobs: tuple[Job, ...]
    is_complete: bool
    gone: frozenset[str]


class JobLister:
    """Lists jobs at GitHub, with as few requests as it can."""

    def __init__(self, *, access: GitHubAccess, pages: Pages) -> None:
        self._access = access
        self._pages = pages

    def active_repositories(self, *, count: int) -> list[str]:
        """List the repositories of the organization that were pushed to most recently.

        Returns:
            Their full names; nothing where the fleet serves a repository, or an enterprise, which
            has no such list.

        Raises:
            GitHubError: if GitHub does not say.
        """
        path = self._access.runners_path
        if not path.startswith("/orgs/"):
            return []
        return self._pages.get(
            demand_api.list_repositories(
                organization=path.removeprefix("/orgs/"), count=min(count, PAGE_SIZE)
            ),
            send=partial(self._access.send, repository=None),
            read=demand_api.read_repositories,
        )

    def jobs(self, repositories: Sequence[str]) -> Listing:
        """List the jobs of all runs in these repositories that are not over."""
        runs: list[Run] = []
        gone: set[str] = set()
        refused = 0
        is_complete = False
        jobs: list[Job] = []
        try:
            for repository in repositories:
                try:
                    runs += self._runs(repository)
                except GitHubRefused as error:
                    logger.warning("runs not listed", repository=repository, error=str(error))
                    refused += 1
                    # one that the fleet may not see any more looks like one that is gone
                    gone |= {repository} if error.status == 404 else set()
            runs.sort(key=lambda run: run.run_id)
            is_complete = not refused and len(runs) <= MOST_RUNS
            for run in runs[:MOST_RUNS]:
                jobs += self._jobs(run)
        except GitHubError as error:
            logger.warning("jobs not listed", error=str(error))
            is_complete = False
        return Listing(jobs=tuple(jobs), is_complete=is_complete, gone=frozenset(gone))

    def _runs(self, repository: str) -> list[Run]:
        found: dict[int, Run] = {}
        for status in OPEN_RUNS:
            for page in range(1, _MOST_PAGES + 1):
                runs = self._pages.get(
                    demand_api.list_runs(repository=repository, status=status, page=page),
                    send=partial(self._access.send, repository=repository),
                    read=partial(demand_api.read_runs, repository=repository),
                )
                found |= {run.run_id: run for run in runs}
                if len(runs) < PAGE_SIZE:
                    break
        return list(found.values())

    def _jobs(self, run: Run) -> list[Job]:
        found: list[Job] = []
        for page in range(1, _MOST_PAGES + 1):
            jobs = self._pages.get(
                demand_api.list_jobs(repository=run.repository, run_id=run.run_id, page=page),
                send=partial(self._access.send, repository=run.repository),
                read=partial(demand_api.read_jobs, repository=run.repository),
            )
            found += jobs
            if len(jobs) < PAGE_SIZE:
                break
        return found
