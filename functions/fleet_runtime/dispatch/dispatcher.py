"""What the fleet does about a job: starts a runner for it, or signals one.

Behind the fleet's events, and behind reconciliation, which says again what a lost event said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet_runtime.admission.catalog_reader import CatalogReader
from fleet_runtime.admission.starts import Known, Starts
from fleet_runtime.aws.items import Value
from fleet_runtime.dispatch.held_back import HeldBack, Place, Waiter
from fleet_runtime.explanation import causes
from fleet_runtime.explanation.unserved import Unserved
from fleet_runtime.images.release_news import ReleaseNews
from fleet_runtime.images.rows import ImageRecords
from fleet_runtime.job import labels
from fleet_runtime.job.job import Job, JobEvent
from fleet_runtime.job.labels import Refusal
from fleet_runtime.job.offer import Offer, execution_input
from fleet_runtime.job.runner_name import first_runner_id, next_runner_id, own_runner_id, read_name
from fleet_runtime.observability import count, logger, measure
from fleet_runtime.runner.executions import Executions, read_input
from fleet_runtime.runner.measures import Start, between
from fleet_runtime.runner.rows import REFUSED, Runner, RunnerRecords
from fleet_runtime.runner.signals import Signals

_CANCELLED = "the job was cancelled before a runner had it"
_TAKEN = "the job has another runner"
_DONE = "the task before this one has done the job"
_RETIRED = "Runner.VersionRetired"

_CONCLUSIONS = ("success", "failure", "cancelled", "timed_out", "skipped")
"""What becomes of jobs now and then; GitHub has a few more words (REST API, "Workflow jobs")."""

_USE_SECONDS = 3600
"""How often one process writes down that an image is in use: whoever asks, asks for days."""


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """Handles what GitHub says about jobs: each may come twice, late, or in any order.

    Attributes:
        offer: What jobs may have.
        catalog: The classes.
        records: The runners.
        signals: Resumes their lifecycles.
        starts: Begins and ends their lives.
        unserved: Tells of jobs that get no runner.
        images: Where it stands that an image is in use.
        news: Tells of versions of the runner that GitHub no longer serves.
        executions: The runners' lives.
        held_back: Those whose jobs GitHub may hold back.
        row_ttl_seconds: How long a row stays.
    """

    offer: Offer
    catalog: CatalogReader
    records: RunnerRecords
    signals: Signals
    starts: Starts
    unserved: Unserved
    images: ImageRecords
    news: ReleaseNews
    executions: Executions
    held_back: HeldBack
    row_ttl_seconds: int
    _used_at: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def handle(self, event: JobEvent) -> None:
        """Handle what happened to a job."""
        job = event.job
        if event.action == "queued":
            self._start(event)
        elif event.action == "in_progress" and job.runner_name:
            # by the runner's name: GitHub may have given it another job than its own
            runner = self.signals.started(
                job.runner_name,
                started_at=job.started_at,
                job=job.identity | event.stamp,
                github_runner_id=job.github_runner_id,
            )
            if runner is None:
                self._leave_to_another(event)
            else:
                _measure_start(job, runner)
            self._make_up_for(job, runner)
            self._take_back(job, runner)
            self._note_foreign(job, runner)
        elif event.action == "completed" and job.runner_name:
            runner = self.signals.completed(
                job.runner_name,
                started_at=job.started_at,
                completed_at=job.completed_at,
                conclusion=job.conclusion or "completed",
                job=job.identity | event.stamp,
                github_runner_id=job.github_runner_id,
            )
            if runner is None and job.runner_name == self.own_runner_id(job):
                self._release_ended(event, cause=_DONE)
            elif runner is None:
                self._leave_to_another(event)
            elif runner.in_progress_received_at is None:
                # its start, should that come later, is old news
                _measure_start(job, runner)
            if runner or job.runner_name == self.own_runner_id(job):
                _measure_end(job)
            # once more: this event may be the first of the two to come
            self._make_up_for(job, runner)
            self._take_back(job, runner)
            self._note_foreign(job, runner)
            if runner:
                self._call_next(Place.of_job(job), runner)
        elif event.action == "completed":
            _measure_end(job)
            self._release_ended(event, cause=_CANCELLED)
            self.held_back.forget(job, own_id=self.own_runner_id(job))

    def execution_ended(self, runner_id: str) -> None:
        """Handle the end of a runner's execution that ran its course.

        One that was stopped or timed out may have left things behind: reconciliation takes them
        away, and its turn.
        """
        ended = self.starts.runner_ended(runner_id)
        if ended is None:
            return
        if ended.status == "FAILED" and causes.is_permanent(ended.error):
            # reconciliation tries again when somebody may have mended it
            self.unserved.tell(ended, error=ended.error, cause=ended.cause, final=False)
        # that it had a job, which exits as it likes, may have been heard of by now
        had_job = ended.started_at is not None or ended.hook_started_at is not None
        if ended.error == _RETIRED and ended.runner_version and not had_job:
            self.news.found_retired(ended.runner_version, image_tag=ended.image_tag)
        self.held_back.note(ended)
        self._note_use(ended)
        if ended.has_run_a_job and (ended.completed_at is None or ended.next_called):
            # GitHub has not told of the job's end, or who heard of it did not get as far
            self._call_next(Place.of_runner(ended), ended)

    def execution_input(self, queued: JobEvent) -> dict[str, Any] | Refusal:
        """Work out the lifecycle's input for a queued job, or why it cannot be served."""
        return execution_input(
            queued,
            runner_id=self.own_runner_id(queued.job),
            catalog=self.catalog.catalog(),
            offer=self.offer,
            now=self.records.now,
        )

    def own_runner_id(self, job: Job) -> str:
        """Name a job's own runner."""
        return own_runner_id(job, prefix=self.offer.runner_name_prefix)

    def refuse(self, event: JobEvent, refusal: Refusal) -> None:
        """Write down why a job cannot be served, and have its author told."""
        job = event.job
        runner_id = self.own_runner_id(job)
        now = self.records.now
        row = {
            **self._row(job),
            **event.stamp,
            "status": "FAILED",
            "error": REFUSED,
            "cause": refusal.reason,
            "job_status": "queued",
            "queued_at": job.created_at if job.created_at is not None else now,
            "ended_at": now,
            "cost_usd": 0,
        }
        if self.records.create(runner_id, values=row):
            logger.warning("job refused", runner_id=runner_id, reason=refusal.reason)
            count("JobRefused")
        else:
            known = self.records.find(runner_id)
            if known is None or known.error != REFUSED:
                # it has a runner: what it asks for is gone only since
                return
        # whoever wrote the row may not have come so far; and another runner may have what this
        # fleet lacks, so the last word is reconciliation's
        self.unserved.tell(
            {"runner_id": runner_id, **row}, error=REFUSED, cause=refusal.reason, final=False
        )

    def _note_use(self, runner: Runner) -> None:
        """Write down that a runner's image is in use: others are neither rebuilt nor kept."""
        now = self.records.now
        tag = runner.image_tag
        if runner.launched_at is None or now < self._used_at.get(tag, 0) + _USE_SECONDS:
            return
        self.images.used(tag, at=now, runner_version=runner.runner_version)
        self._used_at[tag] = now

    def _start(self, queued: JobEvent) -> None:
        document = self.execution_input(queued)
        if isinstance(document, Refusal):
            self.refuse(queued, document)
        else:
            self.starts.start(document)

    def _make_up_for(self, job: Job, runner: Runner | None) -> None:
        """See to it that each job keeps a runner when this one has taken another's."""
        own_id = self.own_runner_id(job)
        if runner is None or first_runner_id(runner.runner_id) == own_id:
            return
        own = self.records.find(own_id)
        if own and _lowered(own) == _lowered(runner):
            # as good as each other: they swap their jobs
            return
        if runner.released_at is None:
            self._replace(runner)
        self._release(job, cause=_TAKEN, values={"ran_on": runner.runner_id})

    def _note_foreign(self, job: Job, runner: Runner | None) -> None:
        """Raise an alarm if a job runs in an image of somebody else's choice: once a runner.

        It runs already, and its author has to know what it can have told whom.
        """
        if runner is None or runner.foreign_job_id is not None or not runner.is_foreign(job):
            return
        logger.error(
            "foreign job on an image of somebody's choice",
            runner_id=runner.runner_id,
            image_tag=runner.image_tag,
            asked_by=runner.asked_by,
            repository=job.repository,
            job_id=job.job_id,
        )
        count("ForeignJobOnImage")
        # only then: twice is better than not at all
        self.records.update(
            runner.runner_id,
            values={
                "foreign_job_id": job.job_id,
                "foreign_repository": job.repository,
                "foreign_at": self.records.now,
            },
            condition="attribute_exists(runner_id)",
        )

    def _leave_to_another(self, event: JobEvent) -> None:
        """Let go of what was started for a job that runs on a runner of somebody else's."""
        job = event.job
        name = read_name(job.runner_name or "")
        if name and name.prefix == self.offer.runner_name_prefix:
            # one of the fleet's, of which this is old news
            return
        if self.offer.label_rules.ignored(job.labels):
            return
        has_ended = event.action == "completed"
        values: dict[str, Value] = {
            "ran_on": job.runner_name or "",
            **({"job_status": job.conclusion or "completed"} if has_ended else {}),
            **event.stamp,
        }
        self._release(job, cause=_TAKEN, values=values)
        # after it: whoever refuses the job has written its row by now, or will find this one
        self.records.leave_refused(self.own_runner_id(job), values={"end_reason": _TAKEN})

    def _take_back(self, job: Job, runner: Runner | None) -> None:
        """Have it taken back at the commit if the job's author was told of no runner."""
        own_id = self.own_runner_id(job)
        is_own = runner is not None and runner.runner_id == own_id
        rows = [runner] if runner and is_own else self.records.of_job(own_id)
        told = [row for row in rows if row.told_at is not None]
        if not told:
            return
        last = max(told, key=lambda row: row.told_at or 0)
        if (last.told_at or 0) > max(row.taken_back_at or 0 for row in told):
            self.unserved.take_back(last, cause=f"it runs on {job.runner_name}")

    def _call_next(self, place: Place, runner: Runner) -> None:
        """Start a runner for a job that may have waited for the end of one: once for each runner.

        Of another run's only if none waits that could have it: what they have to do with each
        other GitHub alone knows. Whom it calls stands on the row before it is taken off the list,
        and that it was started after it: so whoever dies in between is made up for by the next who
        hears of this end.
        """
        if runner.next_called_at is not None:
            return
        if runner.next_called:
            self._follow(runner.next_called, after=runner)
            return
        over: list[Waiter] = []
        for waiter in self.held_back.behind(place):
            if not self._still_waits(waiter):
                over.append(waiter)
                continue
            if not waiter.is_leg(place) and self._has_spare(place):
                break
            if not self._choose(waiter, after=runner):
                # another who heard of this end is at it
                break
            if self.held_back.take(waiter):
                self._follow(waiter.runner_id, after=runner)
                break
            # another end has called it
            self._choose_again(waiter, after=runner)
        self.held_back.strike(over)

    def _still_waits(self, waiter: Waiter) -> bool:
        """Whether a runner got no job for all that is known now, nor has one that follows it.

        One that follows it already and has no job yet is as good as called: it gets the place.
        """
        waiting = self.records.find(waiter.runner_id)
        # what it seemed to have missed may have been heard of since
        if waiting is None or not waiting.got_no_job:
            return False
        following = self.records.find(next_runner_id(waiter.runner_id))
        return following is None or not (following.is_over or following.started_at)

    def _choose(self, waiter: Waiter, *, after: Runner) -> bool:
        """Write down whom the end of a runner calls; False if that stands there already."""
        chosen = self.records.update(
            after.runner_id,
            values={"next_called": waiter.runner_id},
            condition="attribute_exists(runner_id) AND attribute_not_exists(next_called)",
        )
        return chosen is not None

    def _choose_again(self, waiter: Waiter, *, after: Runner) -> None:
        self.records.update(
            after.runner_id,
            remove=("next_called",),
            condition="next_called = :waiter AND attribute_not_exists(next_called_at)",
            operands={":waiter": waiter.runner_id},
        )

    def _follow(self, runner_id: str, *, after: Runner) -> None:
        """Start the runner that follows one that got no job: twice is as good as once."""
        waiting = self.records.find(runner_id)
        if waiting and waiting.got_no_job:
            self._replace(waiting)
        self.records.update(
            after.runner_id,
            values={"next_called_at": self.records.now},
            condition="attribute_exists(runner_id)",
        )

    def _has_spare(self, place: Place) -> bool:
        waiting_labels = self._waiting_labels(place.labels, repository=place.repository)
        return bool(waiting_labels) and any(self.records.waiting(waiting_labels=waiting_labels))

    def _waiting_labels(self, texts: Sequence[object], *, repository: str) -> str:
        """What runners wait under that could have a job; empty if no runner could."""
        request = labels.read(texts)
        if isinstance(request, Refusal):
            return ""
        scopes = self.offer.scopes
        return scopes.waiting_key(request.waiting_labels, scope=scopes.of(repository))

    def _replace(self, runner: Runner) -> None:
        """Start another one like a runner, for the job that it was started for.

        Raises:
            RuntimeError: if its life has left no trace, which it does for 90 days.
        """
        described = self.executions.describe(runner.runner_id)
        if described is None:
            raise RuntimeError(f"the execution of {runner.runner_id} is not known")
        next_id = next_runner_id(runner.runner_id)
        outcome = self.starts.start({**read_input(described), "runner_id": next_id})
        if not isinstance(outcome, Known):
            logger.info("runner replaced", runner_id=runner.runner_id, by=next_id)
            count("RunnerReplaced")

    def _release_ended(self, event: JobEvent, *, cause: str) -> None:
        values = {"job_status": event.job.conclusion or "completed", **event.stamp}
        self._release(event.job, cause=cause, values=values)

    def _release(self, job: Job, *, cause: str, values: Mapping[str, Value]) -> None:
        runner_id = self.own_runner_id(job)
        released = self.signals.released(
            runner_id,
            cause=cause,
            values=values,
            first=self._row(job) | {"status": "OFFLINE"},
        )
        if released:
            logger.info("runner released", runner_id=runner_id)
            if released.has_ended:
                self._release_following(runner_id, cause=cause)
            return
        waiting_labels = self._waiting_labels(job.labels, repository=job.repository)
        if not waiting_labels:
            return
        # its runner has another job, whose own runner is now one too many
        stand_in = self.signals.release_stand_in(
            runner_id, waiting_labels=waiting_labels, cause=cause
        )
        if stand_in:
            logger.info("runner released", runner_id=stand_in.runner_id, in_place_of=runner_id)

    def _release_following(self, runner_id: str, *, cause: str) -> None:
        """Release who followed a job's own runner, which is over, and has no job yet."""
        for runner in self.records.of_job(runner_id)[1:]:
            if not runner.has_ended and self.signals.released(
                runner.runner_id, cause=cause, values={}, first={}
            ):
                logger.info("runner released", runner_id=runner.runner_id)

    def _row(self, job: Job) -> dict[str, Value]:
        now = self.records.now
        texts = [label for label in job.labels if isinstance(label, str)]
        return {
            **job.identity,
            "asked_by": job.repository,
            "timestamp": now,
            "runner_labels": ",".join(texts)[: labels.MAX_TOTAL_LENGTH],
            "expires_at": now + self.row_ttl_seconds,
        }


def _measure_start(job: Job, runner: Runner) -> None:
    """Tell how long a job waited, and its runner's start took."""
    start = Start.of(runner)
    since = runner.queued_at if job.created_at is None else job.created_at
    measure(
        {
            "QueueSeconds": between(since, job.started_at or runner.started_at),
            "AdmissionSeconds": start.admission,
            "LaunchSeconds": start.launch,
            "BootSeconds": start.boot,
            "AssignmentSeconds": start.assignment,
        },
        message="job started",
        runner_id=runner.runner_id,
        repository=job.repository,
        job_id=job.job_id,
        class_name=runner.class_name,
        image_tag=runner.image_tag,
    )


def _measure_end(job: Job) -> None:
    """Tell what has become of a job of the fleet's, whether it had a runner or not."""
    measure(
        {"JobEnded": 1},
        by={"conclusion": job.conclusion if job.conclusion in _CONCLUSIONS else "other"},
        message="job ended",
        runner_id=job.runner_name or "",
        repository=job.repository,
        job_id=job.job_id,
    )


def _lowered(runner: Runner) -> frozenset[str]:
    return frozenset(label.lower() for label in runner.runner_labels)
