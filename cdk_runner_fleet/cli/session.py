"""What `runner-fleet local` does with a fleet; loaded only when the extra `[local]` is there."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import IO, Any

from cdk_runner_fleet.cli.output import new_console, print_json, say
from cdk_runner_fleet.cli.run_view import RunView, print_report
from cdk_runner_fleet.local.emulator.options import Images
from cdk_runner_fleet.local.errors import SettingsError
from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.report import run_report
from cdk_runner_fleet.local.twin.workflows import Workflow, WorkflowError, read_workflow
from cdk_runner_fleet.local.watch import RunWatch

__all__ = ["keep_up", "run_workflow"]

_POLL_SECONDS = 0.2
_SIGNAL_SECONDS = 0.5
_FAREWELL_SECONDS = 30.0


def keep_up(fleet: LocalFleet) -> None:
    """Start a fleet, say in one line of JSON where it is, and keep it until a signal comes."""
    with fleet:
        access = {
            "webhook_url": fleet.webhook_url,
            "aws_endpoint_url": fleet.endpoint_url,
            "region": fleet.region,
            "aws_access_key_id": fleet.access_key_id,
            "aws_secret_access_key": fleet.secret_access_key,
            "github_url": fleet.github_url,
            "webhook_secret": fleet.webhook_secret,
            "control_token": fleet.control_token,
            "outputs": fleet.outputs,
        }
        print_json(access, indent=None)
        # again and again: a signal that comes right before a wait does not end it
        while True:
            time.sleep(_SIGNAL_SECONDS)


def run_workflow(
    file: Path, *, context: dict[str, object], log: IO[bytes], images: Images
) -> dict[str, Any]:
    """Run a workflow file on a fleet of its own, show it, and return its report.

    Args:
        file: The workflow file.
        context: Settings of the fleet.
        log: Where the emulator's log goes.
        images: Whether jobs run in images, and what builds those.

    Raises:
        SettingsError: the file is none, or a setting cannot work.
        LocalFleetError: the fleet did not start.
    """
    workflow = _read(file)
    console = new_console()
    for warning in workflow.warnings:
        say(warning, style="yellow")
    say("starting the fleet on this machine …", style="dim")
    with LocalFleet(context=context, errors=log, images=images) as fleet:
        began = time.monotonic()
        watch = RunWatch(fleet, fleet.queue_run(workflow, file_name=file.name))
        with RunView(console, watch) as view:
            gone_by = math.inf
            while not watch.over and time.monotonic() < gone_by:
                view.show(watch.poll())
                if watch.jobs_over and gone_by == math.inf:
                    # their results stand; the runners get a moment to go, so that times are whole
                    gone_by = time.monotonic() + _FAREWELL_SECONDS
                time.sleep(_POLL_SECONDS)
        seconds = time.monotonic() - began
    jobs = watch.jobs.values()
    report = run_report(workflow=file.name, seconds=seconds, jobs=jobs, runners=watch.rows.values())
    print_report(report, jobs)
    return report


def _read(file: Path) -> Workflow:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}), name a workflow file") from error
    try:
        return read_workflow(text, file_name=file.name, find=partial(_find_called, file))
    except WorkflowError as error:
        raise SettingsError(str(error)) from error


def _find_called(file: Path, reference: str) -> str | None:
    """A workflow of the repository that a file is in, or else that this process is in."""
    for folder in (*file.resolve().parents, *(Path.cwd() / "any").parents):
        called = folder / reference
        if reference.startswith("./") and called.is_file():
            return called.read_text(encoding="utf-8")
    return None
