"""`runner-fleet events`: events that could not be handled, and those that have been."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError, explain
from cdk_runner_fleet.cli.failed_events import FailedEvent, held_messages, read_message
from cdk_runner_fleet.cli.options import Output, OutputOption, Profile, Region, Stack
from cdk_runner_fleet.cli.output import print_json, print_table, say, time_text

__all__ = ["events"]

events = typer.Typer(
    no_args_is_help=True, help="Events: those that failed, and replays of those that did not."
)


@dataclass(frozen=True, kw_only=True)
class _Redriven:
    """What became of a failed event: empty `kept` if its function has it again."""

    event: FailedEvent
    kept: str = ""


@events.command("list")
def list_events(
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the events that could not be handled, and why; they stay where they are."""
    deployment = Deployment(stack=stack, profile=profile, region=region)
    sqs, queue_url = deployment.client("sqs"), deployment.failed_events_queue
    found: list[FailedEvent] = []
    try:
        for message in held_messages(sqs, queue_url):
            found.append(read_message(message))
    finally:
        _give_back(sqs, queue_url, found)
    found.sort(key=lambda event: event.sent_at)
    if output is Output.JSON:
        print_json([_document(event) for event in found])
        return
    print_table(
        ("FAILED", "EVENT", "FUNCTION", "WHY", "MESSAGE"),
        (
            (
                time_text(event.sent_at),
                event.about,
                _name(event.function),
                event.why,
                event.message_id,
            )
            for event in found
        ),
    )


@events.command("redrive")
def redrive_events(
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hand each failed event to its function again; exits with 1 if one could not be.

    A message is deleted only when Lambda has taken its event. One that fails again comes back.
    """
    deployment = Deployment(stack=stack, profile=profile, region=region)
    sqs, queue_url = deployment.client("sqs"), deployment.failed_events_queue
    results: list[_Redriven] = []
    left: list[FailedEvent] = []
    handed: list[tuple[str, Any]] = []
    try:
        for message in held_messages(sqs, queue_url):
            event = read_message(message)
            left.append(event)
            if (event.function, event.payload) in handed:
                continue  # it has failed again meanwhile: what is wrong is not mended yet
            handed.append((event.function, event.payload))
            kept = _invoke(deployment, event)
            if not kept:
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=event.receipt_handle)
                left.remove(event)
            results.append(_Redriven(event=event, kept=kept))
    finally:
        _give_back(sqs, queue_url, left)
    _report(results, output)
    if any(result.kept for result in results):
        raise typer.Exit(1)


@events.command("replay")
def replay_events(
    start: Annotated[
        str,
        typer.Option("--from", metavar="TIME", help="The first event, such as 2026-11-21T05:00."),
    ],
    *,
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="The last event.", show_default="now"),
    ] = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send the archived events of a span of time through the fleet once more.

    Harmless: whatever an event has done already it does not do again. The archive goes back three
    days, and no further may the span. Times without a zone are this machine's.
    """
    first, last = _time("--from", start), _time("--to", end) if end else datetime.now().astimezone()
    if first >= last:
        raise FleetError(f"--from {start} is not before --to {end or 'now'}", exit_code=2)
    deployment = Deployment(stack=stack, profile=profile, region=region)
    client = deployment.client("events")
    _check_kept(client, deployment.event_archive, first, start)
    name = f"runner-fleet-{uuid.uuid4().hex[:12]}"
    answer = client.start_replay(
        ReplayName=name,
        EventSourceArn=deployment.event_archive,
        EventStartTime=first,
        EventEndTime=last,
        Destination={"Arn": deployment.event_bus},
    )
    if output is Output.JSON:
        print_json({"replay": name, "state": answer["State"]})
        return
    say(
        f"replay {name} is {answer['State']}: see `aws events describe-replay --replay-name {name}`"
    )


def _invoke(deployment: Deployment, event: FailedEvent) -> str:
    """Hand an event to its function; returns why it was not, empty if it was."""
    if ":function:" not in event.function or event.payload is None:
        return "the message does not say which function it is for, or cannot be read"
    try:
        answer = deployment.client("lambda").invoke(
            FunctionName=event.function,
            InvocationType="Event",
            Payload=json.dumps(event.payload),
        )
    except (BotoCoreError, ClientError) as error:
        return explain(error)
    return "" if answer["StatusCode"] == 202 else f"Lambda answered {answer['StatusCode']}"


def _give_back(sqs: Any, queue_url: str, events: Iterable[FailedEvent]) -> None:
    """Let others see the messages at once; any that this misses they see in two minutes."""
    for event in events:
        sqs.change_message_visibility(
            QueueUrl=queue_url, ReceiptHandle=event.receipt_handle, VisibilityTimeout=0
        )


def _report(results: Sequence[_Redriven], output: Output) -> None:
    if output is Output.JSON:
        print_json(
            [
                _document(each.event) | {"redriven": not each.kept, "kept": each.kept}
                for each in results
            ]
        )
        return
    for each in results:
        done = f"kept: {each.kept}" if each.kept else f"handed to {_name(each.event.function)}"
        say(f"{each.event.about}: {done}")
    say(f"{sum(not each.kept for each in results)} of {len(results)} events redriven")


def _document(event: FailedEvent) -> dict[str, Any]:
    return {
        "message_id": event.message_id,
        "failed_at": event.sent_at,
        "about": event.about,
        "function": event.function,
        "why": event.why,
        "payload": event.payload,
    }


def _name(function_arn: str) -> str:
    """The function's name in its ARN, with or without a qualifier behind it."""
    return function_arn.partition(":function:")[2].partition(":")[0] or "unknown"


def _check_kept(client: Any, archive_arn: str, first: datetime, given: str) -> None:
    """Refuse a span that begins before the archive does: what is missing would not be told."""
    archive = client.describe_archive(ArchiveName=archive_arn.rpartition("/")[2])
    days = archive["RetentionDays"]
    oldest = datetime.now().astimezone() - timedelta(days=days)
    if days and first < oldest:
        raise FleetError(
            f"--from {given} is before the archive begins, which keeps {days} days: "
            f"use --from {oldest:%Y-%m-%dT%H:%M} or later",
            exit_code=2,
        )


def _time(option: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise FleetError(
            f"{option} {text!r} is no point in time, write it as 2026-11-21T05:00 or with a zone, "
            "2026-11-21T05:00+00:00",
            exit_code=2,
        ) from None
