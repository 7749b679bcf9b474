"""A runner's name: at GitHub, as its row's key and as its execution's name. Standard library alone.

A job's own runner is ``<prefix>-<job id>-<attempt>``, the same however often it is asked for. One
that follows it, because GitHub gave it another job or because it came to nothing, is ``…-r1``, the
next ``…-r2``. The command line runs this file too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

MOST_FOLLOWED = 50
"""Names of one job that are looked at. Only runners that other jobs took make it so many."""

_HEARTBEAT = "heartbeat/"
_NAME = re.compile(
    r"(?P<prefix>[^/]+)-(?P<job_id>[0-9]+)-(?P<attempt>[0-9]+)(?:-r(?P<number>[0-9]+))?"
)


class JobAttempt(Protocol):
    """A job, as far as its runner is named after it."""

    @property
    def job_id(self) -> int:
        """GitHub's id of the job."""

    @property
    def run_attempt(self) -> int:
        """Which attempt of the run it is in."""


class RunnerName(NamedTuple):
    """A runner's name, taken apart.

    Attributes:
        prefix: What all runners of the fleet begin with.
        job_id: GitHub's id of the job that it was started for.
        attempt: Which attempt of the run that job is in.
        number: Which of those that follow the job's own runner it is; 0 for its own.
    """

    prefix: str
    job_id: int
    attempt: int
    number: int = 0

    def __str__(self) -> str:
        own = f"{self.prefix}-{self.job_id}-{self.attempt}"
        return f"{own}-r{self.number}" if self.number else own


def read_name(text: str) -> RunnerName | None:
    """Take a runner's name apart; None if it was not made here."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    name = RunnerName(
        prefix=match["prefix"],
        job_id=int(match["job_id"]),
        attempt=int(match["attempt"]),
        number=int(match["number"] or 0),
    )
    return name if str(name) == text else None


def own_runner_id(job: JobAttempt, *, prefix: str) -> str:
    """Name a job's own runner."""
    return str(RunnerName(prefix=prefix, job_id=job.job_id, attempt=job.run_attempt))


def first_runner_id(runner_id: str) -> str:
    """Name the runner that this one follows, first of all; its own name if it follows none."""
    name = read_name(runner_id)
    return str(name._replace(number=0)) if name else runner_id


def next_runner_id(runner_id: str) -> str:
    """Name the one that follows a runner: the same however often it is asked for.

    Raises:
        ValueError: if it is no runner's name.
    """
    name = read_name(runner_id)
    if name is None:
        raise ValueError(f"{runner_id!r} names no runner")
    return str(name._replace(number=name.number + 1))


def followed(first: str) -> Iterator[str]:
    """Yield a runner's name and those of the ones that may follow it: where one lacks, all do."""
    runner_id = first
    for _ in range(MOST_FOLLOWED):
        yield runner_id
        runner_id = next_runner_id(runner_id)


def heartbeat_key(runner_id: str) -> str:
    """Name the item beside a runner's row that has its last heartbeat; no runner is called so."""
    return f"{_HEARTBEAT}{runner_id}"


def read_heartbeat_key(key: str) -> str:
    """Tell whose heartbeat an item of the runner table has; empty if it is a runner's row."""
    return key.removeprefix(_HEARTBEAT) if key.startswith(_HEARTBEAT) else ""


def execution_arn(state_machine_arn: str, runner_id: str) -> str:
    """Name the execution that is a runner's life.

    Args:
        state_machine_arn: The lifecycle's.
        runner_id: The runner.
    """
    executions = state_machine_arn.replace(":stateMachine:", ":execution:")
    return f"{executions}:{runner_id}"
