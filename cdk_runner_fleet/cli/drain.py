"""A fleet brought to rest: nothing starts, what runs ends, and what the fleet has made goes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, is_refused_as
from cdk_runner_fleet.cli.lifecycles import RELEASE, TERMINATE, mark, resume
from cdk_runner_fleet.cli.line import read_turns
from cdk_runner_fleet.cli.rows import Row, plain_row
from cdk_runner_fleet.cli.tasks import NoClusterError, described_tasks

__all__ = ["Drain", "lift"]

_LOOK_SECONDS = 5
"""From one look to the next: tasks take half a minute to stop, jobs take minutes."""
_TURNS, _BUILDS = ({"entry": {"S": name}} for name in ("turns", "builds"))
"""The ledger's entries by which runners start and images are built."""
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class _Left:
    """What is not at rest yet."""

    runners: frozenset[str]
    turns: int
    tasks: tuple[str, ...]
    builds: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.runners or self.turns > 0 or self.tasks or self.builds)

    def __str__(self) -> str:
        parts = []
        if self.runners:
            named = sorted(self.runners)[:_MOST_NAMED]
            more = f" and {len(self.runners) - len(named)} more" if self.runners != {*named} else ""
            parts.append(f"{len(self.runners)} runners ({', '.join(named)}{more})")
        elif self.turns > 0:
            parts.append(f"{self.turns} turns that have not come back")
        if self.tasks:
            parts.append(f"{len(self.tasks)} tasks")
        if self.builds:
            parts.append(f"{len(self.builds)} image builds")
        return ", ".join(parts)


@dataclass(kw_only=True)
class _Seen:
    """What was told last, and who was ever seen."""

    told: str = ""
    runners: set[str] = field(default_factory=set)


