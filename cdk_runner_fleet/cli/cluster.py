"""`runner-fleet cluster`: what ECS itself has, who holds a turn, and how a fleet comes to rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.drain import Drain, lift
from cdk_runner_fleet.cli.line import count_in_line, read_turns, spent_usd
from cdk_runner_fleet.cli.options import Output, OutputOption, Profile, Region, Stack
from cdk_runner_fleet.cli.output import print_json, print_table, say, status_text, time_text
from cdk_runner_fleet.cli.tasks import described_tasks

__all__ = ["cluster"]

cluster = typer.Typer(no_args_is_help=True, help="The ECS cluster that runners run on.")

_STYLED_AS = {"RUNNING": "RUNNING", "STOPPED": "OFFLINE"}  # the rest is on its way


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
                status_text(_STYLED_AS.get(task["status"], "STARTING"), word=task["status"]),
                task["runner_id"],
                task["class_name"],
                time_text(task["started_at"]),
                task["stopped_reason"],
            )
            for task in tasks
        ),
    )
    jobs = _many(turns["in_line"], "job")
    say(f"turns: {turns['used']} of {turns['limit']} in use, {jobs} in line")
    if turns["daily_budget_usd"] is not None:
        spent = f"{turns['spent_usd']:.2f} of {turns['daily_budget_usd']:.2f} USD"
        say(f"budget: {spent} spent today, UTC")
    if turns["drained_at"] is not None:
        since = time_text(turns["drained_at"])
        say(f"drained since {since}: no runner starts until `runner-fleet cluster resume`")


@cluster.command("drain")
def drain_cluster(
    *,
    terminate: Annotated[
        bool,
        typer.Option(
            "--terminate", help="End the runners that have a job, too, and image builds; jobs fail."
        ),
    ] = False,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring the fleet to rest, so that `cdk destroy` can delete it.

    No runner starts from now on: jobs wait in line. Runners without a job are released; those
    with one are waited for, as are image builds. Then the task definitions that the fleet made for
    images go. It may be cut off and run again, and `runner-fleet cluster resume` takes it back.
    """
    deployment = Deployment(stack=stack, profile=profile, region=region)
    drained = Drain(deployment, terminates=terminate, tell=_tell).run()
    if output is Output.JSON:
        print_json(drained)
        return
    say(
        f"drained: {_many(drained['runners_ended'], 'runner')} ended, "
        f"{_many(len(drained['families']), 'family', 'families')} of task definitions "
        "deregistered, nothing runs. Next: `cdk destroy`, or `runner-fleet cluster resume`"
    )


@cluster.command("resume")
def resume_cluster(
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a drained fleet start runners again; those in line start at the next reconciliation."""
    deployment = Deployment(stack=stack, profile=profile, region=region)
    was_drained = lift(deployment)
    if output is Output.JSON:
        print_json({"resumed": was_drained})
    elif was_drained:
        jobs = _many(count_in_line(deployment), "job")
        say(f"runners start again; {jobs} in line, served within reconcile_minutes")
    else:
        say("the fleet is not drained: runners start as ever")


def _tell(text: str) -> None:
    # the way is told on stderr, its end on stdout
    say(text, stderr=True)


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _turns(deployment: Deployment) -> dict[str, Any]:
    """Who holds a turn, how many wait for one, and what was spent today."""
    turns = read_turns(deployment)
    return {
        "used": turns.get("fleet", 0),
        "limit": deployment.max_runners,
        "in_line": count_in_line(deployment),
        "spent_usd": spent_usd(deployment, turns),
        "daily_budget_usd": deployment.daily_budget_usd,
        "drained_at": turns.get("drained_at"),
    }


def _tasks(deployment: Deployment) -> Iterator[dict[str, Any]]:
    for tasks in described_tasks(deployment):
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
