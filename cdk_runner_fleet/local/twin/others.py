"""Other people's runners: machines that are there all the time, and another fleet's.

They take jobs as the fleet's own do, by their labels alone, and pass them without running a step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import Any

from cdk_runner_fleet.local.twin.board import Board
from cdk_runner_fleet.local.twin.records import Runner

__all__ = ["add_runner"]


def add_runner(
    board: Board, *, name: str, labels: Iterable[str], scope: str, seconds: float = 0.0
) -> Runner:
    """Registers a runner of somebody else's, which is online at once and again after each job.

    Args:
        board: where jobs are.
        name: its name.
        labels: its labels.
        scope: path of the repository, organization or enterprise that it is registered for.
        seconds: what a job takes on it.

    Raises:
        NameTakenError: there is one of that name.
    """
    with board.lock:
        runner = board.register(name=name, labels=labels, is_ephemeral=False)
        runner.scope = scope
        board.connect(runner.id, token=runner.token, send=partial(_do, board, runner, seconds))
        return runner


def _do(board: Board, runner: Runner, seconds: float, message: dict[str, Any]) -> None:
    if message["type"] == "job":
        board.started(runner)
        timer = threading.Timer(seconds, _end, [board, runner, "success"])
        timer.daemon = True
        timer.start()
    elif message["type"] == "cancel":
        _end(board, runner, "cancelled")


def _end(board: Board, runner: Runner, conclusion: str) -> None:
    board.completed(runner, {"conclusion": conclusion, "outputs": {}, "steps": []})
