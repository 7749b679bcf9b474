"""Where a job's runner is registered, and so whose jobs GitHub may give it. Pure.

GitHub gives a job to any runner of its scope that has the job's labels, and perhaps more. So a
runner in an image that one author chose serves whoever else may use it.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.job.scope import Scope

_REPOSITORY = "repository"
_REGISTER_FOR = ("", _REPOSITORY)


@dataclass(frozen=True, kw_only=True)
class RunnerScopes:
    """Where runners are registered.

    Attributes:
        github_scope: What the fleet serves.
        register_for: ``repository`` if each runner is registered for the repository of the job that
            it is started for; empty if for what the fleet serves.
        image_runner_group: Name of the group of the runners whose job chose their image; empty if
            they have none of their own.
    """

    github_scope: Scope
    register_for: str = ""
    image_runner_group: str = ""

    def __post_init__(self) -> None:
        """Check the mode: another one would register runners where nobody expects them."""
        if self.register_for not in _REGISTER_FOR:
            raise ValueError(f"register_for is {self.register_for!r}, use repository or nothing")

    def of(self, repository: str) -> Scope:
        """Where a runner for a job of this repository, ``owner/name``, is registered."""
        if self.is_by_repository:
            return Scope(kind="repos", name=repository)
        return self.github_scope

    def waiting_key(self, waiting_labels: str, *, scope: Scope) -> str:
        """Return what is equal for two runners exactly if either may have the other's job.

        Args:
            waiting_labels: A runner's labels, or a job's.
            scope: Where it is registered, or would be.
        """
        if scope == self.github_scope:
            return waiting_labels
        return f"{scope.text.lower()} {waiting_labels}"

    @property
    def is_by_repository(self) -> bool:
        """Whether runners are registered for one repository each, of many."""
        return self.register_for == _REPOSITORY and self.github_scope.has_groups

    @property
    def shares_images(self) -> bool:
        """Whether the runner of a job that chose its image may get other repositories' jobs."""
        is_shared = self.github_scope.has_groups and not self.is_by_repository
        return is_shared and not self.image_runner_group
