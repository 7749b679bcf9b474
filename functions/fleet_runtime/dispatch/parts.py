"""What events and reconciliation both start and signal runners with, put together once."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.admission.admission import Admission
from fleet_runtime.admission.breaker import Breaker
from fleet_runtime.admission.catalog_reader import CatalogReader
from fleet_runtime.admission.limits import Limits
from fleet_runtime.admission.starts import Starts
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.admission.waits import Waits
from fleet_runtime.aws.announcements import Bus
from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.dispatch.dispatcher import Dispatcher
from fleet_runtime.dispatch.held_back import HeldBack
from fleet_runtime.explanation.unserved import Unserved
from fleet_runtime.images.release_news import ReleaseNews
from fleet_runtime.images.rows import ImageRecords
from fleet_runtime.job.offer import Offer
from fleet_runtime.runner.executions import Executions
from fleet_runtime.runner.rows import RunnerRecords
from fleet_runtime.runner.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where runners are started and what they may be.

    Attributes:
        row_ttl_seconds: How long a runner's row stays.
        class_sizes_params: Where the classes are kept.
    """

    runner_table: str
    ledger_table: str
    image_table: str
    bus: Bus
    state_machine_arn: str
    class_sizes_params: tuple[str, ...]
    row_ttl_seconds: int
    offer: Offer
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The dispatcher, and what it is made of, for those who need one of these beside it."""

    records: RunnerRecords
    ledger: Ledger
    signals: Signals
    executions: Executions
    starts: Starts
    waits: Waits
    unserved: Unserved
    dispatcher: Dispatcher

    @classmethod
    def of(cls, settings: Settings) -> Parts:
        """Put them together."""
        dynamodb, stepfunctions = client("dynamodb"), client("stepfunctions")
        events = client("events")
        records = RunnerRecords(dynamodb=dynamodb, table=settings.runner_table)
        ledger = Ledger(dynamodb=dynamodb, table=settings.ledger_table)
        catalog = CatalogReader(ssm=client("ssm"), parameters=settings.class_sizes_params)
        breaker, entry = Breaker(ledger=ledger, records=records), TurnsEntry(ledger)
        signals = Signals(records=records, stepfunctions=stepfunctions)
        executions = Executions(
            stepfunctions=stepfunctions, state_machine_arn=settings.state_machine_arn
        )
        admission = Admission(entry=entry, breaker=breaker, catalog=catalog, limits=settings.limits)
        starts = Starts(
            records=records,
            admission=admission,
            entry=entry,
            breaker=breaker,
            executions=executions,
            row_ttl_seconds=settings.row_ttl_seconds,
        )
        unserved = Unserved(events=events, bus=settings.bus, ledger=ledger)
        return cls(
            records=records,
            ledger=ledger,
            signals=signals,
            executions=executions,
            starts=starts,
            waits=Waits(records=records, admission=admission),
            unserved=unserved,
            dispatcher=Dispatcher(
                offer=settings.offer,
                catalog=catalog,
                records=records,
                signals=signals,
                starts=starts,
                unserved=unserved,
                images=ImageRecords(dynamodb=dynamodb, table=settings.image_table),
                news=ReleaseNews(events=events, bus=settings.bus),
                executions=executions,
                held_back=HeldBack(ledger=ledger),
                row_ttl_seconds=settings.row_ttl_seconds,
            ),
        )
