"""Beginnings and ends of runners: the line, those who leave it, and what an end starts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fleet_runtime.admission.starts import InLine, Known, Started
from fleet_runtime.admission.turns import Applicant
from fleet_runtime.admission.turns_entry import LINE_REST_SECONDS, TurnsEntry

from ..aws_stand_in import RUNNER, Aws
from ..events import bus_event, job, sample
from ..lines import lines, measured
from .conftest import NOON, Make, ended


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


def test_a_turn_that_came_back_while_a_job_joined_is_not_lost(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    document = one.input(2)
    assert one.starts.admission.admit(Applicant.of_input(document)) is not None
    one.entry.leave("fleet-1-1")  # sees nobody in line
    assert one.starts._join_line(document, reason="full")
    assert one.queue(2) == Started()


def test_one_who_joined_without_saying_so_is_found_by_the_next_look(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.starts._join_line(one.input(2), reason="full")  # and then the function died
    assert one.starts.next_in_line() == ()
    assert one.turns.last_in_line == "fleet-2-1"
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


def test_the_line_is_not_read_for_those_who_join_while_nobody_can_start(
    fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fleet(1)
    one.queue(1)
    monkeypatch.setattr(one.records, "in_line", lambda **_: pytest.fail("it was read"))
    assert isinstance(one.queue(2), InLine)


def test_a_turn_that_comes_back_while_the_newcomer_looks_is_its_own(
    fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fleet(1)
    one.queue(1)
    join = one.entry.join_line

    def meanwhile(runner_id: str) -> None:
        monkeypatch.setattr(one.entry, "join_line", join)
        # sees nobody in line
        one.end(1)
        join(runner_id)

    monkeypatch.setattr(one.entry, "join_line", meanwhile)
    one.queue(2)
    assert one.running == ["fleet-2-1"]


def test_an_index_that_lags_behind_starts_nobody_who_has_left(
    fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    stale = one.records.in_line(after="", most=10)
    assert [runner.runner_id for runner in stale] == ["fleet-2-1"]
    one.records.leave_line("fleet-2-1", values={"status": "OFFLINE"})
    monkeypatch.setattr(one.records, "in_line", lambda after, most: stale[:most])
    one.end(1)
    assert len(one.aws.sfn.named("StartExecution")) == 1
    assert one.holders == []


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
    assert not {"live", "place", "waiting_for", "start_input"} & set(row)
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
    assert one.turns.last_in_line == ""


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
    assert one.holders == ["fleet-3-1"]
    row = one.row(2)
    assert (row["status"], row["error"]) == ("FAILED", "Runner.Runtime")
    assert says in row["cause"]
    assert "start_input of its row" in row["cause"]
    assert not {"live", "waiting_for"} & set(row)


def test_an_empty_line_is_over_when_it_has_been_empty_for_a_while(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    one.end(1)
    one.end(2)
    assert one.turns.last_in_line == "fleet-2-1", "the index may lag behind"
    assert one.queue(3) == Started()
    one.now += LINE_REST_SECONDS
    one.end(3)
    assert one.turns.last_in_line == ""


def test_two_that_look_at_the_line_at_once_start_each_once(fleet: Make) -> None:
    one = fleet(6)
    for number in range(12):
        one.queue(number)
    for number in range(6):
        one.entry.leave(f"fleet-{number}-1")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: one.starts.next_in_line(), range(4)))
    one.play()
    assert sorted(one.running[6:]) == sorted(f"fleet-{n}-1" for n in range(6, 12))
    assert len(one.holders) == 6


def test_a_long_line_is_read_to_its_end_for_other_repositories(fleet: Make) -> None:
    one = fleet(2, per_repository=1)
    one.queue(0)
    filler = "x" * 4000  # so that the index has more than one page
    for number in range(1, 300):
        document = one.input(number) | {"job_name": filler}
        one.starts._join_line(document, reason="full")
    one.starts._join_line(one.input(999, repository="octo-org/two"), reason="full")
    assert one.starts.next_in_line() == ("fleet-999-1",)


def test_a_long_line_of_one_repository_keeps_no_other_from_its_turn(
    fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_runtime.admission.starts._MOST_READ", 5)
    one = fleet(2)
    for number in (1, 2):
        one.queue(number)
    for number in range(3, 33):
        one.starts._join_line(one.input(number), reason="full")
    for number, repository in ((40, "octo-org/two"), (41, "octo-org/three")):
        one.starts._join_line(one.input(number, repository=repository), reason="full")
    assert one.starts.next_in_line() == ()
    order = []
    for _ in range(4):
        one.end(int(one.running[0].split("-")[1]))
        order.append(one.running[-1])
    assert order == ["fleet-40-1", "fleet-3-1", "fleet-41-1", "fleet-4-1"]


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
        assert one.holders == ["fleet-2-1"]
        return
    assert (one.row(2)["status"], one.row(2)["error"]) == ("FAILED", "Runner.ExecutionEnded")
    assert "live" not in one.row(2)
    assert one.holders == []


# --- cancelled in line ----------------------------------------------------------------------


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
    assert aws.holders == [RUNNER]
    assert list(TurnsEntry(aws.ledger).read().spent_usd.values()) == [0.1]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("row", [None, {"status": "OFFLINE"}, {"status": "STARTING"}])
def test_an_execution_that_ended_quietly_leaks_no_turn(
    aws: Aws, dispatch: Any, row: dict[str, Any] | None
) -> None:
    aws.dynamodb.delete_item(TableName="runners", Key={"runner_id": {"S": "fleet-7-1"}})
    if row:
        aws.put_row(runner_id="fleet-7-1", **row)
    dispatch(ended("fleet-7-1"))
    assert aws.holders == []


@pytest.mark.usefixtures("small")
def test_what_is_spent_is_a_metric(
    aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put_row(runner_id="fleet-7-1", status="OFFLINE", cost_usd=0.75)
    dispatch(ended("fleet-7-1"))
    [line] = [one for one in lines(capsys.readouterr().out) if "BudgetSpentUsd" in one]
    assert measured(line) == {
        "BudgetSpentUsd": (0.75, ("fleet",)),
        "RunnerUsd": (0.75, ("fleet",)),
    }
    assert "error" not in line


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("error", "counted"), [("Runner.BootTimeout", "Runner.BootTimeout"), ("Ecs.Strange", "Ecs")]
)
def test_a_failure_counts_by_its_cause_and_what_it_wasted(
    error: str, counted: str, aws: Aws, dispatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"launched_at": 100, "ended_at": 200, "cost_usd": 0.5, "class_name": "small"}
    aws.put_row(runner_id="fleet-7-1", status="FAILED", error=error, cause="why", **row)
    dispatch(ended("fleet-7-1", "FAILED"))
    [line] = [one for one in lines(capsys.readouterr().out) if "RunnerUsd" in one]
    assert measured(line) == {
        "BudgetSpentUsd": (0, ("fleet",)),  # it ended on another day
        "IdleSeconds": (100, ("fleet",)),
        "IdleUsd": (0.5, ("fleet",)),
        "RunnerFailed": (1, ("fleet", counted)),
        "RunnerUsd": (0.5, ("fleet",)),
    }
    assert (line["message"], line["cause"]) == ("runner ended", f"{error}: why")


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
