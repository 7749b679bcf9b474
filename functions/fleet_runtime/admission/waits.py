"""Why runners in line wait, for whoever looks: their jobs' authors and the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet_runtime.admission.admission import Admission
from fleet_runtime.admission.breaker import Breaker
from fleet_runtime.admission.catalog_reader import CatalogReader
from fleet_runtime.admission.limits import Limits
from fleet_runtime.admission.turns import Applicant
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.runner.rows import Runner, RunnerRecords


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where those in line stand, and what they wait for."""

    runner_table: str
    ledger_table: str
    class_sizes_params: tuple[str, ...]
    limits: Limits


_NO_LIMIT = "no limit holds it up now: reconciliation serves the line"


@dataclass(frozen=True, kw_only=True)
class Waits:
    """Says why runners wait now. A row says why it did when it joined the line.

    Attributes:
        records: The runners.
        admission: The turns.
    """

    records: RunnerRecords
    admission: Admission

    @classmethod
    def of(cls, settings: Settings) -> Waits:
        """Make it from a function's settings."""
        dynamodb = client("dynamodb")
        records = RunnerRecords(dynamodb=dynamodb, table=settings.runner_table)
        ledger = Ledger(dynamodb=dynamodb, table=settings.ledger_table)
        return cls(
            records=records,
            admission=Admission(
                entry=TurnsEntry(ledger),
                breaker=Breaker(ledger=ledger, records=records),
                catalog=CatalogReader(ssm=client("ssm"), parameters=settings.class_sizes_params),
                limits=settings.limits,
            ),
        )

    def why(self, runner: Runner) -> str:
        """Say why a runner waits now, and change nothing."""
        if not runner.is_in_line:
            return runner.waiting_reason
        # what its row says was so when it joined the line
        return self.admission.why(Applicant.of_row(runner)) or _NO_LIMIT

    def reasons(self, runner_ids: Iterable[str]) -> dict[str, str]:
        """Say it of several, by their ids; who waits no more is left out."""
        runners = filter(None, map(self.records.find, runner_ids))
        return {runner.runner_id: self.why(runner) for runner in runners if runner.waits}
