"""`runner-fleet runners`: the runners there are and were."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, explain, is_refused_as
from cdk_runner_fleet.cli.lifecycles import TERMINATE, mark, resume
from cdk_runner_fleet.cli.line import with_reasons
from cdk_runner_fleet.cli.options import Output, OutputOption, Profile, Region, Stack
from cdk_runner_fleet.cli.output import (
    age_text,
    print_json,
    print_table,
    say,
    status_text,
    time_text,
)
from cdk_runner_fleet.cli.rows import HEARD, Row, plain_row, public_row, runner_rows
from cdk_runner_fleet.runner_name import heartbeat_key

__all__ = ["runners"]

runners = typer.Typer(no_args_is_help=True, help="Runners: list, look at, terminate.")

RunnerId = Annotated[str, typer.Argument(metavar="ID", help="The runner's id, as listed.")]

_OVER = ("OFFLINE", "FAILED")
_TOKEN_TRIES = 5
_TOKEN_PAUSE_SECONDS = 0.4


@runners.command("list")
def list_runners(
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List every runner the table still knows, the newest first."""
    deployment = Deployment(stack=stack, profile=profile, region=region)
    known = sorted(_scan(deployment), key=lambda row: row.get("timestamp", 0), reverse=True)
    rows = _waiting(deployment, known)
    if output is Output.JSON:
        print_json(rows)
        return
    print_table(
        (
            "RUNNER",
            "STATUS",
            "HEARD",
            "CLASS",
            "IMAGE",
            "VERSION",
            "CAN DO",
            "JOB",
            "JOB STATUS",
            "CREATED",
            "ENDED",
            "WAITS FOR",
        ),
        (
            (
                row["runner_id"],
                status_text(row.get("status", "")),
                "" if row.get("status") in _OVER else _heard(row),
                f"{row.get('class_name', '')} {row.get('architecture', '')}".strip(),
                row.get("image_tag", ""),
                row.get("runner_version", ""),
                row.get("capabilities", "").replace(",", " "),
                row.get("job_name", ""),
                status_text(row.get("job_status", "")),
                time_text(row.get("timestamp")),
                time_text(row.get("ended_at")),
                _waits_for(row),
            )
            for row in rows
        ),
    )


