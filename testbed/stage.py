"""A whole fleet on this machine, things that go wrong with it, and the way back to rest."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cdk_runner_fleet.local.fleet import LocalFleet
from cdk_runner_fleet.local.twin import GitHubTwin
from cdk_runner_fleet.local.twin.board import FIRST_JOB_ID
from cdk_runner_fleet.local.twin.records import Job, Run
from cdk_runner_fleet.local.twin.workflows import read_workflow
from fleet_runtime.admission.turns import LEAVING, RunnerTurns
from fleet_runtime.aws.items import Value, text
from fleet_runtime.aws.ledger import TURNS, Ledger
from fleet_runtime.images.build_queue import START_SECONDS, BuildQueueEntry, BuildTurn
from testbed.laws import broken, collect, ledger_table

REPOSITORY = "octo-org/octo-repo"
NO_CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different AZ."
"""ECS's own words."""
_PATIENCE_SECONDS = 120.0
"""More than anything takes on a machine with other work to do: only a failure waits as long."""
_UNREST_SECONDS = 600.0
"""The same for a dozen jobs one after another."""
_POLL_SECONDS = 0.2
_RETRY_SETTING, _RETRY_SECONDS = "LAMBDA_ASYNC_RETRY_BASE_SECONDS", "0.1"
"""ministack's pause before it makes an asynchronous call again; Lambda's is a minute."""
_QUIET_SECONDS = 0.8
"""Much longer than what ministack then waits before the second and the third call, 0.1 and 0.2."""
_STARTING_SECONDS = 5
"""Longer than those pauses: an asynchronous call that is made again may start the build yet."""
CONTEXT: Mapping[str, object] = {
    "github_repo": REPOSITORY,
    # the shortest that a busy machine keeps when nothing is wrong
    "boot_timeout_seconds": 6,
    "idle_timeout_seconds": 2,
    "image_build_timeout_seconds": 6,
    "runner_ttl_seconds": 60,
    # reconciliation is called by hand, and everything is old enough for it
    "reconcile_minutes": 1440,
    "reconcile_grace_seconds": 1,
}


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job to be queued.

    Attributes:
        name: As GitHub shows it.
        labels: Besides ``self-hosted``.
        seconds: How long it takes.
        gated: Whether somebody has to approve it first.
        legs: How many legs of a matrix it is, of which GitHub lets one run at a time.
    """

    name: str = "build"
    labels: tuple[str, ...] = ()
    seconds: float = 0.0
    gated: bool = False
    legs: int = 1

    @property
    def yaml(self) -> str:
        """Its workflow file."""
        job = {
            "name": self.name,
            "runs-on": ["self-hosted", *self.labels],
            "steps": [{"run": f"sleep {self.seconds}" if self.seconds else "true"}],
            **({"environment": "production"} if self.gated else {}),
            **({"strategy": self._strategy} if self.legs > 1 else {}),
        }
        return json.dumps({"name": "ci", "on": "push", "jobs": {"build": job}})

    @property
    def _strategy(self) -> dict[str, object]:
        matrix = {"leg": list(range(self.legs))}
        return {"max-parallel": 1, "fail-fast": False, "matrix": matrix}


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Something to do as soon as its moment has come."""

    when: Callable[[], object]
    do: Callable[[], object]


