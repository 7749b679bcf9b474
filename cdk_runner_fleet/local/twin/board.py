"""GitHub's side of a self-hosted fleet: registered runners, queued jobs, who gets which."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from cdk_runner_fleet.local.twin.coercions import as_text
from cdk_runner_fleet.local.twin.expressions import ExpressionError, Scope
from cdk_runner_fleet.local.twin.faults import Conditions, FaultScript, RunnerFault
from cdk_runner_fleet.local.twin.limits import UNLIMITED, Limits, concurrency, limits
from cdk_runner_fleet.local.twin.records import Flow, Job, Run, Runner, Send
from cdk_runner_fleet.local.twin.templates import condition
from cdk_runner_fleet.local.twin.workflows import (
    JobLeg,
    JobSpec,
    Workflow,
    WorkflowError,
    job_file,
    legs,
)

__all__ = ["Board", "NameTakenError", "RunnerBusyError"]

FIRST_JOB_ID = 41_000_000_001
FIRST_RUN_ID = 16_000_000_001

Notify = Callable[[str, Job], None]


class NameTakenError(Exception):
    """A runner of that name is registered, or was a moment ago."""


class RunnerBusyError(Exception):
    """The runner runs a job and cannot be removed."""


class Board:
    """Everything under one lock. `notify(action, job)` is called under it and must only enqueue.

    Args:
        repository: `owner/name` of the repository that runs are of unless they say another.
        notify: told of `queued`, `waiting`, `in_progress` and `completed`.
        lost_after_seconds: how long a runner may be out of contact before its job fails.

    Attributes:
        conditions: how it is all the time.
        registered: every runner there ever was, in the order of registration.
        group_repositories: what may use the runners of a group, `owner/name` in lower case, by its
            id; a group that is not here serves all.
    """

    def __init__(self, *, repository: str, notify: Notify, lost_after_seconds: float) -> None:
        self.repository = repository
        self.lock = threading.RLock()
        self.faults: FaultScript[RunnerFault] = FaultScript()
        self.conditions = Conditions()
        self.runners: dict[int, Runner] = {}
        self.registered: list[Runner] = []
        self.group_repositories: dict[int, frozenset[str]] = {}
        self.runs: dict[int, Run] = {}
        self.jobs: dict[int, Job] = {}
        self._notify = notify
        self._lost_after_seconds = lost_after_seconds
        self._runner_ids = itertools.count(1)
        self._job_ids = itertools.count(FIRST_JOB_ID)
        self._run_ids = itertools.count(FIRST_RUN_ID)
        self._queue: list[Job] = []
        # the first of a group runs, the others wait
        self._groups: dict[str, list[Job]] = {}
        self._run_groups: dict[str, list[Run]] = {}

    # Runners

    def register(self, *, name: str, labels: Iterable[str], is_ephemeral: bool = True) -> Runner:
        """Registers an offline runner; raises NameTakenError."""
        with self.lock:
            now = time.time()
            if self._is_taken(name, before=now - self.conditions.name_held_seconds):
                raise NameTakenError(name)
            runner = Runner(
                id=next(self._runner_ids),
                name=name,
                labels=tuple(labels),
                token=secrets.token_urlsafe(24),
                registered_at=now,
                is_ephemeral=is_ephemeral,
            )
            self.runners[runner.id] = runner
            self.registered.append(runner)
            return runner

    def _is_taken(self, name: str, *, before: float) -> bool:
        if any(runner.name == name for runner in self.runners.values()):
            return True
        is_held = self.conditions.name_held_seconds > 0
        return is_held and any(
            one.name == name and (one.removed_at or 0) > before for one in self.registered
        )

    def listed(self) -> list[Runner]:
        """The runners as a list has them, which may be behind."""
        with self.lock:
            lag = self.conditions.list_lag_seconds
            if not lag:
                return list(self.runners.values())
            at = time.time() - lag
            return [
                one
                for one in self.registered
                if one.registered_at <= at and (one.removed_at is None or one.removed_at > at)
            ]

    def remove(self, runner_id: int) -> None:
        """Removes an idle runner; raises KeyError or RunnerBusyError."""
        with self.lock:
            runner = self.runners[runner_id]
            if runner.job is not None:
                raise RunnerBusyError(runner.name)
            self._forget(runner)

    def connect(self, runner_id: int, *, token: str, send: Send) -> Runner | None:
        """Opens a runner's session: online, and given a job at once if one waits.

        None: no such runner, a wrong token, or a session is open already.
        """
        with self.lock:
            runner = self.runners.get(runner_id)
            if (
                runner is None
                or runner.send
                or not secrets.compare_digest(runner.token.encode(), token.encode())
            ):
                return None
            runner.send = send
            runner.connected_once = True
            self._assign()
            if self.conditions.idle_seconds and runner.job is None and runner.is_ephemeral:
                _after(self.conditions.idle_seconds, partial(self._remove_idle, runner))
            return runner

    def disconnect(self, runner: Runner) -> None:
        """The session's end. A job not begun goes back to the queue; one under way is lost."""
        with self.lock:
            runner.send = None
            job = runner.job
            if job is None:
                return
            job.deserted_by[runner.name] = time.time()
            if job.never_starts:
                return
            if job.status == "queued":
                runner.job = job.assigned = None
                self._queue.insert(0, job)
                self._assign()
            else:
                _after(self._lost_after_seconds, partial(self._lost, runner, job))

    def _lost(self, runner: Runner, job: Job) -> None:
        with self.lock:
            if job.status == "in_progress":
                job.log.append("The self-hosted runner lost communication with the server.")
                self._complete(job, "failure")
            self._forget(runner)

    def _remove_idle(self, runner: Runner) -> None:
        with self.lock:
            if runner.id in self.runners and not runner.had_job:
                self._forget(runner)

    def _unlist(self, runner: Runner) -> None:
        if self.runners.pop(runner.id, None):
            runner.removed_at = time.time()

    def _forget(self, runner: Runner) -> None:
        self._unlist(runner)
        if runner.send:
            runner.send({"type": "removed"})

    # What a runner reports

    def started(self, runner: Runner) -> None:
        """The runner has begun its job."""
        with self.lock:
            job = runner.job
            if job is None or job.status != "queued":
                return
            job.status, job.started_at = "in_progress", time.time()
            job.runner_id, job.runner_name = runner.id, runner.name
            self._notify("in_progress", job)

    def completed(self, runner: Runner, report: dict[str, Any]) -> None:
        """The runner is done; an ephemeral one is removed.

        `report` has its `conclusion` (success, failure or cancelled), `outputs` and `steps`.
        """
        with self.lock:
            job, runner.job = runner.job, None
            if runner.is_ephemeral:
                self._unlist(runner)
            if job is not None and job.status != "completed":
                job.outputs = report["outputs"]
                job.steps = report["steps"]
                self._complete(job, report["conclusion"])
            self._assign()

    # Runs

    def queue_run(
        self,
        workflow: Workflow,
        *,
        file_name: str,
        workspace: str | None,
        protected_environments: frozenset[str],
        repository: str | None = None,
    ) -> Run:
        """Queues a workflow's jobs, those that need none of the others at once.

        It is a run of `repository`, or else of the board's. Behind another run of its group it has
        none yet. Raises WorkflowError or ExpressionError.
        """
        with self.lock:
            number = len(self.runs) + 1
            run = Run(
                id=next(self._run_ids),
                number=number,
                workflow=workflow,
                file_name=file_name,
                repository=repository or self.repository,
                workspace=workspace,
                protected_environments=protected_environments,
                created_at=time.time(),
            )
            scope = Scope(contexts={"github": run.github()})
            group = concurrency(workflow.definition.get("concurrency"), scope)
            self.runs[run.id] = run
            if group is None:
                self._advance(run)
                return run
            runs = self._run_groups.setdefault(group.group, [])
            for waiting in runs[1:]:
                self.cancel_run(waiting)
            runs.append(run)
            if runs[0] is run:
                self._advance(run)
            elif group.cancels:
                self.cancel_run(runs[0])
            return run

    def rerun(self, run: Run) -> bool:
        """A new attempt with new jobs; False while the run is not completed."""
        with self.lock:
            if run.status != "completed":
                return False
            run.begin_again()
            self._advance(run)
            return True

    def cancel_run(self, run: Run) -> None:
        """Cancels every job that is not completed; what depends on them is skipped."""
        with self.lock:
            run.cancelled = True
            if run.status == "pending":
                for spec in run.workflow.jobs.values():
                    job = self._new_job(run.flows[0], spec, _whole(run.flows[0], spec))
                    self._complete(job, "cancelled", advance=False)
            for job in list(run.jobs):
                self.cancel(job)

    def force_cancel(self, run: Run) -> None:
        """Cancels every job that is not completed, and waits for no runner."""
        with self.lock:
            run.cancelled = True
            for job in list(run.jobs):
                runner = job.assigned
                if runner:
                    runner.job = job.assigned = None
                    self._forget(runner)
                self.cancel(job)

    def rerun_job(self, job: Job) -> bool:
        """A new attempt of one job and of what depends on it; False while its run goes on."""
        with self.lock:
            run = job.run
            if run.status != "completed" or job not in run.jobs:
                return False
            run.begin_again(without=job)
            self._enqueue(self._new_job(job.flow, job.spec, job.leg, job.limits))
            return True

    def cancel(self, job: Job) -> None:
        """Cancels a job: at once if it has no runner, else by asking the runner to."""
        with self.lock:
            if job.status == "completed":
                return
            if job.assigned is None:
                if job in self._queue:
                    self._queue.remove(job)
                self._complete(job, "cancelled")
            elif job.assigned.send:
                job.assigned.send({"type": "cancel"})

    def fail(self, job: Job, reason: str) -> None:
        """Ends a queued job that nothing can serve; what needs it sees a failure."""
        with self.lock:
            if job in self._queue:
                self._queue.remove(job)
                self._break(job, reason)

    def approve(self, job: Job) -> bool:
        """Lets a job that waits for an approval into the queue; False if it does not wait."""
        with self.lock:
            if job.status != "waiting":
                return False
            self._enqueue(job)
            return True

    def _advance(self, run: Run) -> None:
        """Queues every job whose needs are done. One that is skipped may free others."""
        progressed = True
        while progressed:
            progressed = False
            for flow in list(run.flows):
                for spec in flow.workflow.jobs.values():
                    if flow.is_due(spec):
                        self._expand(flow, spec)
                        progressed = True

    def _expand(self, flow: Flow, spec: JobSpec) -> None:
        run = flow.run
        whole = _whole(flow, spec)
        try:
            scope = flow.scope(spec)
            wanted = condition(as_text(spec.definition.get("if")), scope)
            found = legs(spec, scope) if wanted else []
            limited = [limits(spec, leg, scope) for leg in found]
        except (ExpressionError, WorkflowError) as error:
            self._break(self._new_job(flow, spec, whole), str(error), advance=False)
            return
        except Exception as error:  # noqa: BLE001 - a job that is lost would hold up the run
            reason = f"the job's definition cannot be evaluated: {error!r}"
            self._break(self._new_job(flow, spec, whole), reason, advance=False)
            return
        if not wanted:
            self._complete(self._new_job(flow, spec, whole), "skipped", advance=False)
        if spec.called:
            run.flows += [
                Flow(
                    run=run,
                    workflow=spec.called,
                    inputs=leg.inputs,
                    caller=(flow, spec.key),
                    name=flow.title(leg.name),
                )
                for leg in found
            ]
            return
        # All of them exist before one is queued: GitHub lists a matrix whole.
        titled = [replace(leg, name=flow.title(leg.name)) for leg in found]
        jobs = [self._new_job(flow, spec, *each) for each in zip(titled, limited, strict=True)]
        for job in jobs:
            if spec.environment in run.protected_environments:
                job.status = "waiting"
                # GitHub announces a gated job as queued first, with the status `waiting`.
                self._notify("queued", job)
                self._notify("waiting", job)
            else:
                self._enqueue(job)

    def _new_job(self, flow: Flow, spec: JobSpec, leg: JobLeg, limited: Limits = UNLIMITED) -> Job:
        run = flow.run
        job = Job(
            id=next(self._job_ids),
            run=run,
            flow=flow,
            attempt=run.attempt,
            spec=spec,
            leg=leg,
            limits=limited,
            created_at=time.time(),
        )
        self.jobs[job.id] = job
        run.jobs.append(job)
        return job

    def _enqueue(self, job: Job) -> None:
        job.status, job.queued_at = "queued", time.time()
        self._join_group(job)
        self._queue.append(job)
        self._notify("queued", job)
        self._assign()

    def _join_group(self, job: Job) -> None:
        group = job.limits.concurrency
        if group is None:
            return
        jobs = self._groups.setdefault(group.group, [])
        for waiting in jobs[1:]:
            self.cancel(waiting)
        jobs.append(job)
        if group.cancels and jobs[0] is not job:
            self.cancel(jobs[0])

    def _is_held_back(self, job: Job) -> bool:
        """Whether GitHub gives a job to nobody yet, of which it says no more than `queued`."""
        group, most = job.limits.concurrency, job.limits.max_parallel
        at_work = sum(leg.assigned is not None for leg in job.flow.legs_of(job.spec.key))
        held_back = most is not None and at_work >= most
        held_back = held_back or (group is not None and self._groups[group.group][0] is not job)
        job.held_back = job.held_back or held_back
        return held_back

    def _assign(self) -> None:
        """First come, first served. GitHub looks at labels and scopes, never at who was meant."""
        idle = [runner for runner in self.runners.values() if runner.send and runner.job is None]
        for job in list(self._queue):
            if self._is_held_back(job):
                continue
            able = (each for each in idle if each.serves(job.leg.labels))
            runner = next((each for each in able if self._may_use(each, job)), None)
            if runner is None or runner.send is None:
                continue
            try:
                message = self._message(job)
            except Exception as error:  # noqa: BLE001 - a job that is lost would hold up the run
                self._queue.remove(job)
                self._break(job, f"the job cannot be handed to a runner: {error!r}")
                self._assign()  # with what has changed by that
                return
            idle.remove(runner)
            self._queue.remove(job)
            runner.job, job.assigned, runner.had_job = job, runner, True
            fault = self.faults.take(job.leg.name)
            if fault:
                self._acquire_and_die(runner, job, fault)
            else:
                runner.send(message)

    def _may_use(self, runner: Runner, job: Job) -> bool:
        """Whether a runner is registered for a job's repository, or for what that is in."""
        repository = job.run.repository.casefold()
        if runner.scope.startswith("/repos/"):
            return runner.scope.casefold() == f"/repos/{repository}"
        users = self.group_repositories.get(runner.group_id)
        return users is None or repository in users

    def _acquire_and_die(self, runner: Runner, job: Job, fault: RunnerFault) -> None:
        job.never_starts = True
        self.started(runner)
        if runner.send:
            runner.send({"type": "removed"})
        _after(fault.seconds, partial(self._give_up, runner, job))

    def _give_up(self, runner: Runner, job: Job) -> None:
        with self.lock:
            if job.status == "in_progress":
                self._complete(job, "cancelled")
            self._forget(runner)

    def _message(self, job: Job) -> dict[str, Any]:
        run, flow = job.run, job.flow
        needs = {key: need for key in job.spec.needs if (need := flow.need(key))}
        # act has inputs for this event alone
        event = "workflow_dispatch" if flow.inputs else run.event_name
        return {
            "type": "job",
            "key": job.spec.key,
            "workflow_name": run.workflow.name,
            "repository": run.repository,
            "run_id": run.id,
            "run_number": run.number,
            "run_attempt": job.attempt,
            "event": event,
            "workspace": run.workspace,
            "file": job_file(
                flow.workflow, job.spec, job.leg, needs=needs, event=event, inputs=flow.inputs
            ),
        }

    def _break(self, job: Job, reason: str, *, advance: bool = True) -> None:
        job.log.append(reason)
        self._complete(job, "failure", advance=advance)

    def _complete(self, job: Job, conclusion: str, *, advance: bool = True) -> None:
        job.status, job.conclusion, job.completed_at = "completed", conclusion, time.time()
        job.assigned = None
        self._notify("completed", job)
        if job.limits.concurrency:
            members = self._groups[job.limits.concurrency.group]
            if job in members:
                members.remove(job)
        if job.result == "failure" and job.limits.fail_fast:
            for leg in job.flow.legs_of(job.spec.key):
                self.cancel(leg)
        if advance:
            self._advance(job.run)
        self._assign()
        if job.run.status == "completed":
            self._end(job.run)

    def _end(self, run: Run) -> None:
        """Let the next run of its group begin, if it has one."""
        for runs in self._run_groups.values():
            if run in runs:
                runs.remove(run)
                if runs and not runs[0].jobs:
                    self._advance(runs[0])


def _whole(flow: Flow, spec: JobSpec) -> JobLeg:
    """A job that comes to no legs."""
    name = as_text(spec.definition.get("name")) or spec.key
    return JobLeg(name=flow.title(name), labels=(), matrix={})


def _after(seconds: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