class Drain:
    """Drains a fleet. Whatever it is cut off at, another one goes on from there.

    Args:
        deployment: The fleet.
        terminates: Whether runners with a job and builds are ended, not waited for.
        tell: Says what is going on, a line each time that it changes.
    """

    def __init__(
        self, deployment: Deployment, *, terminates: bool, tell: Callable[[str], None]
    ) -> None:
        self._deployment = deployment
        self._terminates = terminates
        self._tell = tell
        self._seen = _Seen()

    def run(self) -> dict[str, Any]:
        """Drain the fleet, and wait until it is.

        Returns:
            Since when no runner starts (None if the stack is half deleted), how many runners were
            seen that have ended, and the families that were taken away.

        Raises:
            FleetError: if the stack is half deleted, and tasks run that nobody but ECS knows.
        """
        if self._deployment.is_half_deleted:
            self._tell("the stack is half deleted: there is nothing left but tasks and families")
            since, end = None, self._end_strays
        else:
            since, end = self._hold(), self._end
        while left := end():
            if str(left) != self._seen.told:
                self._seen.told = str(left)
                self._tell(f"waiting for {left}")
            time.sleep(_LOOK_SECONDS)
        return {
            "drained_at": since,
            "runners_ended": len(self._seen.runners),
            "families": list(self._take_families_away()),
        }

    def _hold(self) -> int:
        """Let no runner start any more, and no image be built anew; returns since when."""
        since = int(time.time())
        for entry in (_TURNS, _BUILDS):
            answer = self._dynamodb.update_item(
                TableName=self._deployment.ledger_table,
                Key=entry,
                UpdateExpression="SET drained_at = if_not_exists(drained_at, :since)",
                ExpressionAttributeValues={":since": {"N": str(since)}},
                ReturnValues="ALL_NEW",
            )
            since = plain_row(answer["Attributes"])["drained_at"]
        self._tell("no runner starts from now on, until `runner-fleet cluster resume`")
        return since

    def _end(self) -> _Left:
        """Release or end what lives; returns what is left."""
        # turns come back last and are taken first: whoever is to have a row holds one already
        turns = read_turns(self._deployment).get("fleet", 0)
        runners = set(self._live())
        self._seen.runners |= runners
        for runner_id in sorted(runners):
            word = TERMINATE if self._terminates else RELEASE
            row = mark(self._deployment, runner_id, word)
            if row:
                # a wait that has just begun gets its word at the next look
                resume(self._deployment, row, word)
        return _Left(
            runners=frozenset(runners),
            turns=turns,
            tasks=tuple(task["taskArn"] for task in self._tasks()),
            builds=tuple(self._builds()),
        )

    def _end_strays(self) -> _Left:
        """Stop the tasks that a half deleted stack has left; returns what is left."""
        try:
            tasks = list(self._tasks())
        except NoClusterError:
            # what is left of the stack is something else
            tasks = []
        running = [task["taskArn"] for task in tasks if task["desiredStatus"] == "RUNNING"]
        if running and not self._terminates:
            raise FleetError(
                f"{len(running)} tasks run on, and what would end them is deleted: stop them with "
                "`runner-fleet cluster drain --terminate`, then delete the stack again"
            )
        for task_arn in running:
            self._deployment.client("ecs").stop_task(
                cluster=self._deployment.cluster, task=task_arn, reason=TERMINATE.cause
            )
        self._seen.runners.update(task.get("startedBy", task["taskArn"]) for task in tasks)
        return _Left(
            runners=frozenset(), turns=0, tasks=tuple(one["taskArn"] for one in tasks), builds=()
        )

    def _live(self) -> Iterator[str]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._deployment.runner_table,
            IndexName="live-index",
            KeyConditionExpression="live = :started",
            ExpressionAttributeValues={":started": {"S": "started"}},
        )
        yield from (item["runner_id"]["S"] for page in pages for item in page["Items"])

    def _tasks(self) -> Iterator[dict[str, Any]]:
        """The tasks that have not stopped: until then they hold the cluster and its network."""
        for tasks in described_tasks(self._deployment):
            yield from (task for task in tasks if task["lastStatus"] != "STOPPED")

    def _builds(self) -> Iterator[str]:
        """The images that are being built: the end of a build makes a family."""
        answer = self._dynamodb.get_item(
            TableName=self._deployment.ledger_table,
            Key=_BUILDS,
            ConsistentRead=True,
        )
        entry: Row = plain_row(answer.get("Item", {}))
        for turn in json.loads(entry.get("queue", '{"held": []}'))["held"]:
            # a turn whose time is up is of a build whose end nobody has heard of
            if turn["until"] > time.time():
                if self._terminates and turn["build_id"]:
                    # a turn has the ARN, and StopBuild takes the ID
                    _, _, build_id = turn["build_id"].rpartition("build/")
                    self._deployment.client("codebuild").stop_build(id=build_id)
                yield turn["tag"]

    def _take_families_away(self) -> Iterator[str]:
        """Deregister the definitions that were made for images; CloudFormation has the others."""
        ecs, family = self._deployment.client("ecs"), self._deployment.task_family
        pages = ecs.get_paginator("list_task_definition_families").paginate(
            familyPrefix=f"{family}-", status="ACTIVE"
        )
        # behind the base's name its revision, then the image's: see RunnerCluster.task_family
        made = re.compile(rf"{re.escape(family)}-\d+-")
        for name in [one for page in pages for one in page["families"] if made.match(one)]:
            listed = ecs.get_paginator("list_task_definitions").paginate(
                familyPrefix=name, status="ACTIVE"
            )
            revisions = [one for page in listed for one in page["taskDefinitionArns"]]
            for revision in revisions:
                self._deregister(revision)
            if revisions:
                yield name

    def _deregister(self, revision: str) -> None:
        while True:
            try:
                self._deployment.client("ecs").deregister_task_definition(taskDefinition=revision)
            except ClientError as error:
                # ECS takes about one a second
                if not is_refused_as(error, "ThrottlingException"):
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                return

    @cached_property
    def _dynamodb(self) -> Any:
        return self._deployment.client("dynamodb")


def lift(deployment: Deployment) -> bool:
    """Let a drained fleet start runners again; returns whether it was drained."""
    # who is cut off in between has not lifted it, and says so when asked
    for entry in (_BUILDS, _TURNS):
        answer = deployment.client("dynamodb").update_item(
            TableName=deployment.ledger_table,
            Key=entry,
            UpdateExpression="REMOVE drained_at",
            ReturnValues="ALL_OLD",
        )
    return "drained_at" in answer.get("Attributes", {})
