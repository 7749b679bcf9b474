"""The fleet's self-hosted runners at GitHub."""

from __future__ import annotations

from collections.abc import Sequence

from fleet_runtime.github import message as github
from fleet_runtime.github.client import GitHubAccess
from fleet_runtime.github.message import GitHubRefused, Job, RegisteredRunner, Registration

_MOST_PAGES = 100
"""10,000 runners are the most that a runner group takes ("Actions limits")."""


class GitHubRunners:
    """Registers, finds and removes runners.

    Every method raises GitHubUnavailable or GitHubRefused.
    """

    def __init__(self, access: GitHubAccess) -> None:
        self.access = access

    def job(self, job_id: int, *, repository: str) -> Job:
        """Look a workflow job up."""
        request = github.get_job(repository=repository, job_id=job_id)
        return github.read_job(self.access.send(request, repository=repository))

    def register(self, *, name: str, labels: Sequence[str]) -> Registration:
        """Register a runner just in time, in place of an idle one of the same name."""
        request = github.generate_jitconfig(
            scope=self.access.runners_path,
            name=name,
            labels=labels,
            runner_group_id=self.access.runner_group_id(),
        )
        response = self.access.send(request, repository=None)
        if response.status == 409 and self.remove(name=name, github_runner_id=None):
            raise GitHubRefused(f"a runner named {name} is busy with a job", status=409)
        if response.status == 409:
            response = self.access.send(request, repository=None)
        return github.read_registration(response)

    def find(self, github_runner_id: int) -> RegisteredRunner | None:
        """Look a runner up; None if GitHub does not know it, or lets nobody know that it does."""
        request = github.get_runner(
            scope=self.access.runners_path, github_runner_id=github_runner_id
        )
        return github.read_runner(self.access.send(request, repository=None))

    def remove(self, *, name: str, github_runner_id: int | None) -> bool:
        """Remove a runner, found by its name if its id is not known.

        Returns:
            Whether it is busy with a job, and so still there.
        """
        scope = self.access.runners_path
        if github_runner_id is None:
            request = github.find_runner(scope=scope, name=name)
            response = self.access.send(request, repository=None)
            github_runner_id = github.read_runner_id(response, name=name)
        if github_runner_id is None:
            return False
        request = github.delete_runner(scope=scope, github_runner_id=github_runner_id)
        return github.read_deletion(self.access.send(request, repository=None))

    def runners(self) -> list[RegisteredRunner]:
        """List all runners of the scope, the fleet's own and others."""
        found: list[RegisteredRunner] = []
        for page in range(1, _MOST_PAGES + 1):
            request = github.list_runners(scope=self.access.runners_path, page=page)
            listed = github.read_runners(self.access.send(request, repository=None))
            found.extend(listed)
            if len(listed) < github.PAGE_SIZE:
                break
        return found
