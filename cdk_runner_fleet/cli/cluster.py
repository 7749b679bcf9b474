"""`runner-fleet cluster`: what ECS itself has, whatever the table says, and who holds a turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from botocore.exceptions import ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, is_refused_as
from cdk_runner_fleet.cli.line import count_in_line, read_turns
from cdk_runner_fleet.cli.options import Output, OutputOption, Profile, Region, Stack
from cdk_runner_fleet.cli.output import print_json, print_table, status_text, time_text

__all__ = ["cluster"]

cluster = typer.Typer(no_args_is_help=True, help="The ECS cluster that runners run on.")

_STYLED_AS = {"RUNNING": "RUNNING", "STOPPED": "OFFLINE"}  # the rest is on its way

_BATCH = 100  # the most that DescribeTasks and BatchGetItem take


@cluster.callback()
def _group() -> None:
    # without a callback typer would fold the only command into its group
    pass


@cluster.command("status")
def show_cluster(
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the cluster's tasks, also those that ECS only remembers, and how many turns are left."""
    deployment = Deployment(stack=stack, profile=profile, region=region)
    tasks, turns = list(_tasks(deployment)), _turns(deployment)
    if output is Output.JSON:
        print_json({"tasks": tasks, "turns": turns})
        return
    print_table(
        ("TASK", "STATUS", "RUNNER", "CLASS", "STARTED", "STOPPED REASON"),
        (
            (
                task["task_arn"].rsplit("/", 1)[-1],
                status_text(_STYLED_AS.get(task["status"], "STARTING"), shown=task["status"]),
                task["runner_id"],
                task["class_name"],
                time_text(task["started_at"]),
                task["stopped_reason"],
            )
            for task in tasks
        ),
    )
    jobs = "1 job" if turns["in_line"] == 1 else f"{turns['in_line']} jobs"
    typer.echo(f"turns: {turns['used']} of {turns['limit']} in use, {jobs} in line")
    if turns["daily_budget_usd"] is not None:
        spent = f"{turns['spent_usd']:.2f} of {turns['daily_budget_usd']:.2f} USD"
        typer.echo(f"budget: {spent} spent today, UTC")


def _turns(deployment: Deployment) -> dict[str, Any]:
    """Who holds a turn, how many wait for one, and what was spent today."""
    turns = read_turns(deployment)
    today = datetime.now(UTC).date().isoformat()
    return {
        "used": turns.get("fleet", 0),
        "limit": deployment.max_runners,
        "in_line": count_in_line(deployment),
        "spent_usd": turns.get(f"spent:{today}", 0),
        "daily_budget_usd": deployment.daily_budget_usd,
    }


def _tasks(deployment: Deployment) -> Iterator[dict[str, Any]]:
    ecs, name = deployment.client("ecs"), deployment.cluster
    arns: list[str] = []
    for wanted in ("RUNNING", "STOPPED"):
        pages = ecs.get_paginator("list_tasks").paginate(cluster=name, desiredStatus=wanted)
        try:
            arns += [arn for page in pages for arn in page["taskArns"]]
        except ClientError as error:
            if is_refused_as(error, "ClusterNotFoundException"):
                raise FleetError(
                    f"there is no ECS cluster {name!r} here: check --region and --profile, "
                    "or name the fleet's stack with --stack"
                ) from error
            raise
    for first in range(0, len(arns), _BATCH):
        batch = arns[first : first + _BATCH]
        tasks = ecs.describe_tasks(cluster=name, tasks=batch)["tasks"]
        classes = _class_names(deployment, [task.get("startedBy", "") for task in tasks])
        yield from (_task(task, classes) for task in tasks)


def _task(task: dict[str, Any], classes: dict[str, str]) -> dict[str, Any]:
    runner_id = task.get("startedBy", "")
    return {
        "task_arn": task["taskArn"],
        "status": task["lastStatus"],
        "runner_id": runner_id,
        "class_name": classes.get(runner_id, ""),
        "started_at": int(task["startedAt"].timestamp()) if task.get("startedAt") else None,
        "stopped_reason": task.get("stoppedReason", ""),
    }


def _class_names(deployment: Deployment, runner_ids: Sequence[str]) -> dict[str, str]:
    """The class of each of at most 100 runners that the table knows."""
    keys = [{"runner_id": {"S": each}} for each in sorted(set(runner_ids) - {""})]
    table, found = deployment.runner_table, {}
    request = {table: {"Keys": keys, "ProjectionExpression": "runner_id, class_name"}}
    while keys and request:
        answer = deployment.client("dynamodb").batch_get_item(RequestItems=request)
        for item in answer["Responses"].get(table, []):
            found[item["runner_id"]["S"]] = item.get("class_name", {"S": ""})["S"]
        request = answer.get("UnprocessedKeys", {})
    return found
