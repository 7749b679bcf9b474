"""The fleet's self-hosted runners at GitHub, each in the scope that it is registered for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet_runtime.github import runners
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable
from fleet_runtime.github.runners import (
    RegisteredRunner,
    Registration,
    Removal,
    RunnerGroup,
)
from fleet_runtime.job.labels import chosen_images
from fleet_runtime.job.scope import Scope

_NAME_TAKEN_SECONDS = 2
"""Until a name that is taken is asked for again: how long GitHub keeps one is not known."""


class Registrations:
    """Registers, finds and removes runners.

    Every method takes ``registered_for``, the scope of the runner as its row has it, for example
    ``repos/octo-org/octo-repo``; empty for what the fleet serves. Every one raises
    GitHubUnavailable or GitHubRefused.

    Args:
        github: GitHub.
        runner_group: Name of the group that runners join. Default: GitHub's default group.
        image_runner_group: The same for those whose job chose their image, for selected
            repositories. Default: none, so that no such runner is registered for more than one.
        class_runner_groups: Names of the groups of classes that have one of their own, by the
            class's name. Default: none has.
    """

    def __init__(
        self,
        github: GitHub,
        *,
        runner_group: str = "",
        image_runner_group: str = "",
        class_runner_groups: Mapping[str, str] | None = None,
    ) -> None:
        self._github = github
        self._runner_group = runner_group
        self._image_runner_group = image_runner_group
        self._class_runner_groups = class_runner_groups or {}
        self._found_group_ids: dict[str, int] = {}

    def register(
        self, *, name: str, labels: Sequence[str], registered_for: str, class_name: str = ""
    ) -> Registration:
        """Register a runner just in time, in place of an idle one of the same name.

        A name may stay taken for a while: GitHub's lists are behind, and what it has removed it
        still knows by name. Who asks again later gets it, so that is GitHubUnavailable; only a
        runner that is busy is GitHubRefused.
        """
        scope = self._github.scope.registered(registered_for)
        request = runners.generate_jitconfig(
            scope=scope.path,
            name=name,
            labels=labels,
            runner_group_id=self._group_id(scope, labels, class_name),
        )
        try:
            return self._github.ask(request)
        except GitHubRefused as error:
            if error.status != 409:
                raise
            removal = self.remove(name=name, github_runner_id=None, registered_for=registered_for)
            if removal is Removal.BUSY:
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

    def look_up(self, github_runner_id: int, *, registered_for: str) -> RegisteredRunner | None:
        """Look a runner up; None if GitHub does not know it, or lets nobody know that it does."""
        scope = self._github.scope.registered(registered_for)
        return self._github.ask(
            runners.get_runner(scope=scope.path, github_runner_id=github_runner_id)
        )

    def remove(self, *, name: str, github_runner_id: int | None, registered_for: str) -> Removal:
        """Remove a runner, found by its name if its id is not known."""
        scope = self._github.scope.registered(registered_for)
        if github_runner_id is None:
            found = self._github.ask(runners.find_runner(scope=scope.path, name=name))
            if found is None:
                return Removal.ABSENT
            github_runner_id = found.github_runner_id
        return self._github.ask(
            runners.delete_runner(scope=scope.path, github_runner_id=github_runner_id)
        )

    def all(self, *, registered_for: str) -> list[RegisteredRunner]:
        """List all runners of the scope, the fleet's own and others."""
        scope = self._github.scope.registered(registered_for)
        return list(self._github.items(runners.list_runners(scope=scope.path)))

    def _group_id(self, scope: Scope, labels: Sequence[str], class_name: str) -> int:
        """Return the id of the group that a runner joins; looked up once."""
        has_chosen = bool(chosen_images(labels))
        of_class = self._class_runner_groups.get(class_name.lower(), "")
        if of_class and (has_chosen or not scope.has_groups):
            # the deployment refuses both; the catalog was edited, or the job is older
            raise GitHubRefused(
                f"runners of class {class_name} are for the repositories of runner group "
                f"{of_class!r} alone, and this one "
                + (
                    "would be in an image that its job chose: take image: out of runs-on"
                    if has_chosen
                    else f"was to be registered for {scope}, which has no groups: run the job again"
                ),
                status=0,
            )
        if not scope.has_groups:
            return runners.DEFAULT_RUNNER_GROUP
        if has_chosen and not self._image_runner_group:
            # it was asked for while the fleet was deployed otherwise
            raise GitHubRefused(
                "a runner in an image that its job chose would get other repositories' jobs: "
                "deploy with register_for repository, or with an image_runner_group",
                status=0,
            )
        name = self._image_runner_group if has_chosen else of_class or self._runner_group
        if not name:
            return runners.DEFAULT_RUNNER_GROUP
        if has_chosen:
            # asked for each time: somebody may have let all repositories use it since
            group = self._find_group(name, scope=scope)
            if not group.is_limited:
                raise GitHubRefused(
                    f"every repository of the {scope} may use runner group {name!r}: let it be for "
                    "selected repositories, those that may choose images",
                    status=0,
                )
            return group.group_id
        if name not in self._found_group_ids:
            self._found_group_ids[name] = self._find_group(name, scope=scope).group_id
        return self._found_group_ids[name]

    def _find_group(self, name: str, *, scope: Scope) -> RunnerGroup:
        for group in self._github.items(runners.list_runner_groups(scope=scope.path)):
            if group.name == name:
                return group
        settings = {
            **dict.fromkeys(self._class_runner_groups.values(), "runner_group of the class"),
            self._runner_group: "runner_group",
            self._image_runner_group: "image_runner_group",
        }
        raise GitHubRefused(
            f"the {scope} has no runner group {name!r}: make it there, or name another as "
            f"{settings[name]}",
            status=0,
        )
