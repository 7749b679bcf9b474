"""Turns, the line, the budget and the breaker, over the real tables and the real handler."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

import dispatch_event
from cdk_runner_fleet.cli.rows import plain_row
from fleet_runtime.admission.admission import LINE_REST_SECONDS, Admission
from fleet_runtime.admission.breaker import FAILURES, HOLD_SECONDS, WINDOW_SECONDS, Breaker
from fleet_runtime.admission.catalog_reader import CACHE_SECONDS, CatalogReader
from fleet_runtime.admission.limits import Limits
from fleet_runtime.admission.line import Line
from fleet_runtime.admission.starts import InLine, Known, Started, Starts
from fleet_runtime.admission.turns import Applicant
from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.runner.executions import Executions
from fleet_runtime.runner.rows import Runner, RunnerRecords

from ..conftest import RUNNER, Aws, bus_event, forget, job, sample

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
        self.starts = Starts(
            records=self.records,
            admission=Admission(
                ledger=self.ledger,
                breaker=breaker,
                catalog=CatalogReader(
                    ssm=client("ssm"), parameter="/fleet/class-sizes", clock=lambda: self.now
                ),
                limits=self.limits,
            ),
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
        reason = self.starts.why_waiting(runner)
        assert self.turns == before, "nothing is changed by the question"
        return reason

    @property
    def places(self) -> list[str]:
        """Who is in line, as whoever looks is told."""
        turns = plain_row(
            self.dynamodb.get_item(TableName="ledger", Key={"entry": {"S": "turns"}})["Item"]
        )
        line = Line.of_turns(self.records.in_line(most=1000), turns)
        return [waiting.runner_id for waiting in line.first(1000)]

    @property
    def turns(self) -> dict[str, Any]:
        item = self.dynamodb.get_item(TableName="ledger", Key={"entry": {"S": "turns"}})
        return {name: next(iter(value.values())) for name, value in item.get("Item", {}).items()}


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


# --- turns ----------------------------------------------------------------------------------


def test_a_turn_is_held_from_before_the_start_until_the_end(fleet: Make) -> None:
    one = fleet()
    assert one.queue(1) == Started()
    assert one.turns["fleet"] == one.turns["class:small"] == ["fleet-1-1"]
    assert one.turns["repository:octo-org/one"] == ["fleet-1-1"]
    one.end(1, cost=0.25)
    assert one.turns == {"entry": "turns", "day": "2026-11-21", "spent_usd": "0.25"}


def test_a_burst_never_passes_the_limit(fleet: Make) -> None:
    one = fleet(10)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: one.starts.start(one.input(n)), range(40)))
    one.play()
    assert len(one.running) == len(set(one.running)) == 10
    assert len(one.turns["fleet"]) == 10
    assert sum(isinstance(answer, InLine) for answer in answers) == 30
    while one.running:
        assert len(one.running) <= 10
        one.end(int(one.running[0].split("-")[1]))
    assert len(one.aws.sfn.named("StartExecution")) == 40, "each job had its runner, once"
    assert "fleet" not in one.turns


def test_the_same_job_twice_takes_one_turn(fleet: Make) -> None:
    one = fleet(2)
    one.queue(1)
    one.aws.sfn.fail("StartExecution", "ExecutionAlreadyExists")
    assert one.queue(1) == Known()
    assert one.turns["fleet"] == ["fleet-1-1"]


def test_a_job_told_again_after_its_end_keeps_no_turn_and_costs_nothing(fleet: Make) -> None:
    one = fleet(2)
    one.queue(1)
    one.end(1, cost=0.5)
    one.aws.sfn.fail("StartExecution", "ExecutionAlreadyExists")
    assert one.queue(1) == Known()
    assert "fleet" not in one.turns
    assert one.turns["spent_usd"] == "0.5"


def test_a_job_told_again_while_others_wait_is_not_put_in_line(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.end(1)
    one.queue(2)
    one.queue(3)
    assert one.queue(1) == Known()
    assert one.row(1)["status"] == "OFFLINE"


def test_a_start_that_fails_is_made_good_by_the_same_event(fleet: Make) -> None:
    one = fleet(1)
    one.aws.sfn.fail("StartExecution", "StateMachineDoesNotExist")
    with pytest.raises(Exception, match="StateMachineDoesNotExist"):
        one.queue(1)
    del one.aws.sfn.answers["StartExecution"]
    assert one.queue(1) == Started()
    assert one.turns["fleet"] == ["fleet-1-1"]


def test_the_turn_of_a_runner_that_took_another_repositorys_job_comes_back_whole(
    fleet: Make,
) -> None:
    one = fleet(1)
    one.queue(1)
    one.records.update(
        "fleet-1-1",
        values={"repository": "octo-org/other"},
        condition="attribute_exists(runner_id)",
    )
    one.end(1)
    assert not [name for name in one.turns if name.startswith(("fleet", "class:", "repo"))]


# --- the line -------------------------------------------------------------------------------


def test_a_job_without_a_turn_stands_in_line_with_place_and_reason(
    fleet: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    one = fleet(1)
    one.queue(1)
    assert isinstance(one.queue(2), InLine)
    one.queue(3)
    row = one.row(3)
    assert (row["status"], row["live"], row["waiting_for"]) == ("STARTING", "in_line", "turn")
    assert one.places == ["fleet-2-1", "fleet-3-1"]
    assert row["waiting_reason"] == (
        "the fleet has 1 of at most 1 runners: the next starts when one has ended, "
        "or raise max_runners"
    )
    assert (row["job_id"], row["class_name"], row["repository"]) == (3, "small", "octo-org/one")
    assert (row["job_status"], row["expires_at"]) == ("queued", NOON + 1000)
    assert json.loads(row["start_input"]) == one.input(3) | {"in_line_at": NOON}
    assert "waiting_labels" not in row, "it is no runner that waits for a job"
    assert capsys.readouterr().out.count('"JobInLine"') == 4  # two EMF lines
    one.end(1)
    assert one.running == ["fleet-2-1"]
    assert one.places == ["fleet-3-1"]
    assert json.loads(one.aws.sfn.named("StartExecution")[-1]["input"])["in_line_at"] == NOON


def test_the_same_job_stands_in_line_once(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    before = one.row(2)
    one.now += 5
    assert isinstance(one.queue(2), InLine)
    assert one.row(2) == before


def test_a_refused_job_that_can_be_served_now_may_stand_in_line(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.aws.put_row(runner_id="fleet-2-1", status="FAILED", error="Job.CannotBeServed")
    assert isinstance(one.queue(2), InLine)
    assert "error" not in one.row(2)
    one.aws.put_row(
        runner_id="fleet-3-1", status="FAILED", error="Job.CannotBeServed", released_at=1
    )
    assert one.queue(3) == Known()


def test_nobody_overtakes_those_who_wait(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    # the turn is free, but whoever gave it back has not looked at the line yet
    one.starts.admission.leave("fleet-1-1")
    assert one.queue(3) == InLine(reason="other jobs wait before it")
    assert one.running == ["fleet-1-1", "fleet-2-1"]
    assert one.row(3)["waiting_for"] == "turn"


def test_a_turn_that_came_back_while_a_job_joined_is_not_lost(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    document = one.input(2)
    assert one.starts.admission.admit(Applicant.of_input(document)) is not None
    one.starts.admission.leave("fleet-1-1")  # sees nobody in line
    assert one.starts._join_line(document, reason="full")
    assert one.queue(2) == Started()


def test_one_who_joined_without_saying_so_is_found_by_the_next_look(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.starts._join_line(one.input(2), reason="full")  # and then the function died
    assert one.starts.next_in_line() == ()
    assert one.turns["line"] == "fleet-2-1"
    one.end(1)
    assert one.running == ["fleet-2-1"]


def test_the_repository_with_the_fewest_runners_is_next_and_then_the_oldest_job(
    fleet: Make,
) -> None:
    one = fleet(4)
    for number in range(1, 11):
        one.queue(number)
    for number in (11, 12):
        one.queue(number, repository="octo-org/two")
    one.queue(13, repository="octo-org/three")
    assert one.running == ["fleet-1-1", "fleet-2-1", "fleet-3-1", "fleet-4-1"]
    # three and two have none and are first; one comes when each of them has as many
    first = (11, 13, 12, 5, 6, 7, 8, 9, 10)
    assert one.places == [f"fleet-{number}-1" for number in first]
    order = []
    for number in (1, 2, 3, 4):
        one.end(number)
        order.append(one.running[-1])
    assert order == ["fleet-11-1", "fleet-13-1", "fleet-5-1", "fleet-12-1"]


def test_a_repository_with_many_jobs_does_not_keep_a_small_limit_to_itself(fleet: Make) -> None:
    one = fleet(1)
    for number in range(6):
        one.queue(number)
    one.queue(8, repository="octo-org/two")
    one.queue(9, repository="octo-org/three")
    order = []
    for _ in range(7):
        one.end(int(one.running[0].split("-")[1]))
        order.append(int(one.running[0].split("-")[1]))
    assert order == [1, 8, 9, 2, 3, 4, 5]


def test_a_full_class_or_repository_stops_only_its_own(fleet: Make) -> None:
    one = fleet(3, per_repository=2)
    one.queue(1, class_name="large")
    one.queue(2, class_name="large")
    assert one.row(2)["waiting_reason"] == (
        "class large has 1 of at most 1 runners: the next starts when one has ended, "
        "or raise its max_runners in the class sizes parameter"
    )
    assert one.queue(3) == Started(), "the line's first cannot start, the newcomer can"
    one.queue(4)
    assert one.row(4)["waiting_reason"] == (
        "octo-org/one has 2 of at most 2 runners: the next starts when one has ended, "
        "or raise max_runners_per_repository"
    )
    assert one.queue(5, repository="octo-org/two") == Started()
    one.end(3)
    assert one.running == ["fleet-1-1", "fleet-5-1", "fleet-4-1"]
    one.end(1)
    assert one.running == ["fleet-5-1", "fleet-4-1", "fleet-2-1"]


def test_a_class_limit_that_is_changed_holds_within_the_minute_and_counts_those_who_run(
    fleet: Make,
) -> None:
    one = fleet()
    one.queue(1)
    one.queue(2)
    limited = CLASSES | {"small": CLASSES["small"] | {"max_runners": 2}}
    client("ssm").put_parameter(
        Name="/fleet/class-sizes", Value=json.dumps(limited), Overwrite=True
    )
    one.now += CACHE_SECONDS
    assert isinstance(one.queue(3), InLine)


def test_the_line_is_not_read_for_those_who_join_while_nobody_can_start(
    fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fleet(1)
    one.queue(1)
    monkeypatch.setattr(one.records, "in_line", lambda most: pytest.fail("it was read"))
    assert isinstance(one.queue(2), InLine)


def test_a_turn_that_comes_back_while_the_newcomer_looks_is_its_own(
    fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fleet(1)
    one.queue(1)
    join = one.starts.admission.join_line

    def meanwhile(runner_id: str) -> None:
        monkeypatch.setattr(one.starts.admission, "join_line", join)
        # sees nobody in line
        one.end(1)
        join(runner_id)

    monkeypatch.setattr(one.starts.admission, "join_line", meanwhile)
    one.queue(2)
    assert one.running == ["fleet-2-1"]


def test_an_index_that_lags_behind_starts_nobody_who_has_left(
    fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    stale = one.records.in_line(most=10)
    assert [runner.runner_id for runner in stale] == ["fleet-2-1"]
    one.records.leave_line("fleet-2-1", values={"status": "OFFLINE"})
    monkeypatch.setattr(one.records, "in_line", lambda most: stale[:most])
    one.end(1)
    assert len(one.aws.sfn.named("StartExecution")) == 1
    assert "fleet" not in one.turns


def test_one_released_in_line_whose_end_was_not_written_is_ended_by_the_next_look(
    fleet: Make,
) -> None:
    one = fleet(1)
    for number in (1, 2, 3):
        one.queue(number)
    # the first of the two writes of a release, and then the function died
    one.records.update(
        "fleet-2-1", values={"released_at": one.now}, condition="attribute_exists(runner_id)"
    )
    assert one.starts.next_in_line() == (), "the fleet is full, which keeps nobody in line"
    row = one.row(2)
    assert (row["status"], row["ended_at"], row["cost_usd"]) == ("OFFLINE", NOON, 0)
    assert row["end_reason"] == "the runner was not wanted any more"
    assert not {"live", "waiting_for", "start_input"} & set(row)
    assert one.places == ["fleet-3-1"]


def test_a_line_of_nobody_but_released_ones_is_over(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    one.records.update(
        "fleet-2-1", values={"released_at": one.now}, condition="attribute_exists(runner_id)"
    )
    one.now += LINE_REST_SECONDS
    one.starts.next_in_line()
    assert "line" not in one.turns


@pytest.mark.parametrize(
    ("start_input", "says"),
    [
        ("{", "JSONDecodeError"),
        ("{}", "KeyError: 'runner_id'"),
        ('{"runner_id": "fleet-2-1"}', "KeyError: 'class_name'"),
        ("[]", "TypeError"),
        ('{"runner_id": "fleet-9-1", "class_name": "small"}', "ValueError: it is of 'fleet-9-1'"),
    ],
)
def test_one_whose_input_cannot_be_read_does_not_block_the_line(
    fleet: Make, start_input: str, says: str
) -> None:
    one = fleet(1)
    for number in (1, 2, 3):
        one.queue(number)
    one.aws.put_row(**one.row(2) | {"start_input": start_input})
    one.end(1)
    assert one.running == ["fleet-3-1"]
    assert one.turns["fleet"] == ["fleet-3-1"]
    row = one.row(2)
    assert (row["status"], row["error"]) == ("FAILED", "Runner.Runtime")
    assert says in row["cause"]
    assert "start_input of its row" in row["cause"]
    assert not {"live", "waiting_for"} & set(row)


def test_fair_order_counts_those_who_got_their_turn() -> None:
    def runner(number: int, repository: str) -> Runner:
        item = {"runner_id": {"S": str(number)}, "repository": {"S": repository}}
        return Runner.from_item(item | {"queued_at": {"N": str(number)}})

    waiting = [runner(number, "one") for number in (4, 2, 1)] + [
        runner(number, "two") for number in (9, 8, 7)
    ]
    line = Line(waiting, running={"one": 2, "two": 0}, given=5, last_given={"one": 5})
    # two catches up; with as many each, it is the turn of whose last one is longer ago
    in_order = [one.runner_id for one in line.first(10)]
    assert in_order == ["7", "8", "1", "9", "2", "4"]


def test_an_empty_line_is_over_when_it_has_been_empty_for_a_while(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    one.end(1)
    one.end(2)
    assert one.turns["line"] == "fleet-2-1", "the index may lag behind"
    assert one.queue(3) == Started()
    one.now += LINE_REST_SECONDS
    one.end(3)
    assert "line" not in one.turns


def test_two_that_look_at_the_line_at_once_start_each_once(fleet: Make) -> None:
    one = fleet(6)
    for number in range(12):
        one.queue(number)
    for number in range(6):
        one.starts.admission.leave(f"fleet-{number}-1")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: one.starts.next_in_line(), range(4)))
    one.play()
    assert sorted(one.running[6:]) == sorted(f"fleet-{n}-1" for n in range(6, 12))
    assert len(one.turns["fleet"]) == 6


def test_a_long_line_is_read_to_its_end_for_other_repositories(fleet: Make) -> None:
    one = fleet(2, per_repository=1)
    one.queue(0)
    filler = "x" * 4000  # so that the index has more than one page
    for number in range(1, 300):
        document = one.input(number) | {"job_name": filler}
        one.starts._join_line(document, reason="full")
    one.starts._join_line(one.input(999, repository="octo-org/two"), reason="full")
    assert one.starts.next_in_line() == ("fleet-999-1",)


@pytest.mark.parametrize("status", ["RUNNING", "ABORTED"])
def test_an_execution_stopped_before_its_first_step_leaves_no_turn_behind(
    fleet: Make, status: str
) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    one.aws.sfn.answers["StartExecution"] = "ExecutionAlreadyExists"
    one.aws.sfn.answers["DescribeExecution"] = {"status": status}
    row = one.row(1) | {"status": "OFFLINE"}
    del row["live"]
    one.aws.put_row(**row)
    one.starts.runner_ended("fleet-1-1")
    if status == "RUNNING":  # it was started just now, and writes its row in a moment
        assert one.row(2)["waiting_for"] == "turn"
        assert one.turns["fleet"] == ["fleet-2-1"]
        return
    assert (one.row(2)["status"], one.row(2)["error"]) == ("FAILED", "Runner.ExecutionEnded")
    assert "live" not in one.row(2)
    assert "fleet" not in one.turns


# --- cancelled in line ----------------------------------------------------------------------


@pytest.fixture
def dispatch(aws: Aws, context: Any) -> Any:
    def send(event: dict[str, Any]) -> None:
        assert dispatch_event.handler(event, context) is None

    return send


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
    holder = frozenset({"fleet-7-1"})
    Ledger(dynamodb=aws.dynamodb, table="ledger").write(
        "turns", "ADD fleet :one", values={":one": holder}
    )
    aws.put_row(
        runner_id="fleet-7-1", status="RUNNING", live="started", started_at=1, github_runner_id=1
    )


@pytest.mark.usefixtures("small")
def test_a_job_cancelled_in_line_is_over_at_once(aws: Aws, dispatch: Any) -> None:
    dispatch(bus_event(sample("queued")))
    row = aws.row()
    assert row is not None
    assert row["waiting_for"] == "turn"
    dispatch(bus_event(sample("completed_cancelled")))
    row = aws.row()
    assert row is not None
    assert (row["status"], row["job_status"]) == ("OFFLINE", "cancelled")
    assert row["end_reason"] == "the job was cancelled before a runner had it"
    assert row["cost_usd"] == 0
    # two writes, which a second may part
    assert row["ended_at"] - row["released_at"] in (0, 1)
    assert not {"live", "waiting_for", "waiting_reason", "start_input"} & set(row)
    dispatch(bus_event(sample("queued")))
    aws.put_row(runner_id="fleet-7-1", status="OFFLINE", cost_usd=0.1)
    dispatch(ended("fleet-7-1"))
    assert aws.sfn.named("StartExecution") == []
    assert aws.resumed == []


@pytest.mark.usefixtures("small")
def test_a_replacement_stands_in_line_too(aws: Aws, dispatch: Any) -> None:
    taken = {
        "runner_id": "fleet-7-1",
        "job_id": 7,
        "repository": "octo-org/example",
        "runner_labels": "self-hosted,class:medium",
        "class_name": "Medium",
        "image_tag": "default-1",
        "queued_at": 5,
    }
    aws.sfn.answers["DescribeExecution"] = {"input": json.dumps(taken)}
    dispatch(bus_event(job("in_progress", runner_name="fleet-7-1")))
    row = aws.row("fleet-7-1-r1")
    assert row is not None
    assert (row["waiting_for"], row["class_name"]) == ("turn", "Medium")
    assert aws.sfn.named("StartExecution") == []


# --- ends -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_the_end_of_an_execution_gives_its_turn_to_the_next(
    aws: Aws, dispatch: Any, status: str
) -> None:
    dispatch(bus_event(sample("queued")))
    over = "FAILED" if status == "FAILED" else "OFFLINE"
    aws.put_row(runner_id="fleet-7-1", status=over, cost_usd=0.1, started_at=1)
    for _ in range(2):
        dispatch(ended("fleet-7-1", status))
    (call,) = aws.sfn.named("StartExecution")
    assert call["name"] == RUNNER
    turns = Ledger(dynamodb=aws.dynamodb, table="ledger").get("turns")
    assert turns["fleet"]["SS"] == [RUNNER]
    assert turns["spent_usd"]["N"] == "0.1"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("row", [None, {"status": "OFFLINE"}, {"status": "STARTING"}])
def test_an_execution_that_ended_quietly_leaks_no_turn(
    aws: Aws, dispatch: Any, row: dict[str, Any] | None
) -> None:
    aws.dynamodb.delete_item(TableName="runners", Key={"runner_id": {"S": "fleet-7-1"}})
    if row:
        aws.put_row(runner_id="fleet-7-1", **row)
    dispatch(ended("fleet-7-1"))
    assert "fleet" not in Ledger(dynamodb=aws.dynamodb, table="ledger").get("turns")


@pytest.mark.usefixtures("small")
def test_what_is_spent_is_a_metric(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put_row(runner_id="fleet-7-1", status="OFFLINE", cost_usd=0.75)
    dispatch(ended("fleet-7-1"))
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "BudgetSpentUsd" in one]
    assert json.loads(line)["BudgetSpentUsd"] == [0.75]
    assert json.loads(line)["who"] == "lifecycle"


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        ("FAILED", "Runner.LaunchFailed", True),
        ("FAILED", "Runner.BootTimeout", False),
        ("OFFLINE", "", False),
    ],
)
def test_authors_are_told_of_what_will_not_get_better(
    *, aws: Aws, dispatch: Any, status: str, error: str, told: bool
) -> None:
    aws.put_row(status=status, error=error, cause="no such subnet", job_id=5)
    dispatch(ended(RUNNER, status))
    events = [call["Entries"][0] for call in aws.events.named("PutEvents")]
    assert [json.loads(event["Detail"])["error"] for event in events] == [error] * told


def test_a_job_that_has_a_runner_is_not_called_unserved(aws: Aws, dispatch: Any) -> None:
    aws.park("job")
    # told again after its class has gone from the catalog
    dispatch(bus_event(job("queued", labels=["self-hosted", "class:gone"])))
    assert aws.events.named("PutEvents") == []
    row = aws.row()
    assert row is not None
    assert row["status"] == "WAITING_FOR_JOB"


# --- the budget -----------------------------------------------------------------------------


def test_a_spent_budget_stops_starts_until_the_next_day(fleet: Make) -> None:
    one = fleet(budget=1.0)
    for number in (1, 2, 3):
        one.queue(number)
    one.end(1, cost=0.75)
    assert one.queue(4) == Started()
    one.end(2, cost=0.5)
    assert isinstance(one.queue(5), InLine)
    assert one.row(5)["waiting_reason"] == (
        "today's runners have cost 1.25 USD of a daily budget of 1.00: further ones start at "
        "2026-11-22 00:00 UTC, or raise daily_budget_usd"
    )
    assert set(one.running) == {"fleet-3-1", "fleet-4-1"}, "who has a turn runs on"
    one.now += 12 * 3600 - 1
    assert one.starts.next_in_line() == ()
    one.now += 1
    assert one.starts.next_in_line() == ("fleet-5-1",)
    # the new day's first cost begins a new count
    one.play()
    one.end(3, cost=0.125)
    assert (one.turns["day"], one.turns["spent_usd"]) == ("2026-11-22", "0.125")


def test_a_budget_is_spent_when_it_is_reached(fleet: Make) -> None:
    one = fleet(budget=1.0)
    one.queue(1)
    one.end(1, cost=1.0)
    assert isinstance(one.queue(2), InLine)


def test_a_cost_told_late_counts_for_its_own_day(fleet: Make) -> None:
    one = fleet(budget=1.0)
    one.queue(1)
    one.queue(2)
    one.now += 86400
    one.end(1, cost=0.25)
    one.now -= 86400
    one.end(2, cost=50.0)
    assert (one.turns["day"], one.turns["spent_usd"]) == ("2026-11-22", "0.25")
    assert "fleet" not in one.turns


def test_a_runner_that_holds_a_turn_is_not_asked_for_money_again(fleet: Make) -> None:
    one = fleet(budget=1.0)
    one.queue(1)
    one.queue(2)
    one.end(1, cost=2)
    assert one.starts.admission.admit(Applicant.of_input(one.input(2))) is None


# --- the breaker ----------------------------------------------------------------------------


def broken(one: Fleet, first: int, *, failures: int = FAILURES, **changes: Any) -> None:
    for number in range(first, first + failures):
        assert one.queue(number, **changes) == Started(), number
        one.end(number, error="Runner.BootTimeout", job_started=False)


def test_an_image_whose_runners_fail_is_held_and_then_probed(fleet: Make) -> None:
    one = fleet()
    broken(one, 100)
    assert isinstance(one.queue(1), InLine)
    assert one.row(1)["waiting_reason"] == (
        "10 runners of small/default-1 have failed, the last one with Runner.BootTimeout: "
        "it broke; further ones are held until 12:05:00 UTC, then one is tried"
    )
    assert one.queue(2, image_tag="other-1") == Started()
    assert one.queue(3, class_name="large") == Started()
    one.queue(4)
    # who joins behind others is told what holds them all up, not that they are there
    assert "further ones are held until 12:05:00" in one.row(4)["waiting_reason"]
    one.now += HOLD_SECONDS - 1
    assert one.starts.next_in_line() == ()
    one.now += 1
    assert one.starts.next_in_line() == ("fleet-1-1",)
    one.play()
    assert one.starts.next_in_line() == (), "one at a time"
    assert "now fleet-1-1 is tried" in one.why(4)
    # it fails as well: held again, and no longer for being told so twice
    one.end(1, error="Runner.BootTimeout", job_started=False)
    one.now += 5
    one.starts.runner_ended("fleet-1-1")
    assert one.starts.next_in_line() == ()
    assert "held until 12:10:00" in one.why(4)
    one.queue(5)
    one.now += HOLD_SECONDS - 5
    assert one.starts.next_in_line() == ("fleet-4-1",)
    one.play()
    # it gets as far as a job: nothing is held any more
    one.end(4)
    assert one.running[-1] == "fleet-5-1"
    assert "held" not in one.turns
    assert one.ledger.get("breaker/small/default-1") == {}


def test_a_probe_whose_job_runs_frees_the_others_before_it_ends(fleet: Make) -> None:
    one = fleet()
    broken(one, 100)
    one.queue(1)
    one.queue(2)
    one.now += HOLD_SECONDS
    one.starts.next_in_line()
    one.play()
    one.records.update(
        "fleet-1-1", values={"started_at": one.now}, condition="attribute_exists(runner_id)"
    )
    assert one.starts.next_in_line() == ("fleet-2-1",)


@pytest.mark.parametrize("lost", ["cancelled", "never recorded"])
def test_a_lost_probe_is_followed_by_another(fleet: Make, lost: str) -> None:
    one = fleet()
    broken(one, 100)
    one.queue(1)
    one.queue(2)
    one.now += HOLD_SECONDS
    assert one.starts.next_in_line() == ("fleet-1-1",)
    if lost == "cancelled":
        one.play()
        one.end(1, job_started=False)  # released before it had booted
    else:
        one.dynamodb.delete_item(TableName="runners", Key={"runner_id": {"S": "fleet-1-1"}})
    assert one.starts.next_in_line() == ()
    one.now += 60
    assert one.starts.next_in_line() == ("fleet-2-1",)


def test_a_success_in_between_or_a_slow_series_holds_nothing(fleet: Make) -> None:
    one = fleet()
    broken(one, 100, failures=FAILURES - 1)
    one.queue(1)
    one.end(1)
    broken(one, 200, failures=FAILURES - 1)
    one.now += WINDOW_SECONDS
    broken(one, 300, failures=FAILURES - 1)
    assert one.queue(2) == Started()


@pytest.mark.parametrize("began", ["started_at", "claimed_at"])
def test_one_that_began_before_the_failures_proves_nothing_by_its_end(
    fleet: Make, began: str
) -> None:
    one = fleet()
    one.queue(1)
    one.queue(2)
    for number in (1, 2):
        one.records.update(
            f"fleet-{number}-1", values={began: one.now}, condition="attribute_exists(runner_id)"
        )
    one.now += 60
    broken(one, 100, failures=FAILURES - 1)
    one.end(1, job_started=False)
    broken(one, 200, failures=1)
    assert isinstance(one.queue(3), InLine)
    # nor does it let those go that are held
    one.end(2, job_started=False)
    assert isinstance(one.queue(4), InLine)


@pytest.mark.parametrize(
    "said",
    [
        {"error": "Runner.Terminated", "job_started": False},
        {"error": "Runner.ExecutionEnded", "job_started": False},
        {"error": "Runner.JobTimeout", "job_started": True},
        {"error": "", "job_started": False},
    ],
)
def test_what_is_not_the_images_doing_holds_nothing(fleet: Make, said: dict[str, Any]) -> None:
    one = fleet()
    for number in range(FAILURES + 1):
        assert one.queue(number) == Started()
        one.end(number, **said)


def test_a_failure_told_often_or_days_late_counts_once_or_not_at_all(fleet: Make) -> None:
    one = fleet()
    broken(one, 100, failures=1)
    for _ in range(FAILURES):
        one.starts.runner_ended("fleet-100-1")
    assert one.queue(1) == Started()
    one.now += 2 * WINDOW_SECONDS
    broken(one, 200, failures=FAILURES - 1)
    one.starts.runner_ended("fleet-100-1")
    assert one.queue(2) == Started()


def test_stragglers_prolong_nothing(fleet: Make) -> None:
    one = fleet()
    for number in range(FAILURES + 3):
        one.queue(number)
    for number in range(FAILURES):
        one.end(number, error="Runner.TaskStopped", job_started=False)
    one.now += 100
    for number in range(FAILURES, FAILURES + 3):
        one.end(number, error="Runner.TaskStopped", job_started=False)
    one.queue(50)
    assert "held until 12:05:00" in one.row(50)["waiting_reason"]


def test_what_a_crash_between_two_writes_left_held_is_let_go(fleet: Make) -> None:
    one = fleet()
    one.ledger.write("turns", "ADD held :s", values={":s": frozenset({"image:small/default-1"})})
    assert one.queue(1) == Started()
    assert "held" not in one.turns


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("MAX_RUNNERS", "0", "max_runners is 0, it must be more"),
        ("MAX_RUNNERS_PER_REPOSITORY", "many", "_REPOSITORY is 'many': it must be a whole number"),
        ("DAILY_BUDGET_USD", "0", "daily_budget_usd is 0"),
        ("DAILY_BUDGET_USD", "-1", "DAILY_BUDGET_USD is '-1': it must be a number, and not below"),
        ("DAILY_BUDGET_USD", "nan", "DAILY_BUDGET_USD is 'nan': it must be a number"),
    ],
)
def test_a_limit_that_cannot_be_read_is_named(
    *, dispatch: Any, environment: pytest.MonkeyPatch, key: str, value: str, says: str
) -> None:
    environment.setenv(key, value)
    forget()
    with pytest.raises(Exception, match=says):
        dispatch(bus_event(sample("queued")))


def test_limits_are_read_from_the_environment(
    aws: Aws, dispatch: Any, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MAX_RUNNERS_PER_REPOSITORY", "1")
    environment.setenv("DAILY_BUDGET_USD", "2.5")
    forget()
    dispatch(bus_event(sample("queued")))
    dispatch(bus_event(job("queued", id=2)))
    row = aws.row("fleet-2-1")
    assert row is not None
    assert "1 of at most 1" in row["waiting_reason"]
