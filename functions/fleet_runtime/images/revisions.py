"""Takes revisions of the fleet's own families away; only this asks ECS for it.

ECS knows no permission for it but one on all task definitions of the account (Service Authorization
Reference, ``DeregisterTaskDefinition``). So a function of its own has that one, which looks whose a
revision is; who builds images asks it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from fleet_runtime.aws.client import Client, client
from fleet_runtime.observability import logger


class NotOursError(Exception):
    """A revision is of no family of the fleet's."""


class RevisionNotRemovedError(Exception):
    """A revision could not be taken away just now."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Whose revisions may go.

    Attributes:
        family_prefix: What the names of the fleet's families begin with, whichever deployment made
            them.
    """

    family_prefix: str


@dataclass(frozen=True, kw_only=True)
class Revisions:
    """Takes revisions away.

    Attributes:
        ecs: An ECS client.
        family_prefix: What the names of their families begin with.
    """

    ecs: Client
    family_prefix: str

    @classmethod
    def of(cls, settings: Settings) -> Revisions:
        """Make it from the function's settings."""
        return cls(ecs=client("ecs"), family_prefix=settings.family_prefix)

    def deregister(self, revision: str) -> None:
        """Let no task be started with a revision any more.

        Args:
            revision: Its ARN.

        Raises:
            NotOursError: if it is of no family of the fleet's.
        """
        name = revision.rpartition(":task-definition/")[2]
        if not name.startswith(f"{self.family_prefix}-"):
            logger.error("a revision of somebody else's", revision=revision)
            raise NotOursError(f"{revision} is of no family of {self.family_prefix}-…")
        self.ecs.deregister_task_definition(taskDefinition=revision)


@dataclass(frozen=True, kw_only=True)
class RevisionRemover:
    """Has revisions taken away by the function that may.

    Attributes:
        functions: A Lambda client.
        function_name: The function.
    """

    functions: Client
    function_name: str

    def remove(self, revision: str) -> None:
        """Have a revision taken away.

        Args:
            revision: Its ARN.

        Raises:
            RevisionNotRemovedError: if it was not.
        """
        answer = self.functions.invoke(
            FunctionName=self.function_name, Payload=json.dumps({"revision": revision}).encode()
        )
        if "FunctionError" in answer:
            told = answer["Payload"].read().decode("utf-8", "replace")
            raise RevisionNotRemovedError(f"{revision} is still there: {told[:500]}")
