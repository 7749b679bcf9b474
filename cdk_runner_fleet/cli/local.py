"""`runner-fleet local`: the whole fleet on this machine, for as long as the command runs."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import IO, Annotated, Literal

import typer

from cdk_runner_fleet.cli.errors import FleetError
from cdk_runner_fleet.cli.options import Context
from cdk_runner_fleet.local.errors import LocalFleetError, SettingsError

__all__ = ["local"]

local = typer.Typer(
    no_args_is_help=True, help="The fleet on this machine: emulated AWS, no account needed."
)

_LOG_CHARACTERS = 4000
_INTERRUPTED = 130
_EXTRA = ("ministack", "moto", "jsonata", "awslambdaric", "yaml")

ImagesOption = Annotated[
    Literal["none", "buildah"],
    typer.Option(
        help="buildah: build the images that jobs ask for, and run jobs in them; "
        "none: run them on this machine as it is."
    ),
]
WorkflowFile = Annotated[Path, typer.Argument(metavar="FILE", help="A workflow file.")]


class _Stopped(BaseException):
    """SIGINT or SIGTERM has come."""


@local.command("up")
def keep_up(
    port: Annotated[int, typer.Option(help="Port of emulated AWS; 0 picks a free one.")] = 0,
    github_url: Annotated[
        str | None,
        typer.Option(help="REST API of a server to take for GitHub.", show_default=False),
    ] = None,
    webhook_secret_file: Annotated[
        Path | None,
        # no value of its own: every user of a machine may read command lines
        typer.Option(
            help="A file with what deliveries are signed with.",
            show_default="a random one",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    images: ImagesOption = "none",
    context: Context = None,
) -> None:
    """Keep a fleet up until SIGINT or SIGTERM; print one JSON line when it is ready."""
    settings = _settings(context)
    secret = webhook_secret_file.read_text("utf-8").strip() if webhook_secret_file else None
    with suppress(_Stopped), _stop_signals(), _explained():
        from cdk_runner_fleet.cli import session  # noqa: PLC0415 - needs the extra
        from cdk_runner_fleet.local.fleet import LocalFleet  # noqa: PLC0415

        session.keep_up(
            LocalFleet(
                context=settings,
                port=port,
                github_url=github_url,
                webhook_secret=secret,
                images=images,
            )
        )


@local.command("run")
def run_workflow(
    file: WorkflowFile,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a JSON report here.", dir_okay=False, show_default=False),
    ] = None,
    images: ImagesOption = "none",
    context: Context = None,
) -> None:
    """Run a workflow file on a fleet of its own; exit 0 if every job succeeded.

    The steps run on this machine, as you, in a folder of their own: run only workflows you trust.
    """
    settings = _settings(context)
    if report is not None and not report.parent.is_dir():
        raise FleetError(f"--report {report}: there is no folder {report.parent}", exit_code=2)
    try:
        with tempfile.TemporaryFile() as log, _stop_signals(), _explained(log):
            from cdk_runner_fleet.cli import session  # noqa: PLC0415 - needs the extra

            found = session.run_workflow(file, context=settings, log=log, images=images)
            if report is not None:
                report.write_text(json.dumps(found, indent=2) + "\n")
    except _Stopped:
        raise FleetError("interrupted, everything is stopped", exit_code=_INTERRUPTED) from None
    raise typer.Exit(0 if found["conclusion"] == "success" else 1)


def _settings(given: Sequence[str] | None) -> dict[str, object]:
    """Settings of `-c key=value`; the last one of a key counts, as with cdk."""
    settings: dict[str, object] = {}
    for each in given or []:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise FleetError(f"-c {each!r} is no setting, write it as key=value", exit_code=2)
        settings[key] = value
    return settings


@contextmanager
def _stop_signals() -> Iterator[None]:
    """The first SIGINT or SIGTERM raises _Stopped; from then on both do nothing."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise _Stopped

    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _explained(log: IO[bytes] | None = None) -> Iterator[None]:
    """What goes wrong in here is told without a traceback, with the end of the emulator's log."""
    missing = [module for module in _EXTRA if find_spec(module) is None]
    if missing:
        raise FleetError(
            f"{', '.join(missing)} not installed: "
            "the local fleet needs `pip install 'cdk-runner-fleet[local]'`"
        )
    try:
        yield
    except SettingsError as error:
        raise FleetError(str(error), exit_code=2) from error
    except LocalFleetError as error:
        raise FleetError("\n".join(filter(None, (str(error), _end_of(log))))) from error


def _end_of(log: IO[bytes] | None) -> str:
    if log is None:
        return ""
    log.seek(0)
    return log.read().decode(errors="replace")[-_LOG_CHARACTERS:]
