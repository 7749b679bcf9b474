"""Says on the fleet's bus that a job will have no runner, so that its author is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fleet_runtime.aws import Client
from fleet_runtime.items import Value
from fleet_runtime.records import Runner

DETAIL_TYPE = "job_unserved"

_SOURCE = "cdk-runner-fleet"
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

_LONGEST_CAUSE = 2000


class EventNotTakenError(Exception):
    """The bus answered 200 and still did not take the event."""


@dataclass(frozen=True, kw_only=True)
class Unserved:
    """Puts ``job_unserved`` events. Saying the same twice does no harm: it is explained once.

    Attributes:
        events: An EventBridge client.
        bus: Name of the fleet's bus.
    """

    events: Client
    bus: str

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
        detail = {name: said[name] for name in _ABOUT}
        entry = {
            "EventBusName": self.bus,
            "Source": _SOURCE,
            "DetailType": DETAIL_TYPE,
            "Detail": json.dumps(
                detail | {"error": error, "cause": cause[:_LONGEST_CAUSE], "final": final}
            ),
        }
        answer = self.events.put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            failed = answer["Entries"][0]
            raise EventNotTakenError(f"{failed.get('ErrorCode')}: {failed.get('ErrorMessage')}")