@dataclass
class Stage:
    """A fleet whose faults are at hand.

    Attributes:
        deeds: What is to be done while the fleet is waited for, each once.
    """

    local: LocalFleet
    deeds: list[Deed] = field(default_factory=list)
    _functions: dict[str, str] = field(default_factory=dict)
    _reconciling: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(dynamodb=self.local.client("dynamodb"), table=ledger_table(self.local))

    @cached_property
    def _builds(self) -> BuildQueueEntry:
        return BuildQueueEntry(ledger=self._ledger, most=0)

    @property
    def twin(self) -> GitHubTwin:
        """GitHub."""
        assert self.local.twin
        return self.local.twin

    # Faults

    def fault(self, **rule: Any) -> int:
        """Add a rule to the emulator's table; returns its place among ``faults_used``."""
        place: int = self._fleet("POST", "faults", rule)["place"]
        return place

    def faults_used(self) -> list[dict[str, Any]]:
        """The emulator's rules, each with how often it was ``used``."""
        rules: list[dict[str, Any]] = self._fleet("GET", "faults")["faults"]
        return rules

    def row(self, runner: str) -> dict[str, Any]:
        """A runner's row; empty if there is none."""
        found = self.local.client("dynamodb").get_item(
            TableName=self.local.outputs["RunnerTableName"],
            Key={"runner_id": {"S": runner}},
            ConsistentRead=True,
        )
        return {key: next(iter(value.values())) for key, value in found.get("Item", {}).items()}

    def interrupt(self, runner: str) -> bool:
        """Take a runner's task away as Spot does; False if it has none that runs."""
        rule = {"on": "running_task", "outcome": "SpotInterruption", "match": runner}
        return bool(self._fleet("POST", "faults", rule)["task_arns"])

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self._fleet("DELETE", "faults")
        self.twin.api_faults.clear()
        self.twin.webhook_faults.clear()

    # Jobs

    def next_job_ids(self, count: int) -> list[int]:
        """The ids of the next jobs, for faults that must be there before them."""
        first = max(self.twin.board.jobs, default=FIRST_JOB_ID - 1) + 1
        return list(range(first, first + count))

    def queue(self, *specs: JobSpec) -> list[Job]:
        """Queue jobs, each in a run of its own."""
        return [job for spec in specs for job in self.run(spec).jobs]

    def run(self, spec: JobSpec) -> Run:
        """Queue a job; returns its run."""
        return self.twin.board.queue_run(
            read_workflow(spec.yaml, file_name="ci.yml"),
            file_name="ci.yml",
            workspace=None,
            protected_environments=frozenset({"production"}),
        )

    def register(self, name: str) -> None:
        """Register a runner that nobody will ever start."""
        body = {"name": name, "labels": ["self-hosted"], "runner_group_id": 1}
        request = urllib.request.Request(
            f"{self.twin.url}/repos/{REPOSITORY}/actions/runners/generate-jitconfig",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.twin.token}"},
        )
        urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS).close()

    # Functions

    def invoke(self, handler: str, payload: object = None) -> Any:
        """Call a function by its handler's module and wait for its answer."""
        reply = self.local.client("lambda").invoke(
            FunctionName=self.function(handler), Payload=json.dumps(payload or {})
        )
        return json.loads(reply["Payload"].read() or b"null")

    def function(self, handler: str) -> str:
        """The name of the function of a handler's module."""
        if not self._functions:
            pages = self.local.client("lambda").get_paginator("list_functions").paginate()
            self._functions = {
                function["Handler"].removesuffix(".handler"): function["FunctionName"]
                for page in pages
                for function in page["Functions"]
            }
        return self._functions[handler]

    def reconcile(self) -> dict[str, Any]:
        """One pass of demand reconciliation; what it reports, or its error.

        It comes some minutes after the last one, as the ledger has it, and finds the fleet not
        idle: else it would look at nothing but demand until the next quarter of an hour.
        """
        with self._reconciling:
            self._pass_time()
            if not any(job.status == "waiting" for job in self.twin.board.jobs.values()):
                self.run(JobSpec(name="never approved", gated=True))
            report: dict[str, Any] = self.invoke("reconcile_demand")
        return report

    def _pass_time(self) -> None:
        """Whatever the ledger holds until some moment, is held no more; moves of turns settle."""
        entries = {text(item, "entry"): item for item in self._ledger.scan()}
        for entry, item in entries.items():
            for until in {"held_until", "open_until"} & set(item):
                self._ledger.update(entry, values={until: 0})
        if self.at_work():
            return  # one of those who are may have written what was read, and not be done
        for entry, item in entries.items():
            for since in {"taken_at", "left_at"} & set(item):
                nonce = text(item, "nonce")
                self._ledger.update(entry, values={since: 0}, expected={"nonce": nonce})
        turns = RunnerTurns.from_item(entries.get(TURNS, {}))
        notes: dict[str, Value] = {
            turn.taking: replace(turn, taken_at=0).note for turn in turns.taking.values()
        }
        notes |= {f"{LEAVING}{nonce}": 0 for nonce in turns.leaving}
        for name, note in notes.items():
            self._ledger.write_if(
                TURNS,
                "SET #note = :note",
                condition="attribute_exists(#note)",
                names={"#note": name},
                values={":note": note},
            )

    def stats(self) -> dict[str, Any]:
        """The emulator's counts."""
        counts: dict[str, Any] = self._fleet("GET", "stats")
        return counts

    # Rest

    def at_work(self, stats: Mapping[str, Any] | None = None) -> int:
        """How many webhooks, executions and invocations are under way."""
        webhooks, stats = self.twin.deliveries_under_way, stats or self.stats()
        return int(webhooks + stats["executions_running"] + stats["invocations_running"])

    def until(self, reached: Callable[[], object], *, seconds: float = _PATIENCE_SECONDS) -> bool:
        """Wait for something, and do meanwhile what is due; whether it came."""
        deadline = time.monotonic() + seconds
        while not reached():
            self.act()
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def quiet(self) -> None:
        """Wait until no webhook, no function and no execution has been under way for a while."""
        deadline = time.monotonic() + _UNREST_SECONDS
        since, before = time.monotonic(), -1
        while time.monotonic() - since < _QUIET_SECONDS:
            assert time.monotonic() < deadline, f"no rest: {self.stats()}"
            stats = self.stats()
            made = sum(stats["invocations"].values())
            if self.act() or made != before or self.at_work(stats):
                since, before = time.monotonic(), made
                self._bury_starters()
            time.sleep(_POLL_SECONDS)

    def _bury_starters(self) -> None:
        """Turns to build are free again of those who died with them, before a minute and a half."""
        now = int(time.time())
        starters = [
            turn
            for turn in self._builds.read().held
            if not turn.build_id and turn.until - START_SECONDS < now - _STARTING_SECONDS
        ]
        if not starters or self.stats()["invocations_running"]:
            return  # one of those who run may be it

        def bury(turn: BuildTurn) -> BuildTurn:
            return replace(turn, until=min(turn.until, now)) if turn in starters else turn

        self._builds.change(lambda queue: replace(queue, held=tuple(map(bury, queue.held))))

    def settle(
        self,
        jobs: Sequence[Job],
        *,
        cancelled: Collection[int] = frozenset(),
        passes: int = 8,
    ) -> list[str]:
        """Let the fleet come to rest, reconciling as its schedule would.

        Args:
            jobs: The jobs to look at.
            cancelled: Ids of those that a person cancelled.
            passes: How often it is reconciled at the most.

        Returns:
            The laws that do not hold even then; none if all is well.
        """
        problems: list[str] = []
        for _ in range(passes):
            self.quiet()
            report = self.reconcile()
            self.quiet()
            problems = self._problems(jobs, cancelled)
            if not problems and not changed(report):
                return []
        return problems

    def act(self) -> bool:
        """Do what is due; whether anything was."""
        due = [deed for deed in self.deeds if deed.when()]
        for deed in due:
            self.deeds.remove(deed)
            deed.do()
        return bool(due)

    def _problems(self, jobs: Sequence[Job], cancelled: Collection[int]) -> list[str]:
        def look() -> list[str]:
            return broken(collect(self.local, jobs, cancelled=cancelled))

        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (problems := look()) and time.monotonic() < deadline:
            if not all(problem.startswith("a task of") for problem in problems):
                break
            time.sleep(_POLL_SECONDS)
        return problems

    def _fleet(self, method: str, path: str, body: object = None) -> Any:
        return self.local.control(method, f"/_fleet/{path}", body)


