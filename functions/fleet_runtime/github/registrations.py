"""The fleet's self-hosted runners at GitHub."""

from __future__ import annotations

from collections.abc import Sequence

from fleet_runtime.github import runners
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable
from fleet_runtime.github.runners import RegisteredRunner, Registration, Removal

_NAME_TAKEN_SECONDS = 2
"""Until a name that is taken is asked for again: how long GitHub keeps one is not known."""


class Registrations:
    """Registers, finds and removes runners.

    Every method raises GitHubUnavailable or GitHubRefused.

    Args:
        github: GitHub.
        runner_group: Name of the group that runners join. Default: GitHub's default group.
    """

    def __init__(self, github: GitHub, *, runner_group: str = "") -> None:
        self._github = github
        self._scope = github.scope.path
        self._runner_group = runner_group
        self._found_group_id: int | None = None

    def register(self, *, name: str, labels: Sequence[str]) -> Registration:
        """Register a runner just in time, in place of an idle one of the same name.

        A name may stay taken for a while: GitHub's lists are behind, and what it has removed it
        still knows by name. Who asks again later gets it, so that is GitHubUnavailable; only a
        runner that is busy is GitHubRefused.
        """
        request = runners.generate_jitconfig(
            scope=self._scope, name=name, labels=labels, runner_group_id=self._group_id()
        )
        try:
            return self._github.ask(request)
        except GitHubRefused as error:
            if error.status != 409:
                raise
            if self.remove(name=name, github_runner_id=None) is Removal.BUSY:
                raise GitHubRefused(
                    f"a runner named {name} is busy with a job", status=409
                ) from error
        try:
            return self._github.ask(request)
        except GitHubRefused as error:
            if error.status != 409:
                raise
            raise GitHubUnavailable(
                str(error), status=409, retry_after=_NAME_TAKEN_SECONDS
            ) from error

    def look_up(self, github_runner_id: int) -> RegisteredRunner | None:
        """Look a runner up; None if GitHub does not know it, or lets nobody know that it does."""
        return self._github.ask(
            runners.get_runner(scope=self._scope, github_runner_id=github_runner_id)
        )

    def remove(self, *, name: str, github_runner_id: int | None) -> Removal:
        """Remove a runner, found by its name if its id is not known."""
        if github_runner_id is None:
            found = self._github.ask(runners.find_runner(scope=self._scope, name=name))
            if found is None:
                return Removal.ABSENT
            github_runner_id = found.github_runner_id
        return self._github.ask(
            runners.delete_runner(scope=self._scope, github_runner_id=github_runner_id)
        )

    def all(self) -> list[RegisteredRunner]:
        """List all runners of the scope, the fleet's own and others."""
        return list(self._github.items(runners.list_runners(scope=self._scope)))

    def _group_id(self) -> int:
        """Return the id of the group that runners join; looked up once."""
        if not self._runner_group:
            return runners.DEFAULT_RUNNER_GROUP
        if self._found_group_id is None:
            self._found_group_id = self._find_group()
        return self._found_group_id

    def _find_group(self) -> int:
        for group in self._github.items(runners.list_runner_groups(scope=self._scope)):
            if group.name == self._runner_group:
                return group.group_id
        raise GitHubRefused(
            f"the {self._github.scope} has no runner group {self._runner_group!r}: make it there, "
            "or name another as runner_group",
            status=0,
        )
