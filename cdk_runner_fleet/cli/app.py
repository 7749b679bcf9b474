"""The command line's root: its commands, and how failures are told."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cdk_runner_fleet._terminal import shown_lines
from cdk_runner_fleet.cli.classes import list_class_sizes
from cdk_runner_fleet.cli.cluster import cluster
from cdk_runner_fleet.cli.errors import FleetError, explain
from cdk_runner_fleet.cli.events import events
from cdk_runner_fleet.cli.explain import explain_job
from cdk_runner_fleet.cli.local import local
from cdk_runner_fleet.cli.output import say_failure
from cdk_runner_fleet.cli.runners import runners

__all__ = ["run"]

_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="GitHub Actions runners on Fargate: see and steer a fleet, on AWS or on this machine.",
)
_app.add_typer(runners, name="runners")
_app.add_typer(cluster, name="cluster")
_app.add_typer(events, name="events")
_app.add_typer(local, name="local")
_app.command("list-class-sizes")(list_class_sizes)
_app.command("explain")(explain_job)


def run(arguments: Sequence[str] | None) -> None:
    """Run the command that ``arguments`` name, default those of the process, and exit."""
    try:
        _app(arguments, prog_name="runner-fleet")
    except FleetError as error:
        _fail(str(error), exit_code=error.exit_code)
    except (BotoCoreError, ClientError) as error:
        _fail(explain(error), exit_code=1)
    except KeyboardInterrupt:
        _fail("interrupted", exit_code=130)
    except Exception:
        # nobody foresaw it: it ends the process as it would have, by way of the terminal's filter
        sys.excepthook = _say_fault
        raise


def _fail(message: str, *, exit_code: int) -> None:
    say_failure(message)
    sys.exit(exit_code)


def _say_fault(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Python's own words on an error that nobody has foreseen; its message may be a stranger's."""
    sys.stderr.write(shown_lines("".join(traceback.format_exception(kind, error, trace))))
