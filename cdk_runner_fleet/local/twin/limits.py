"""What GitHub holds a queued job back for: `max-parallel`, and groups of which one runs at a time.

A job that is held back says no more than any other that is queued, and is announced at once: so
it is for the legs of a matrix (runs-on/runs-on#452). Whether a job of a group is announced
before its turn has come is not known; then it is the harder of the two for a fleet. `queue: max`
is not there: of those that wait in a group the last one stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdk_runner_fleet.local.twin.expressions import Scope
from cdk_runner_fleet.local.twin.templates import interpolate
from cdk_runner_fleet.local.twin.workflows import JobLeg, JobSpec, WorkflowError

__all__ = ["UNLIMITED", "Concurrency", "Limits", "concurrency", "limits"]


@dataclass(frozen=True, kw_only=True)
class Concurrency:
    """A group of which one runs at a time, and one waits.

    Args:
        group: its name, as it is compared: GitHub does not mind the case.
        cancels: whether who comes cancels who runs.
    """

    group: str
    cancels: bool


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one job may wait for, and what its failure does to the others of its matrix.

    Args:
        max_parallel: how many legs may run at a time; None for all.
        fail_fast: whether a leg that fails cancels the others.
        concurrency: the job's own group, if it has one.
    """

    max_parallel: int | None = None
    fail_fast: bool = True
    concurrency: Concurrency | None = None


UNLIMITED = Limits()


def limits(spec: JobSpec, leg: JobLeg, scope: Scope) -> Limits:
    """The limits of a leg, once the jobs it needs are done.

    Raises:
        WorkflowError: they are not what GitHub takes.
        ExpressionError: an expression in them cannot be evaluated.
    """
    strategy = spec.definition.get("strategy")
    strategy = strategy if isinstance(strategy, Mapping) else {}
    most = interpolate(strategy.get("max-parallel"), scope)
    if most is not None and (not isinstance(most, int | float) or most < 1):
        raise WorkflowError(f"job {spec.key!r}: max-parallel is {most!r}, not a number from 1 on")
    of_leg = Scope(
        contexts={**scope.contexts, "matrix": leg.matrix},
        status=scope.status,
        cancelled=scope.cancelled,
    )
    return Limits(
        max_parallel=None if most is None else int(most),
        fail_fast=interpolate(strategy.get("fail-fast", True), scope) is not False,
        concurrency=concurrency(spec.definition.get("concurrency"), of_leg),
    )


def concurrency(written: object, scope: Scope) -> Concurrency | None:
    """The group of a job or of a run.

    Raises:
        WorkflowError: it has no name.
        ExpressionError: an expression in it cannot be evaluated.
    """
    found = interpolate(written, scope)
    named = found if isinstance(found, Mapping) else {"group": found}
    group = named.get("group")
    if found is None or (isinstance(found, str) and not found):
        return None
    if not isinstance(group, str) or not group:
        raise WorkflowError(f"concurrency is {found!r}, without the name of a group")
    return Concurrency(group=group.casefold(), cancels=named.get("cancel-in-progress") is True)
