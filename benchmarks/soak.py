"""Hundreds of jobs through the local fleet while everything goes wrong now and then.

    python -m benchmarks.soak                        # the three runs of docs/benchmarks.md
    python -m benchmarks.soak --jobs 500 --faults 0.05
    python -m benchmarks.soak --jobs 500 --dropped 0.10

``--faults`` is how often each kind of fault hits a job, and there are some twenty; ``--dropped`` is
how many webhooks get lost. With faults GitHub is late and impatient besides: its lists of runners
are behind, it keeps the names of those that are gone, and it removes idle ones. Reconciliation runs
every few seconds instead of every two minutes, and the machine's pauses are short; nothing else
differs from a deployment.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cdk_runner_fleet.local.twin.faults import (
    ApiFault,
    Conditions,
    WebhookFault,
    WebhookFaultKind,
)
from cdk_runner_fleet.local.twin.records import Job
from cdk_runner_fleet.runner_name import read_name
from testbed.laws import broken, collect, every_job_was_started_or_explained, job_of, told
from testbed.stage import CONTEXT, NO_CAPACITY, Deed, JobSpec, Stage, open_stage

RECONCILE_SECONDS = 5.0
GRACE_SECONDS = 2
SETTINGS = {
    **CONTEXT,
    "reconcile_grace_seconds": GRACE_SECONDS,
    "boot_timeout_seconds": 15,
    "idle_timeout_seconds": 10,
}
JOBS_AT_ONCE = 20
CONDITIONS = Conditions(list_lag_seconds=1, name_held_seconds=2, idle_seconds=6)
LEGS, LEG_SECONDS = 3, 4.0
"""Of a matrix of which one leg runs at a time: the last one's first runner is removed by then."""
STATUSES = (401, 403, 404, 409, 422, 429, 500, 502)
FUNCTIONS = ("receive_webhook", "dispatch_event", "runner_api", "deregister_runner")
ACTIONS = ("queued", "in_progress", "completed")
WEBHOOKS: Mapping[str, WebhookFaultKind] = {
    "webhook lost": "drop",
    "webhook twice": "duplicate",
    "webhook late": "delay",
    "webhook overtaken": "reorder",
}
OTHERS = (
    "held back",
    "no capacity",
    "never boots",
    "cannot pull",
    "interrupted",
    "cancelled",
    "cancelled running",
    "GitHub answers otherwise",
    "GitHub's answer is lost",
    "function dies",
    "function times out",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        name: What it is called in the table.
        jobs: How many.
        faults: How often each kind of fault hits a job, 0 to 1.
        dropped: How many webhooks get lost, 0 to 1.
        seed: Of the dice.
    """

    name: str
    jobs: int
    faults: float = 0.0
    dropped: float = 0.0
    seed: int = 1


@dataclass
class Soak:
    """A run under way: its dice, its jobs, what was done to them."""

    stage: Stage
    plan: Plan
    jobs: list[Job] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    unheard: set[int] = field(default_factory=set)
    hits: Counter[str] = field(default_factory=Counter)
    github_calls: int = 0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.plan.seed)

    def run(self) -> None:
        """Queue all jobs, a few at once, and wait until everything has settled."""
        while len(self.jobs) < self.plan.jobs:
            while self._at_once() >= JOBS_AT_ONCE:
                self.stage.act()
                time.sleep(0.05)
            self._queue()
            self.stage.act()
            self.take_calls()
        self.problems = self.stage.settle(self.jobs, cancelled=self.cancelled, passes=20)
        self.take_calls()

    def take_calls(self) -> None:
        """Count what the fleet asked of GitHub; its hour's quota begins anew with each count."""
        with self.stage.twin.board.lock:
            self.github_calls += self.stage.twin.requests_served
            self.stage.twin.requests_served = 0

    def _at_once(self) -> int:
        return sum(job.status != "completed" for job in self.jobs[-4 * JOBS_AT_ONCE :])

    def _queue(self) -> None:
        (job_id,) = self.stage.next_job_ids(1)
        kinds = [kind for kind, often in self._kinds() if self._dice.random() < often]
        for kind in kinds:
            self.hits[kind] += 1
            self._arm(kind, job_id)
        seconds = 1.0 if {"interrupted", "cancelled running"} & set(kinds) else 0.0
        legs = LEGS if "held back" in kinds else 1
        if legs > 1:
            seconds = LEG_SECONDS
        labels = ("class:medium",) if self._dice.random() < 0.3 else ()
        queued = self.stage.queue(
            JobSpec(name=f"job-{job_id}", labels=labels, seconds=seconds, legs=legs)
        )
        self.jobs += queued
        self._plan(kinds, queued[0])

    def _kinds(self) -> Iterator[tuple[str, float]]:
        """Every kind of fault, and how often it hits."""
        for what in WEBHOOKS:
            lost = self.plan.dropped if what == "webhook lost" else 0.0
            for action in ACTIONS:
                yield f"{what}: {action}", max(lost, self.plan.faults)
        for what in OTHERS:
            yield what, self.plan.faults

    def _arm(self, kind: str, job_id: int) -> None:
        stage, mine = self.stage, f"-{job_id}-1"
        what, _, action = kind.partition(": ")
        if what in WEBHOOKS:
            stage.twin.webhook_faults.add(
                WebhookFault(
                    fault=WEBHOOKS[what],
                    action=action,
                    job_name=f"job-{job_id}*",
                    seconds=self._dice.uniform(0.2, 4.0),
                )
            )
        match kind:
            case "no capacity":
                stage.fault(
                    on="ecs:RunTask",
                    outcome="failure",
                    match=mine,
                    times=self._dice.randint(1, 3),
                    reason=NO_CAPACITY,
                )
            case "never boots" | "cannot pull":
                stage.fault(on="task", outcome=kind.replace(" ", "_"), match=mine)
            case "GitHub answers otherwise" | "GitHub's answer is lost":
                status = self._dice.choice(STATUSES)
                stage.twin.api_faults.add(
                    ApiFault(
                        status=status,
                        headers={"retry-after": "1"} if status == 429 else {},
                        applied=kind == "GitHub's answer is lost",
                    )
                )
            case "function dies" | "function times out":
                dies = kind == "function dies"
                stage.fault(
                    on="function",
                    match=self._dice.choice(FUNCTIONS),
                    event=[str(job_id)],
                    outcome="crash_after" if dies else "times_out",
                    calls=self._dice.randint(0, 5) if dies else 0,
                    times=self._dice.choice((1, 3)),
                )

    def _plan(self, kinds: list[str], job: Job) -> None:
        stage = self.stage

        def cancel() -> None:
            with stage.twin.board.lock:
                if job.status != "completed":
                    self.cancelled.add(job.id)
                    stage.twin.board.cancel(job)

        if "webhook lost: queued" in kinds:
            self.unheard.add(job.id)
        if "cancelled" in kinds:
            stage.deeds.append(Deed(when=lambda: True, do=cancel))
        if "cancelled running" in kinds:
            stage.deeds.append(Deed(when=lambda: job.status == "in_progress", do=cancel))
        if "interrupted" in kinds:
            stage.deeds.append(
                Deed(
                    when=lambda: job.status == "in_progress",
                    do=lambda: stage.interrupt(job.runner_name or ""),
                )
            )


class Schedule:
    """Reconciliation every few seconds, until its block ends."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(RECONCILE_SECONDS):
            self._stage.reconcile()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What came of a run; times in seconds."""

    plan: Plan
    hits: int
    succeeded: int
    cancelled: int
    explained: int
    lost: int
    left: int
    replacements: int
    tasks: float
    transitions: float
    github_calls: float
    invocations: float
    unheard: list[float]
    seconds: float
    problems: list[str]


def soak(plan: Plan) -> Figures:
    """Run a plan on a fleet of its own."""
    with open_stage(SETTINGS) as stage:
        Soak(stage, Plan(name="the image is built", jobs=1)).run()
        before = stage.stats()
        run, begin = Soak(stage, plan), time.monotonic()
        if plan.faults:
            stage.twin.board.conditions = CONDITIONS
        if plan.faults or plan.dropped:
            with Schedule(stage):
                run.run()
        else:
            run.run()
        seconds = time.monotonic() - begin
        stats = stage.stats()
        evidence = collect(stage.local, run.jobs, cancelled=run.cancelled)
        lost = len([*every_job_was_started_or_explained(evidence)])
        rows = evidence.rows
        replaced = sum(bool(name and name.number) for name in map(read_name, rows))
        mine = {job.id for job in run.jobs}
        tasks = [task for task in evidence.tasks if job_of(task.get("startedBy", "")) in mine]
        conclusions = Counter(job.conclusion for job in run.jobs)
        return Figures(
            plan=plan,
            hits=run.hits.total(),
            succeeded=conclusions["success"],
            cancelled=len(run.cancelled),
            explained=sum(told(row) for row in rows.values()),
            lost=lost,
            left=len(broken(evidence)) - lost,
            replacements=replaced,
            tasks=len(tasks) / plan.jobs,
            transitions=(stats["transitions"] - before["transitions"]) / plan.jobs,
            github_calls=run.github_calls / plan.jobs,
            invocations=(sum(stats["invocations"].values()) - sum(before["invocations"].values()))
            / plan.jobs,
            unheard=[
                job.started_at - job.queued_at
                for job in run.jobs
                if job.id in run.unheard and job.started_at and job.queued_at
            ],
            seconds=seconds,
            problems=run.problems,
        )


def table(all_figures: list[Figures]) -> str:
    """The figures as Markdown."""
    rows: list[tuple[str, list[str]]] = [
        ("jobs", [str(one.plan.jobs) for one in all_figures]),
        ("faults that hit", [str(one.hits) for one in all_figures]),
        ("succeeded", [str(one.succeeded) for one in all_figures]),
        ("cancelled by somebody", [str(one.cancelled) for one in all_figures]),
        ("explained to their authors", [str(one.explained) for one in all_figures]),
        ("**jobs lost** (aim: 0)", [str(one.lost) for one in all_figures]),
        ("**runners, tasks, turns left** (aim: 0)", [str(one.left) for one in all_figures]),
        ("runners that stood in for another", [str(one.replacements) for one in all_figures]),
        ("tasks launched a job", [f"{one.tasks:.2f}" for one in all_figures]),
        ("state transitions a job (aim: < 12)", [f"{one.transitions:.1f}" for one in all_figures]),
        ("GitHub calls a job", [f"{one.github_calls:.1f}" for one in all_figures]),
        ("Lambda invocations a job", [f"{one.invocations:.1f}" for one in all_figures]),
        ("lost `queued` webhooks", [str(len(one.unheard)) for one in all_figures]),
        ("from queued to running then, median s", [_middle(one.unheard) for one in all_figures]),
        ("the same, longest s", [_most(one.unheard) for one in all_figures]),
        ("whole run, s", [f"{one.seconds:.0f}" for one in all_figures]),
    ]
    head = ["figure", *(one.plan.name for one in all_figures)]
    lines = [head, ["---"] * len(head), *([name, *values] for name, values in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _middle(values: list[float]) -> str:
    return f"{statistics.median(values):.1f}" if values else "-"


def _most(values: list[float]) -> str:
    return f"{max(values):.1f}" if values else "-"


def main(arguments: list[str] | None = None) -> None:
    """Print the table; fail if a job was lost or anything left."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--dropped", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments or [])
    plans = [
        Plan(name="no faults", jobs=100),
        Plan(name="5 % of every kind", jobs=given.jobs, faults=0.05, seed=given.seed),
        Plan(name="10 % webhooks lost", jobs=given.jobs, dropped=0.10, seed=given.seed),
    ]
    if given.faults or given.dropped:
        name = f"{given.faults:.0%} faults, {given.dropped:.0%} webhooks lost"
        plans = [
            Plan(
                name=name,
                jobs=given.jobs,
                faults=given.faults,
                dropped=given.dropped,
                seed=given.seed,
            )
        ]
    all_figures = [soak(plan) for plan in plans]
    print(f"Reconciled every {RECONCILE_SECONDS:g} s, grace {GRACE_SECONDS} s.\n")
    print(table(all_figures))
    problems = [problem for one in all_figures for problem in one.problems]
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main(sys.argv[1:])
