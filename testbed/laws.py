"""What must hold of a fleet once everything has settled, whatever happened to it before.

The laws look at what GitHub, ECS, Step Functions and the tables say, never at what a test did; all
they are told besides is which jobs a person has cancelled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin.records import Job, Runner
from cdk_runner_fleet.runner_name import read_name
from fleet_runtime.admission.turns import RunnerTurns
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws.ledger import Ledger

Row = Mapping[str, Any]

_BY_THE_FLEET = "UserInitiated"
"""ECS's stop code of whatever was stopped with StopTask, which here is the fleet's alone."""

_NEEDLESS_IF_HELD_BACK = 3
"""Of a job that waits for others: its first runner, one that looks, one that comes too early."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The state of a fleet and of its surroundings.

    Attributes:
        jobs: GitHub's jobs that are looked at.
        cancelled: Ids of those that a person cancelled.
        registered: Every runner that was ever registered.
        present: Those that still are.
        tasks: ECS's tasks of any status.
        executions: Names of the executions that are open.
        rows: The runners' rows by runner.
        turns: How many turns are counted, by the ledger's scopes.
        holders: Those scopes of each runner that holds a turn.
        unfinished: Moves of a turn that should have been finished by now.
    """

    jobs: Sequence[Job]
    cancelled: Collection[int] = frozenset()
    registered: Sequence[Runner] = ()
    present: Sequence[Runner] = ()
    tasks: Sequence[Mapping[str, Any]] = ()
    executions: Sequence[str] = ()
    rows: Mapping[str, Row]
    turns: Mapping[str, int]
    holders: Mapping[str, Collection[str]]
    unfinished: Sequence[str] = ()

    def tasks_of(self, runner: str) -> list[Mapping[str, Any]]:
        """The tasks that were started for a runner, the oldest first."""
        found = [task for task in self.tasks if task.get("startedBy") == runner]
        return sorted(found, key=lambda task: task["createdAt"])

    def rows_of(self, job: Job) -> list[Row]:
        """The rows of the runners that were started for a job."""
        return [row for name, row in self.rows.items() if job_of(name) == job.id]


def job_of(runner: str) -> int | None:
    """The job that a runner was started for; None for a name that is not the fleet's."""
    name = read_name(runner)
    return name.job_id if name else None


def told(row: Row) -> bool:
    """Whether the job's author was told why it has no runner, for now or for good."""
    return "explained_at" in row or "given_up_at" in row


def broken(evidence: Evidence) -> list[str]:
    """The laws that do not hold, each with what broke it; none if all is well."""
    return [problem for law in LAWS for problem in law(evidence)]


def every_job_was_started_or_explained(evidence: Evidence) -> Iterator[str]:
    for job in evidence.jobs:
        if job.runner_name or job.status == "waiting" or job.conclusion == "skipped":
            continue
        if job.status == "completed" and job.id in evidence.cancelled:
            continue
        rows = evidence.rows_of(job)
        if not any(row["status"] == "FAILED" and row.get("cause") and told(row) for row in rows):
            yield f"job {job.id} is {job.status} ({job.conclusion}), not explained: {_said(rows)}"


def no_task_runs(evidence: Evidence) -> Iterator[str]:
    for task in evidence.tasks:
        if task["lastStatus"] != "STOPPED":
            yield f"a task of {task.get('startedBy')} is {task['lastStatus']}: {task['taskArn']}"


def no_execution_is_open(evidence: Evidence) -> Iterator[str]:
    for name in evidence.executions:
        yield f"execution {name} is open: {_said(evidence.rows.get(name))}"


def no_runner_is_registered_without_a_job(evidence: Evidence) -> Iterator[str]:
    for runner in evidence.present:
        if runner.job is None:
            yield f"{runner.name} is registered at GitHub: {_said(evidence.rows.get(runner.name))}"


def no_runner_was_stopped_while_it_had_a_job(evidence: Evidence) -> Iterator[str]:
    """Neither one that was given a job, nor one whose job had begun.

    A runner that is stopped reports its job as cancelled, as the real one does; one that has no
    time to is out of contact, and its job fails.
    """
    for job in evidence.jobs:
        suspects = dict(job.deserted_by)
        if job.runner_name and job.conclusion != "success" and job.id not in evidence.cancelled:
            suspects[job.runner_name] = job.started_at or 0
        for name, had_it_at in sorted(suspects.items()):
            # one task of a runner follows the other: the last that was there then had the job
            codes = [
                task.get("stopCode")
                for task in evidence.tasks_of(name)
                if task["createdAt"].timestamp() <= had_it_at
            ]
            if codes and codes[-1] == _BY_THE_FLEET:
                yield (
                    f"{name} was stopped while it had job {job.id} ({job.status}, "
                    f"{job.conclusion}): {_said(evidence.rows.get(name))}"
                )


def at_most_one_runner_a_job_was_needless(evidence: Evidence) -> Iterator[str]:
    """A needless runner came up for a job, was never given any, and was not taken by AWS.

    One is nobody's fault: the job was cancelled while it booted, or had another's runner. Nor are a
    few for each job that GitHub held back, whoever of the same labels they were started for: it
    tells nobody.
    """
    spared: Counter[frozenset[str]] = Counter()
    for held_back in (job for job in evidence.jobs if job.held_back):
        spared[_lowered(held_back.leg.labels)] += _NEEDLESS_IF_HELD_BACK
    needless: dict[int, list[Runner]] = defaultdict(list)
    for runner in evidence.registered:
        job = job_of(runner.name)
        tasks = evidence.tasks_of(runner.name)
        taken = tasks and tasks[-1].get("stopCode") not in (
            _BY_THE_FLEET,
            "EssentialContainerExited",
        )
        if job is not None and runner.connected_once and not runner.had_job and not taken:
            needless[job].append(runner)
    for job, runners in needless.items():
        labels = _lowered(runners[0].labels)
        beyond = len(runners) - 1
        pardoned = min(beyond, spared[labels])
        spared[labels] -= pardoned
        if beyond > pardoned:
            names = ", ".join(runner.name for runner in runners)
            yield f"job {job} had {len(runners)} needless runners: {names}"


