"""The tasks that ECS itself has, whatever the table says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, is_refused_as

__all__ = ["NoClusterError", "described_tasks"]

_BATCH = 100  # the most that DescribeTasks takes


class NoClusterError(FleetError):
    """ECS knows no cluster of the fleet's name, or has deleted it."""


def described_tasks(deployment: Deployment) -> Iterator[Sequence[dict[str, Any]]]:
    """The fleet's tasks in its cluster as ECS describes them, at most 100 at a time.

    Others' tasks may be there too, if the cluster was there before the fleet. Those that ECS only
    remembers are among the fleet's; it forgets a stopped one after about an hour.

    Raises:
        NoClusterError: if there is no such cluster.
    """
    ecs, name = deployment.client("ecs"), deployment.cluster
    arns: list[str] = []
    for wanted in ("RUNNING", "STOPPED"):
        pages = ecs.get_paginator("list_tasks").paginate(cluster=name, desiredStatus=wanted)
        try:
            arns += [arn for page in pages for arn in page["taskArns"]]
        except ClientError as error:
            if is_refused_as(error, "ClusterNotFoundException"):
                raise NoClusterError(
                    f"there is no ECS cluster {name!r} here: check --region and --profile, "
                    "or name the fleet's stack with --stack"
                ) from error
            raise
    for first in range(0, len(arns), _BATCH):
        tasks = ecs.describe_tasks(cluster=name, tasks=arns[first : first + _BATCH])["tasks"]
        yield [task for task in tasks if _family(task).startswith(f"{deployment.task_family}-")]


def _family(task: Mapping[str, Any]) -> str:
    """The family of its task definition, with a dash behind it."""
    return f"{task['taskDefinitionArn'].rpartition('/')[2].partition(':')[0]}-"