@runners.command("details")
def show_runner(
    runner_id: RunnerId,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show everything the table knows about one runner."""
    deployment = Deployment(stack=stack, profile=profile, region=region)
    row = public_row(_get(deployment, runner_id)) | _last_heartbeat(deployment, runner_id)
    if output is Output.JSON:
        print_json(row)
        return
    print_table(
        ("ATTRIBUTE", "VALUE"),
        (
            (name, status_text(row[name]) if name == "status" else _cell(name, row[name]))
            for name in sorted(row)
        ),
    )


@runners.command("terminate")
def terminate_runner(
    runner_id: RunnerId,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop a runner, whatever it is doing; a job on it fails.

    The lifecycle does the work: it stops the task, takes the registration at GitHub away and
    records why. A runner that is over already is left as it is.
    """
    deployment = Deployment(stack=stack, profile=profile, region=region)
    row = _mark(deployment, runner_id)
    over = row["status"] in _OVER
    in_line = not over and _leave_line(deployment, row)
    if not over and not in_line:
        _resume(deployment, row)
    if output is Output.JSON:
        print_json({"runner_id": runner_id, "status": row["status"], "terminated": not over})
    elif over:
        say(f"{runner_id} is over already: {row['status']} {time_text(row.get('ended_at'))}")
    elif in_line:
        say(f"{runner_id} was in line; its job, if it is still queued, gets another runner")
    else:
        say(f"{runner_id} was {row['status']}, its lifecycle now stops it")


def _mark(deployment: Deployment, runner_id: str) -> Row:
    """Mark a runner that is to end; returns its row as it then stands, marked or over."""
    try:
        marked = mark(deployment, runner_id, TERMINATE)
    except ClientError as error:
        raise _no_table(error, deployment.runner_table) from error
    return marked or _get(deployment, runner_id)


def _leave_line(deployment: Deployment, row: Row) -> bool:
    """End a runner that waits for its turn, which has no lifecycle yet; False if it has one."""
    if row.get("waiting_for") != "turn":
        return False
    dynamodb = deployment.client("dynamodb")
    try:
        dynamodb.update_item(
            TableName=deployment.runner_table,
            Key={"runner_id": {"S": row["runner_id"]}},
            UpdateExpression="SET #status = :failed, #error = :error, cause = :cause,"
            " ended_at = :now, cost_usd = :nothing"
            " REMOVE live, place, waiting_for, waiting_reason, start_input",
            ConditionExpression="waiting_for = :turn",
            ExpressionAttributeNames={"#status": "status", "#error": "error"},
            ExpressionAttributeValues={
                ":failed": {"S": "FAILED"},
                ":error": {"S": TERMINATE.error},
                ":cause": {"S": TERMINATE.cause},
                ":now": {"N": str(int(time.time()))},
                ":nothing": {"N": "0"},
                ":turn": {"S": "turn"},
            },
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        # its turn came just now, and its lifecycle sees the mark
        return False
    return True


def _resume(deployment: Deployment, row: Row) -> None:
    """Fail the phase in which the lifecycle is parked."""
    for _ in range(_TOKEN_TRIES):
        if resume(deployment, row, TERMINATE):
            return
        time.sleep(_TOKEN_PAUSE_SECONDS)
        row = _get(deployment, row["runner_id"])


def _scan(deployment: Deployment) -> Iterator[Row]:
    table = deployment.runner_table
    try:
        pages = deployment.client("dynamodb").get_paginator("scan").paginate(TableName=table)
        yield from runner_rows(item for page in pages for item in page["Items"])
    except ClientError as error:
        raise _no_table(error, table) from error


def _waiting(deployment: Deployment, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows, those in line with why they wait now, or a word on why that is not known."""
    try:
        return with_reasons(deployment, rows)
    except (BotoCoreError, ClientError) as error:
        why = explain(error)
    except FleetError as error:
        why = str(error)
    say(f"why runners in line wait is as it was when they joined it: {why}", stderr=True)
    return rows


def _get(deployment: Deployment, runner_id: str) -> Row:
    table = deployment.runner_table
    try:
        answer = deployment.client("dynamodb").get_item(
            TableName=table, Key={"runner_id": {"S": runner_id}}, ConsistentRead=True
        )
    except ClientError as error:
        raise _no_table(error, table) from error
    if "Item" not in answer:
        raise FleetError(
            f"there is no runner {runner_id!r} in table {table}: "
            "see `runner-fleet runners list` for those there are"
        )
    return plain_row(answer["Item"])


def _last_heartbeat(deployment: Deployment, runner_id: str) -> Row:
    """When a runner was last heard of, and its load then; nothing if it never was."""
    answer = deployment.client("dynamodb").get_item(
        TableName=deployment.runner_table, Key={"runner_id": {"S": heartbeat_key(runner_id)}}
    )
    found = plain_row(answer.get("Item", {}))
    return {name: found[name] for name in HEARD if name in found}


def _no_table(error: ClientError, table: str) -> Exception:
    if is_refused_as(error, "ResourceNotFoundException"):
        return FleetError(
            f"there is no table {table!r} here: check --region and --profile, "
            "unset RUNNER_TABLE or name the fleet's stack with --stack"
        )
    unchanged: Exception = error
    return unchanged


def _heard(row: Row) -> str:
    """How long ago a runner sent a heartbeat, and its load then; nothing if it never did."""
    if "last_heartbeat" not in row:
        return ""
    load = f", load {row['load']}" if "load" in row else ""
    return f"{age_text(row['last_heartbeat'])}{load}"


def _waits_for(row: Row) -> str:
    """What a runner waits for that is none of its own doing: a turn, capacity, or its image."""
    phase = row.get("waiting_for", "")
    if row.get("status") == "IMAGE_CREATING":
        return f"image: {row.get('build_log_url', 'no log yet')}"
    if phase not in ("turn", "capacity"):
        return ""
    return f"{phase}: {row.get('waiting_reason', '')}"


def _cell(name: str, value: Any) -> str:
    if name == "last_heartbeat":
        return f"{value} ({time_text(value)}, {age_text(value)})"
    if isinstance(value, (int, float)) and (name.endswith("_at") or name == "timestamp"):
        return f"{value} ({time_text(value)})"
    return value if isinstance(value, str) else json.dumps(value)