def no_row_is_live(evidence: Evidence) -> Iterator[str]:
    for name, row in evidence.rows.items():
        left = {"live", "place", "waiting_labels", "task_token"} & set(row)
        if left or row["status"] not in ("OFFLINE", "FAILED"):
            yield f"{name} is {row['status']} and has {sorted(left)}: {_said(row)}"


def no_turn_is_held(evidence: Evidence) -> Iterator[str]:
    for name, scopes in evidence.holders.items():
        row = _said(evidence.rows.get(name))
        yield f"{name} holds a turn of {', '.join(sorted(scopes))}: {row}"


def as_many_turns_are_counted_as_held(evidence: Evidence) -> Iterator[str]:
    held = Counter(scope for scopes in evidence.holders.values() for scope in scopes)
    for scope in sorted({*evidence.turns, *held}):
        counted = evidence.turns.get(scope, 0)
        if counted != held[scope]:
            yield f"of {scope} {counted} turns are counted, {held[scope]} held"


def no_move_of_a_turn_is_unfinished(evidence: Evidence) -> Iterator[str]:
    yield from evidence.unfinished


LAWS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    every_job_was_started_or_explained,
    no_task_runs,
    no_execution_is_open,
    no_runner_is_registered_without_a_job,
    no_runner_was_stopped_while_it_had_a_job,
    at_most_one_runner_a_job_was_needless,
    no_row_is_live,
    no_turn_is_held,
    as_many_turns_are_counted_as_held,
    no_move_of_a_turn_is_unfinished,
)


def collect(
    local: LocalFleet, jobs: Sequence[Job], *, cancelled: Collection[int] = frozenset()
) -> Evidence:
    """Look at a fleet.

    Args:
        local: The fleet; it has a twin.
        jobs: The jobs to look at. What is open or running is the whole fleet's.
        cancelled: Ids of the jobs that a person cancelled.
    """
    assert local.twin
    ids = {job.id for job in jobs}
    ledger = Ledger(dynamodb=local.client("dynamodb"), table=ledger_table(local))
    entry = TurnsEntry(ledger)
    held, turns = entry.holders(), entry.read()
    board = local.twin.board
    with board.lock:
        registered = [runner for runner in board.registered if job_of(runner.name) in ids]
        present = list(board.runners.values())
    return Evidence(
        jobs=jobs,
        cancelled=cancelled,
        registered=registered,
        present=present,
        tasks=_tasks(local),
        executions=_open_executions(local),
        rows={
            name: row
            for item in _scan(local, local.outputs["RunnerTableName"])
            if job_of(name := item["runner_id"]["S"]) in ids
            for row in [{key: next(iter(value.values())) for key, value in item.items()}]
        },
        turns=turns.counts,
        holders={turn.runner_id: list(turn.scopes.values()) for turn in held},
        unfinished=list(_unfinished(turns, before=entry.settled)),
    )


def _lowered(labels: Iterable[str]) -> frozenset[str]:
    return frozenset(label.lower() for label in labels)


def ledger_table(local: LocalFleet) -> str:
    """The name of the ledger's table."""
    names: list[str] = local.client("dynamodb").list_tables()["TableNames"]
    (ledger,) = [name for name in names if "Ledger" in name]
    return ledger


def _said(row: Row | Sequence[Row] | None) -> str:
    """The few things of a row that tell its story."""
    if isinstance(row, Mapping):
        keys = ("runner_id", "status", "error", "cause", "end_reason", "waiting_for", "stop_code")
        return ", ".join(f"{key}={row[key]}" for key in keys if key in row)
    return " | ".join(_said(one) for one in row or ()) or "no row"


def _tasks(local: LocalFleet) -> list[Mapping[str, Any]]:
    ecs, cluster = local.client("ecs"), local.outputs["ClusterArn"]
    found: list[Mapping[str, Any]] = []
    for status in ("RUNNING", "STOPPED"):
        pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster, desiredStatus=status)
        for page in pages:
            if page["taskArns"]:
                found += ecs.describe_tasks(cluster=cluster, tasks=page["taskArns"])["tasks"]
    return found


def _open_executions(local: LocalFleet) -> list[str]:
    pages = local.client("stepfunctions").get_paginator("list_executions")
    machine = local.outputs["StateMachineArn"]
    return [
        execution["name"]
        for page in pages.paginate(stateMachineArn=machine, statusFilter="RUNNING")
        for execution in page["executions"]
    ]


def _unfinished(turns: RunnerTurns, *, before: int) -> Iterator[str]:
    for turn in turns.taking.values():
        if turn.taken_at <= before:
            yield f"a turn of {turn.runner_id} was counted at {turn.taken_at}: {turn.nonce}"
    for nonce, since in turns.leaving.items():
        if since <= before:
            yield f"a turn was given back at {since}: {nonce}"


def _scan(local: LocalFleet, table: str) -> list[dict[str, Any]]:
    pages = (
        local.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=table, ConsistentRead=True)
    )
    return [item for page in pages for item in page["Items"]]
