"""How runners are named: the functions' own rules, `functions/fleet_runtime/job/runner_name.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from cdk_runner_fleet._runtime import runtime


class RunnerName(Protocol):
    """A runner's name, taken apart."""

    @property
    def job_id(self) -> int:
        """GitHub's id of the job that it was started for."""

    @property
    def attempt(self) -> int:
        """Which attempt of the run that job is in."""

    @property
    def number(self) -> int:
        """Which of those that follow the job's own runner it is; 0 for its own."""


def make_name(*, prefix: str, job_id: int, attempt: int) -> str:
    """Name a job's own runner."""
    return str(runtime("job/runner_name")["RunnerName"](prefix, job_id, attempt))


def read_name(text: str) -> RunnerName | None:
    """Take a runner's name apart; None if it is none."""
    name: RunnerName | None = runtime("job/runner_name")["read_name"](text)
    return name


def followed(first: str) -> Iterator[str]:
    """Yield a runner's name and the names of those that may follow it."""
    names: Iterator[str] = runtime("job/runner_name")["followed"](first)
    return names


def heartbeat_key(runner_id: str) -> str:
    """Name the item beside a runner's row that has its last heartbeat."""
    return str(runtime("job/runner_name")["heartbeat_key"](runner_id))


def read_heartbeat_key(key: str) -> str:
    """Tell whose heartbeat an item of the runner table has; empty if it is a runner's row."""
    return str(runtime("job/runner_name")["read_heartbeat_key"](key))


def execution_arn(state_machine_arn: str, runner_id: str) -> str:
    """Name the execution that is a runner's life."""
    return str(runtime("job/runner_name")["execution_arn"](state_machine_arn, runner_id))
