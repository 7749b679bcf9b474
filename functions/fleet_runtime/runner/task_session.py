"""Who a task is, AWS says: the session of its role, which ECS names after the task.

Only the task is given the session's credentials, and nobody else may assume the role. So whatever
stands in an execution's history, in a task's overrides or on a row, its reader cannot be the task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SESSION = re.compile(
    r"arn:(?P<partition>[a-z-]+):sts::(?P<account>\d{12}):assumed-role/"
    r"(?P<role>[\w+=,.@-]+)/(?P<name>[\w+=,.@-]+)\Z",
    re.ASCII,
)
"""STS API reference, ``AssumedRoleUser``: the role by its name alone, without a path."""

_TASK = re.compile(
    r"arn:(?P<partition>[a-z-]+):ecs:[a-z0-9-]+:(?P<account>\d{12}):task/"
    r"(?:[\w-]+/)?(?P<task_id>[\w-]+)\Z",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class TaskSession:
    """A role's session. The name is the id of the task that it is of."""

    partition: str
    account: str
    role: str
    name: str

    @classmethod
    def of(cls, arn: str) -> TaskSession | None:
        """Read a caller's ARN; None if it is no role's session."""
        found = _SESSION.match(arn)
        return cls(**found.groupdict()) if found else None

    def is_of(self, task_arn: str) -> bool:
        """Whether it is this task's session, of this task's account."""
        task = _TASK.match(task_arn)
        return task is not None and (
            task["partition"],
            task["account"],
            task["task_id"],
        ) == (self.partition, self.account, self.name)


@dataclass(frozen=True, kw_only=True)
class TaskRoles:
    """Names of the roles that runners' tasks have.

    Attributes:
        task_role: The fleet's.
        class_task_roles: Those of classes that have one of their own, by the class's name.
    """

    task_role: str
    class_task_roles: Mapping[str, str]

    def __contains__(self, role: str) -> bool:
        """Whether it is a role of any task."""
        return role == self.task_role or role in self.class_task_roles.values()

    def may_be(self, role: str, *, of_class: str) -> bool:
        """Whether a task of this class may have it.

        The fleet's too: a class gets its role by a deployment, and its tasks may be older. A role
        that was brought says nothing of other classes' tasks, whoever else may assume it.
        """
        return role in (self.task_role, self.class_task_roles.get(of_class.lower()))
