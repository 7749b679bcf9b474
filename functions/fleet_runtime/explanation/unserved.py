"""Says on the fleet's bus that a job will have no runner, so that its author is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet_runtime.aws.announcements import Bus, announce
from fleet_runtime.aws.client import Client
from fleet_runtime.aws.items import Value
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.runner.rows import Runner

DETAIL_TYPE = "job_unserved"
SERVED_DETAIL_TYPE = "job_served"

_ABOUT = (
    "runner_id",
    "repository",
    "job_id",
    "run_id",
    "run_attempt",
    "job_name",
    "job_url",
    "head_sha",
)
WAITS = "Job.Waits"
"""The error of a runner that has waited for long. It is no end, and stands on no row."""

SERVED = "Job.Served"
"""What takes back what was said of a job. It is no error, and stands on no row."""

_LONGEST_CAUSE = 2000
_MOST_TOLD = 100
"""Jobs of one repository that are told of at GitHub in an hour. GitHub takes 500 requests an hour
that make content, of all that the fleet's credentials ask for (GitHub docs, "Rate limits for the
REST API"): one repository's jobs must not use up what registrations need."""
_HOUR_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Unserved:
    """Puts ``job_unserved`` events, and ``job_served`` ones that take them back.

    Saying the same twice does no harm: it is explained once.

    Attributes:
        events: An EventBridge client.
        bus: Where they go.
        ledger: Where it is counted how many of a repository's jobs were told of.
    """

    events: Client
    bus: Bus
    ledger: Ledger

    def tell(
        self, row: Runner | Mapping[str, Value], *, error: str, cause: str, final: bool
    ) -> None:
        """Say that a job has no runner.

        Args:
            row: The row of the runner that it will not have.
            error: One of ``causes.CAUSES``.
            cause: What went wrong.
            final: Whether no other runner will be tried for it.

        Raises:
            EventNotTakenError: if the bus did not take it.
        """
        said: Mapping[str, object] = vars(row) if isinstance(row, Runner) else row
        log_only = self._is_enough(str(said["repository"]))
        self._announce(DETAIL_TYPE, said, error=error, cause=cause, final=final, log_only=log_only)

    def take_back(self, row: Runner, *, cause: str) -> None:
        """Say that a job has a runner, or will have one, after its author was told of none.

        Args:
            row: The row that says so.
            cause: What has come.

        Raises:
            EventNotTakenError: if the bus did not take it.
        """
        self._announce(SERVED_DETAIL_TYPE, vars(row), error=SERVED, cause=cause, final=False)

    def _is_enough(self, repository: str) -> bool:
        """Count a job that is told of; whether so many of the repository's were this hour."""
        hour = self.ledger.now // _HOUR_SECONDS
        counted = self.ledger.update(
            f"told/{hour}/{repository}",
            add={"told": 1},
            values={"expires_at": (hour + 2) * _HOUR_SECONDS},
            condition="attribute_not_exists(told) OR told < :most",
            operands={":most": _MOST_TOLD},
        )
        return counted is None

    def _announce(
        self,
        kind: str,
        row: Mapping[str, object],
        *,
        error: str,
        cause: str,
        final: bool,
        log_only: bool = False,
    ) -> None:
        detail = {name: row[name] for name in _ABOUT} | {"log_only": log_only}
        announce(
            self.events,
            bus=self.bus,
            detail_type=kind,
            detail=detail | {"error": error, "cause": cause[:_LONGEST_CAUSE], "final": final},
        )
