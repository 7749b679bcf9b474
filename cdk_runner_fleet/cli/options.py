"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cdk_runner_fleet.cli.deployment import DEFAULT_STACK

__all__ = ["Context", "Output", "OutputOption", "Profile", "Region", "Stack"]


class Output(StrEnum):
    """How a command prints what it found."""

    TABLE = "table"
    JSON = "json"


Stack = Annotated[
    str | None,
    typer.Option(
        help="Stack whose outputs name the fleet's parts. Default: RUNNER_TABLE and "
        f"CLASS_SIZES_PARAMS of the environment, then {DEFAULT_STACK}.",
        show_default=False,
    ),
]
Profile = Annotated[
    str | None, typer.Option("--profile", "-p", help="AWS profile.", show_default=False)
]
Region = Annotated[
    str | None, typer.Option("--region", "-r", help="AWS region.", show_default=False)
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="What to print.")]
Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        "-c",
        metavar="KEY=VALUE",
        help="A setting as in cdk.json; may be repeated.",
        show_default=False,
    ),
]