def changed(report: Mapping[str, Any]) -> bool:
    """Whether a pass of reconciliation did anything, or failed to."""
    return "errorType" in report or any(isinstance(did, list) and did for did in report.values())


def hurry(definition: str, *, capacity_seconds: int = 1) -> str:
    """The same machine with short pauses, so that its last try comes soon."""
    machine = json.loads(definition)
    machine["States"]["AwaitCapacity"]["TimeoutSeconds"] = capacity_seconds
    for state in machine["States"].values():
        if state["Type"] == "Wait":
            state["Seconds"] = 1
        for retry in state.get("Retry", []):
            if "MaxDelaySeconds" in retry:
                retry.update(IntervalSeconds=1, MaxDelaySeconds=2, BackoffRate=1.1)
    return json.dumps(machine)


@contextmanager
def open_stage(context: Mapping[str, object] = CONTEXT) -> Iterator[Stage]:
    """A fleet ready to be disturbed.

    Args:
        context: Its settings. Default: those of one that waits for nothing long.
    """
    with ExitStack() as parts:
        with _quick_retries():
            local = parts.enter_context(LocalFleet(context=context))
        states, arn = local.client("stepfunctions"), local.outputs["StateMachineArn"]
        definition = states.describe_state_machine(stateMachineArn=arn)["definition"]
        states.update_state_machine(stateMachineArn=arn, definition=hurry(definition))
        yield Stage(local)


@contextmanager
def _quick_retries() -> Iterator[None]:
    """Processes that start meanwhile make failed asynchronous calls again without much ado."""
    before = os.environ.get(_RETRY_SETTING)
    os.environ[_RETRY_SETTING] = _RETRY_SECONDS
    try:
        yield
    finally:
        os.environ.pop(_RETRY_SETTING)
        if before is not None:
            os.environ[_RETRY_SETTING] = before
