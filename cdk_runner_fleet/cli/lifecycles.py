"""What a runner's lifecycle is told from outside: that it is not wanted, or that it has to end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from botocore.exceptions import ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import is_refused_as
from cdk_runner_fleet.cli.rows import Row, plain_row

__all__ = ["RELEASE", "TERMINATE", "Word", "mark", "resume"]

_TOKEN_IS_OLD = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word to a lifecycle: the mark that it leaves on the row, and what it ends a wait with.

    Attributes:
        error: The name of the error that ends the wait.
        cause: Why, for people.
        marks: Attributes that get the time. A lifecycle that is not parked sees them when it parks.
        phases: The waits that it ends; none for all.
        condition: What has to hold of the row.
    """

    error: str
    cause: str
    marks: tuple[str, ...]
    phases: tuple[str, ...] = ()
    condition: str = "attribute_exists(runner_id)"


RELEASE = Word(
    error="Runner.Released",
    cause="the fleet is drained",
    marks=("released_at",),
    # as the functions release, in fleet_runtime/runner/signals.py
    phases=("capacity", "image", "runner", "job"),
    condition="attribute_exists(runner_id) AND attribute_not_exists(started_at)",
)
"""A runner is not wanted any more. One that has a job keeps it."""

TERMINATE = Word(
    error="Runner.Terminated",
    cause="terminated with `runner-fleet`",
    marks=("released_at", "terminated_at"),
)
"""A runner has to end, whatever it is doing."""


def mark(deployment: Deployment, runner_id: str, word: Word) -> Row | None:
    """Mark a runner, unless it is over or the word is not for it; returns its row as it then is."""
    try:
        answer = deployment.client("dynamodb").update_item(
            TableName=deployment.runner_table,
            Key={"runner_id": {"S": runner_id}},
            UpdateExpression="SET "
            + ", ".join(f"{name} = if_not_exists({name}, :now)" for name in word.marks),
            ConditionExpression=f"{word.condition} AND NOT #status IN (:offline, :failed)",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={
                ":now": {"N": str(int(time.time()))},
                ":offline": {"S": "OFFLINE"},
                ":failed": {"S": "FAILED"},
            },
            ReturnValues="ALL_NEW",
        )
    except ClientError as error:
        if is_refused_as(error, "ConditionalCheckFailedException"):
            return None
        raise
    return plain_row(answer["Attributes"])


def resume(deployment: Deployment, row: Row, word: Word) -> bool:
    """End the wait in which a lifecycle is parked, if it is parked in one that the word ends.

    Returns:
        False if the token was of a wait that has just ended. The next one parks with a token of its
        own, or its lifecycle sees the mark.
    """
    if "task_token" not in row or (word.phases and row.get("waiting_for") not in word.phases):
        return True
    try:
        deployment.client("stepfunctions").send_task_failure(
            taskToken=row["task_token"], error=word.error, cause=word.cause
        )
    except ClientError as error:
        if not is_refused_as(error, *_TOKEN_IS_OLD):
            raise
        return False
    return True
