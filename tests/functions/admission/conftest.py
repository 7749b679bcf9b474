"""A fleet whose state machine is played, over the real tables; and the real handler."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cdk_runner_fleet.cli.rows import plain_row
from fleet_runtime.admission.admission import Admission
from fleet_runtime.admission.breaker import Breaker
from fleet_runtime.admission.catalog_reader import CatalogReader
from fleet_runtime.admission.limits import Limits
from fleet_runtime.admission.line import Line
from fleet_runtime.admission.starts import InLine, Known, Started, Starts
from fleet_runtime.admission.turns import RunnerTurns
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.admission.waits import Waits
from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.runner.executions import Executions
from fleet_runtime.runner.rows import RunnerRecords

from .. import entry_points
from ..aws_stand_in import Aws
from ..conftest import forget

NOON = 1_795_262_400  # 2026-11-21T12:00:00Z
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:lifecycle"
CLASSES = {
    "small": {"cpu": 512, "memory": 1024},
    "large": {"cpu": 2048, "memory": 4096, "max_runners": 1},
}


class Atomic:
    """A client each of whose calls is done before the next begins: DynamoDB's writes are atomic."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def alone(**arguments: Any) -> Any:
            with self._lock:
                return call(**arguments)

        return alone


@dataclass
class Fleet:
    """Runners of a fleet whose state machine is played: what it writes is written here."""

    aws: Aws
    limits: Limits
    now: int = NOON
    running: list[str] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.dynamodb: Any = Atomic(client("dynamodb"))
        self.records = RunnerRecords(
            dynamodb=self.dynamodb, table="runners", clock=lambda: self.now
        )
        self.ledger = Ledger(dynamodb=self.dynamodb, table="ledger", clock=lambda: self.now)
        client("ssm").put_parameter(
            Name="/fleet/class-sizes", Value=json.dumps(CLASSES), Overwrite=True
        )
        breaker = Breaker(ledger=self.ledger, records=self.records)
        self.entry = TurnsEntry(self.ledger)
        admission = Admission(
            entry=self.entry,
            breaker=breaker,
            catalog=CatalogReader(
                ssm=client("ssm"), parameters=["/fleet/class-sizes"], clock=lambda: self.now
            ),
            limits=self.limits,
        )
        self.waits = Waits(records=self.records, admission=admission)
        self.starts = Starts(
            records=self.records,
            admission=admission,
            entry=self.entry,
            breaker=breaker,
            executions=Executions(
                stepfunctions=Atomic(client("stepfunctions")), state_machine_arn=MACHINE
            ),
            row_ttl_seconds=1000,
        )

    def input(
        self,
        number: int,
        *,
        repository: str = "octo-org/one",
        class_name: str = "small",
        image_tag: str = "default-1",
    ) -> dict[str, Any]:
        return {
            "runner_id": f"fleet-{number}-1",
            "repository": repository,
            "job_id": number,
            "job_name": "build",
            "class_name": class_name,
            "image_tag": image_tag,
            "runner_labels": f"self-hosted,class:{class_name}",
            "waiting_labels": f"class:{class_name},self-hosted",
            "queued_at": NOON - 1000 + number,
        }

    def queue(self, number: int, **changes: Any) -> Started | InLine | Known:
        answer = self.starts.start(self.input(number, **changes))
        self.play()
        return answer

    def play(self) -> None:
        """Let the machine record every runner that was started since."""
        calls = self.aws.sfn.named("StartExecution")
        for call in calls[self.seen :]:
            document = json.loads(call["input"])
            row = self.aws.row(call["name"])
            if row is None or (row.get("waiting_for") == "turn" and "released_at" not in row):
                kept = {k: v for k, v in document.items() if k != "waiting_labels"}
                self.aws.put_row(**kept, status="STARTING", live="started")
                self.running.append(call["name"])
        self.seen = len(calls)

    def end(
        self, number: int, *, error: str = "", cost: float = 0.0, job_started: bool = True
    ) -> None:
        """Let a runner's machine write its end, and the end of its execution be told."""
        runner_id = f"fleet-{number}-1"
        row = self.aws.row(runner_id)
        assert row is not None
        del row["live"]
        row |= {"ended_at": self.now, "cost_usd": cost}
        row |= {"error": error, "cause": "it broke"} if error else {}
        row |= {"started_at": self.now} if job_started else {}
        self.aws.put_row(**row | {"status": "FAILED" if error else "OFFLINE"})
        if runner_id in self.running:
            self.running.remove(runner_id)
        self.starts.runner_ended(runner_id)
        self.play()

    def row(self, number: int) -> dict[str, Any]:
        row = self.aws.row(f"fleet-{number}-1")
        assert row is not None
        return row

    def why(self, number: int) -> str:
        """Why a runner in line has to wait, as its job's author is told after a while."""
        before = self.turns
        runner = self.records.find(f"fleet-{number}-1")
        assert runner
        reason = self.waits.why(runner)
        assert self.turns == before, "nothing is changed by the question"
        return reason

    @property
    def places(self) -> list[str]:
        """Who is in line, as whoever looks is told."""
        turns = plain_row(
            self.dynamodb.get_item(TableName="ledger", Key={"entry": {"S": "turns"}})["Item"]
        )
        line = Line.of_turns(self.records.in_line(after="", most=1000), turns)
        return [waiting.runner_id for waiting in line.first(1000)]

    @property
    def turns(self) -> RunnerTurns:
        return TurnsEntry(self.ledger).read()

    @property
    def holders(self) -> list[str]:
        """Who holds a turn, and is counted in each of its scopes."""
        turns = TurnsEntry(self.ledger).holders()
        counts = Counter(scope for turn in turns for scope in turn.scopes.values())
        assert {scope: count for scope, count in self.turns.counts.items() if count} == counts
        return sorted(turn.runner_id for turn in turns)


def limits(
    fleet: int = 100, *, per_repository: int | None = None, budget: float | None = None
) -> Limits:
    return Limits(
        max_runners=fleet, max_runners_per_repository=per_repository, daily_budget_usd=budget
    )


@pytest.fixture
def fleet(aws: Aws) -> Callable[..., Fleet]:
    return lambda *given, **named: Fleet(aws, limits(*given, **named))


Make = Callable[..., Fleet]


dispatch = entry_points.dispatch


def ended(name: str, status: str = "SUCCEEDED") -> dict[str, Any]:
    detail = {"executionArn": f"{MACHINE}:{name}", "name": name, "status": status}
    return {
        "source": "aws.states",
        "detail-type": "Step Functions Execution Status Change",
        "detail": detail | {"stateMachineArn": MACHINE},
    }


@pytest.fixture
def small(aws: Aws, environment: pytest.MonkeyPatch) -> None:
    """A fleet of one runner, and that one is another's."""
    environment.setenv("MAX_RUNNERS", "1")
    forget()
    aws.hold_turn("fleet-7-1")
    aws.put_row(
        runner_id="fleet-7-1", status="RUNNING", live="started", started_at=1, github_runner_id=1
    )
