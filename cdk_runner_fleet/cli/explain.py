"""`runner-fleet explain`: why a job waits, or what became of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.errors import FleetError
from cdk_runner_fleet.cli.evidence import collect
from cdk_runner_fleet.cli.options import Output, OutputOption, Profile, Region, Stack
from cdk_runner_fleet.cli.output import line, print_json, print_table, say, time_text
from cdk_runner_fleet.cli.references import JobReference, read_reference
from cdk_runner_fleet.cli.timeline import Entry, Evidence, Verdict, judge, tell

__all__ = ["explain_job"]

_CHECKS = (
    "Did its webhook arrive? GitHub: Settings, Webhooks, Recent Deliveries; the job's queued event "
    "has to have the answer 202, and says why where it has 200.",
    "Does runs-on hold self-hosted, and the labels that the fleet requires (required_labels)?",
    "Is the job in a repository of this fleet, and is this the fleet's stack (--stack, --region)?",
    "Did the event fail? See `runner-fleet events list`.",
    "Reconciliation looks for queued jobs without a runner every few minutes: see the log of "
    "reconcile_demand.",
    "Was it over 30 days ago? Rows are kept no longer.",
)


def explain_job(
    job: Annotated[
        str, typer.Argument(metavar="JOB", help="The URL of the job's page, its id, or a runner's.")
    ],
    *,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputOption = Output.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
) -> None:
    """Say why a job waits, or what became of it: one timeline, the verdict and the remedy.

    Exits with 1 if the fleet does not know the job.
    """
    reference = read_reference(job)
    deployment = Deployment(stack=stack, profile=profile, region=region)
    evidence = collect(deployment, reference)
    verdict = judge(evidence) if evidence.rows else _unheard(reference, evidence)
    timeline = tell(evidence)
    if as_json or output is Output.JSON:
        _print_json(evidence, timeline, verdict)
    else:
        _print(evidence, timeline, verdict)
    if not evidence.rows:
        raise typer.Exit(1)


def _unheard(reference: JobReference, evidence: Evidence) -> Verdict:
    """The verdict on a job that no row tells of."""
    view = evidence.github
    if not reference.job_id:
        raise FleetError(
            f"there is no {reference} here: see `runner-fleet runners list` for those there are"
        )
    if view.get("status") == "completed":
        return Verdict(
            sentence=f"The fleet never had {reference}, which is over: {view['conclusion']}.",
            remedy="Nothing.",
        )
    if reason := view.get("left_alone"):
        labels = ", ".join(map(repr, view.get("labels") or ())) or "a group alone"
        return Verdict(
            sentence=f"The fleet leaves {reference} alone: {reason}.",
            remedy=f"Author: change runs-on, which is {labels}, if the job is this fleet's.",
        )
    return Verdict(
        sentence=f"The fleet has never heard of {reference}.",
        remedy="\n".join(f"- {check}" for check in _CHECKS),
    )


def _print_json(evidence: Evidence, timeline: list[Entry], verdict: Verdict) -> None:
    print_json(
        {
            "job_id": evidence.job_id,
            "runners": [row["runner_id"] for row in evidence.rows],
            "verdict": verdict.sentence,
            "remedy": verdict.remedy,
            "github": evidence.github,
            "unknown": evidence.unknown,
            "timeline": [asdict(entry) for entry in timeline],
        }
    )


def _print(evidence: Evidence, timeline: list[Entry], verdict: Verdict) -> None:
    if timeline:
        print_table(
            ("TIME", "FROM", "WHAT", "TOOK", "RUNNER"),
            (
                (
                    time_text(entry.at),
                    entry.source,
                    entry.what,
                    "" if entry.seconds is None else f"{entry.seconds:.1f} s",
                    entry.runner_id,
                )
                for entry in timeline
            ),
        )
    for title, lines in (
        ("github", [_view(evidence)] if evidence.github else []),
        ("unknown", evidence.unknown),
        ("verdict", [verdict.sentence]),
        ("remedy", verdict.remedy.split("\n")),
    ):
        if len(lines) == 1:
            say(line(f"{title}: ", style="bold"), lines[0])
        elif lines:
            say(line(title, style="bold"))
            for each in lines:
                say(each)


def _view(evidence: Evidence) -> str:
    view = evidence.github
    if "error" in view:
        return f"could not be asked: {view['error']}"
    labels = ", ".join(map(str, view.get("labels") or ()))
    status = view.get("conclusion") or view.get("status")
    runner = view.get("runner_name") or "no runner"
    return f"says {status}, {runner}, labels {labels}"
