"""The jobs that GitHub has: those of the runs that are not over, in all repositories served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleet_runtime.github.client import GitHub
from fleet_runtime.github.jobs import (
    MOST_PAGES,
    OPEN_RUNS,
    Run,
    list_active_repositories,
    list_jobs,
    list_runs,
)
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Request
from fleet_runtime.job.job import Job
from fleet_runtime.observability import count, logger

MOST_RUNS = 200
"""Whose jobs are asked for at once.
One request each; 200 every two minutes would be more than an hour's quota, if they changed."""
KEPT_QUOTA = 500
"""Requests an hour that no list uses up, a tenth of the least that there are: runners are removed
and asked about by the same quota, and whoever has hundreds of runs that change uses it."""
GONE = (301, 404, 410, 451)
"""What GitHub answers for a repository that was renamed, transferred, removed or taken down, and
for one that the fleet may not see any more."""
_MOST_BROKEN = 3
"""Repositories that GitHub fails to list, before it is left alone for now."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What GitHub said.

    Attributes:
        jobs: The jobs of runs that are not over, those of GitHub's own runners too.
        is_complete: Whether these are all. If not, a job may be there that is not listed.
        listed: Repositories all of whose jobs are listed.
        gone: Repositories that are not there, or not for the fleet to see.
    """

    jobs: tuple[Job, ...]
    is_complete: bool
    listed: frozenset[str]
    gone: frozenset[str]


class JobLister:
    """Lists jobs at GitHub, with as few requests as it can.

    Kept between runs: where time or requests do not suffice for all, the next run begins with what
    this one did not come to.
    """

    def __init__(self, github: GitHub) -> None:
        self._github = github
        self._first = ""
        self._last_runs: dict[str, int] = {}

    def active_repositories(self, *, most: int) -> list[str]:
        """List the repositories of the organization that were pushed to most recently.

        Args:
            most: How many at most.

        Returns:
            Their full names; nothing where the fleet serves a repository, or an enterprise, which
            has no such list.

        Raises:
            GitHubError: if GitHub does not say.
        """
        scope = self._github.scope
        if scope.kind != "orgs":
            return []
        try:
            return self._github.ask(list_active_repositories(organization=scope.name, count=most))
        except GitHubRefused as error:
            if error.status in GONE:
                self._scope_not_found(error)
            raise

    def jobs(self, repositories: Sequence[str]) -> Listing:
        """List the jobs of runs in these repositories that are not over, one after another."""
        jobs: list[Job] = []
        gone: set[str] = set()
        listed: set[str] = set()
        is_complete = True
        left, broken = MOST_RUNS, 0
        order = self._in_turn(repositories)
        self._first = ""
        for place, repository in enumerate(order):
            # not the same first one again, or nobody else's turn would ever come
            stop = repository if place else order[1 % len(order)]
            try:
                runs = self._runs(repository)
                first, others = self._chosen(repository, runs, most=left)
                for run in first:
                    jobs += self._jobs(run)
                for run in others:
                    jobs += self._jobs(run)
                    self._last_runs[repository] = run.run_id
                left -= len(first) + len(others)
                if len(first) + len(others) < len(runs):
                    is_complete = False
                    self._first = stop
                    break
                listed.add(repository)
            except GitHubRefused as error:
                self._refused(repository, error)
                is_complete = False
                # one that the fleet may not see any more looks like one that is gone
                gone |= {repository} if error.status in GONE else set()
            except GitHubUnavailable as error:
                logger.warning("jobs not listed", repository=repository, error=str(error))
                is_complete = False
                broken += 1
                if error.status < 500 or broken >= _MOST_BROKEN:
                    self._first = stop
                    break
        return Listing(
            jobs=tuple(jobs),
            is_complete=is_complete,
            listed=frozenset(listed),
            gone=frozenset(gone),
        )

    def _in_turn(self, repositories: Sequence[str]) -> list[str]:
        """Put them in an order that begins where the last run stopped."""
        order = sorted(set(repositories))
        return [
            *(name for name in order if name >= self._first),
            *(name for name in order if name < self._first),
        ]

    def _chosen(
        self, repository: str, runs: Sequence[Run], *, most: int
    ) -> tuple[Sequence[Run], Sequence[Run]]:
        """Choose the runs whose jobs are asked for: those that come first, and others.

        Where there are too many, the others take turns for half of the places: a run may wait for
        an approval for 30 days.
        """
        if len(runs) <= most:
            return runs, ()
        half = most // 2
        last = self._last_runs.get(repository, 0)
        others = sorted(runs[half:], key=lambda run: (run.run_id <= last, run.run_id))
        return runs[:half], others[: most - half]

    def _refused(self, repository: str, error: GitHubRefused) -> None:
        if error.status in GONE and self._github.scope.kind == "repos":
            self._scope_not_found(error)
        else:
            logger.warning("runs not listed", repository=repository, error=str(error))

    def _scope_not_found(self, error: GitHubRefused) -> None:
        scope = self._github.scope
        logger.error(
            "what the fleet serves is not found at GitHub",
            scope=str(scope),
            error=str(error),
            remedy=f"if it was renamed or transferred, deploy again with its new name (HTTP 301 is "
            f"GitHub's word for that); else see that the credentials may see the {scope}",
        )
        count("ScopeNotFound")

    def _runs(self, repository: str) -> list[Run]:
        """List the runs that are not over: queued, in progress, then waiting, oldest first."""
        found: dict[int, Run] = {}
        for status in OPEN_RUNS:
            request = list_runs(repository=repository, status=status)
            self._check_quota(request)
            listed = self._github.items(request, most=MOST_PAGES)
            for run in sorted(listed, key=lambda run: run.run_id):
                found.setdefault(run.run_id, run)
        return list(found.values())

    def _jobs(self, run: Run) -> list[Job]:
        request = list_jobs(repository=run.repository, run_id=run.run_id)
        self._check_quota(request)
        return list(self._github.items(request, most=MOST_PAGES))

    def _check_quota(self, request: Request[Any]) -> None:
        left = self._github.quota_left(request)
        if left < KEPT_QUOTA:
            raise GitHubUnavailable(f"{left} requests are left of GitHub's quota: they are kept")
