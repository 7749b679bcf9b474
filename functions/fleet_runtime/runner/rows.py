"""Runners' rows: one a runner, from the moment its job is queued until its TTL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleet_runtime.aws.items import Item, Value, amount, number, text, texts
from fleet_runtime.aws.table import Records
from fleet_runtime.job.job import Job
from fleet_runtime.job.labels import chosen_images
from fleet_runtime.job.runner_name import followed, heartbeat_key

WAITING_INDEX = "waiting-index"
LIVE_INDEX = "live-index"
LINE_INDEX = "line-index"

IN_LINE = "in_line"
STARTED = "started"
"""The two values of ``live``; a runner that is over has none."""

TURN = "turn"
"""What a runner in line waits for."""

CLAIM = "runner"
"""What a runner waits for whose task boots."""

CAPACITY = "capacity"
"""What a runner waits for that ECS had no room for."""

HEARTBEAT_MEMORY_SECONDS = 86400
"""How long a runner's last heartbeat stays: for who asks the day after why it was given up."""

REFUSED = "Job.CannotBeServed"
"""The error of a job that never had a runner. It may be served later: images and classes change."""

CLAIMABLE = (
    "task_id = :task AND waiting_for = :phase"
    " AND attribute_not_exists(released_at) AND attribute_not_exists(claim_repeated_at)"
)
"""The condition that a lifecycle waits for the claim of this task, which nobody repeated."""

OF_REGISTRATION = (
    "attribute_exists(runner_id) AND (github_runner_id = :registration"
    " OR ((attribute_not_exists(asked_by) OR asked_by = :repository)"
    " AND (attribute_not_exists(stopped_tasks)"
    " OR (size(stopped_tasks) = :one AND contains(stopped_tasks, task_id)))))"
)
"""The condition that what GitHub says of a registration's job is of the task that the row is about.

A runner's name proves nothing: whoever may register runners for a repository can give one the name
of another's (github/docs#27747). So another repository's job counts by the registration's id alone.
Of its own repository's ids are compared only where there was a task before: see
``docs/failure-modes.md``.
"""

_AT_GITHUB = ("check_run", "commit_status")
"""How a job's author is told; else it is in the log alone."""

_ENDED = frozenset({"OFFLINE", "FAILED"})


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A runner's row, as far as the functions use it. Empty or None: the row lacks it.

    Attributes:
        repository: Of the job that it has, or else of the one that it was started for; so are all
            that begin with ``job_`` and ``run_``.
        asked_by: Repository of the job that it was started for, whichever it gets.
        registered_for: The scope that it is registered for, see ``Scope.parse``.
        foreign_job_id: The job on it that chose no such image, or is another repository's.
    """

    runner_id: str
    status: str
    live: str
    place: str
    repository: str
    class_name: str
    image_tag: str
    needs: tuple[str, ...]
    runner_version: str
    runner_labels: tuple[str, ...]
    asked_by: str
    registered_for: str
    foreign_job_id: int | None
    job_id: int | None
    job_name: str
    job_url: str
    run_id: int | None
    run_attempt: int | None
    head_sha: str
    github_runner_id: int | None
    waiting_for: str
    waiting_reason: str
    start_input: str
    task_token: str
    task_id: str
    stopped_tasks: frozenset[str]
    events_token_hash: str
    claimed_at: int | None
    hook_started_at: int | None
    started_at: int | None
    in_progress_received_at: int | None
    completed_at: int | None
    released_at: int | None
    queued_at: int | None
    recorded_at: int | None
    launched_at: int | None
    capacity_provider: str
    ended_at: int | None
    cost_usd: float
    error: str
    cause: str
    explained_at: int | None
    wait_explained_at: int | None
    given_up_at: int | None
    explained_as: str
    taken_back_at: int | None
    left_at: int | None
    next_called: str
    next_called_at: int | None

    @classmethod
    def from_item(cls, item: Item) -> Runner:
        """Read a row."""
        return cls(
            runner_id=text(item, "runner_id"),
            status=text(item, "status"),
            live=text(item, "live"),
            place=text(item, "place"),
            repository=text(item, "repository"),
            class_name=text(item, "class_name"),
            image_tag=text(item, "image_tag"),
            needs=_words(item, "needs"),
            runner_version=text(item, "runner_version"),
            runner_labels=_words(item, "runner_labels"),
            asked_by=text(item, "asked_by"),
            registered_for=text(item, "registered_for"),
            foreign_job_id=number(item, "foreign_job_id"),
            job_id=number(item, "job_id"),
            job_name=text(item, "job_name"),
            job_url=text(item, "job_url"),
            run_id=number(item, "run_id"),
            run_attempt=number(item, "run_attempt"),
            head_sha=text(item, "head_sha"),
            github_runner_id=number(item, "github_runner_id"),
            waiting_for=text(item, "waiting_for"),
            waiting_reason=text(item, "waiting_reason"),
            start_input=text(item, "start_input"),
            task_token=text(item, "task_token"),
            task_id=text(item, "task_id"),
            stopped_tasks=texts(item, "stopped_tasks"),
            events_token_hash=text(item, "events_token_hash"),
            claimed_at=number(item, "claimed_at"),
            hook_started_at=number(item, "hook_started_at"),
            started_at=number(item, "started_at"),
            in_progress_received_at=number(item, "in_progress_received_at"),
            completed_at=number(item, "completed_at"),
            released_at=number(item, "released_at"),
            queued_at=number(item, "queued_at"),
            recorded_at=number(item, "timestamp"),
            launched_at=number(item, "launched_at"),
            capacity_provider=text(item, "capacity_provider"),
            ended_at=number(item, "ended_at"),
            cost_usd=amount(item, "cost_usd"),
            error=text(item, "error"),
            cause=text(item, "cause"),
            explained_at=number(item, "explained_at"),
            wait_explained_at=number(item, "wait_explained_at"),
            given_up_at=number(item, "given_up_at"),
            explained_as=text(item, "explained_as"),
            taken_back_at=number(item, "taken_back_at"),
            left_at=number(item, "left_at"),
            next_called=text(item, "next_called"),
            next_called_at=number(item, "next_called_at"),
        )

    @property
    def has_ended(self) -> bool:
        """Whether its life has ended, with all that belongs to it."""
        return self.status in _ENDED

    @property
    def told_at(self) -> int | None:
        """When something was last said at the job's commit; None if nothing was."""
        if self.explained_as not in _AT_GITHUB:
            return None
        told = (self.explained_at, self.wait_explained_at, self.given_up_at)
        return max((at for at in told if at is not None), default=None)

    @property
    def is_in_line(self) -> bool:
        """Whether it waits for its turn: nothing of it exists yet but its row."""
        return self.waiting_for == TURN and self.released_at is None

    @property
    def is_between_tasks(self) -> bool:
        """Whether the task that the row is about has stopped, and it is not about the next yet."""
        return self.task_id in self.stopped_tasks and not self.is_over

    def may_have(self, job: Job) -> bool:
        """Whether a job that names this runner is on its task now: ``OF_REGISTRATION``.

        A runner of which no other task has stopped has had one registration, whatever GitHub calls
        it.
        """
        if job.github_runner_id in (None, self.github_runner_id):
            return True
        return self.stopped_tasks <= {self.task_id} and not self.is_namesake(job)

    def is_namesake(self, job: Job) -> bool:
        """Whether a job that names this runner may be on another's runner of that name."""
        is_registered = job.github_runner_id in (None, self.github_runner_id)
        return not is_registered and job.repository != (self.asked_by or job.repository)

    @property
    def got_no_job(self) -> bool:
        """Whether it waited for a job until its time was over, and has not failed.

        One that said that it had a job is not believed to have had none: GitHub's events may be
        behind its short life.
        """
        is_over = self.status == "OFFLINE" and self.released_at is None
        is_idle = self.started_at is None and self.hook_started_at is None
        return is_over and self.claimed_at is not None and is_idle

    def is_foreign(self, job: Job) -> bool:
        """Whether a job runs in an image that somebody else chose: it asked for none such."""
        chosen = chosen_images(self.runner_labels)
        is_anothers = job.repository.lower() != (self.asked_by or job.repository).lower()
        return bool(chosen) and (is_anothers or not chosen <= chosen_images(job.labels))

    @property
    def has_run_a_job(self) -> bool:
        """Whether its life has ended after a job on it, and it has not failed."""
        return self.status == "OFFLINE" and self.started_at is not None

    @property
    def waits(self) -> bool:
        """Whether it waits for its turn or for capacity, so that nothing runs of it."""
        return self.waiting_for in (TURN, CAPACITY) and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come of this runner."""
        return self.has_ended or self.released_at is not None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A runner in line, as far as ``LINE_INDEX`` has it: whose turn is next needs no more."""

    runner_id: str
    place: str
    repository: str
    class_name: str
    image_tag: str
    queued_at: int | None
    released_at: int | None

    @classmethod
    def from_item(cls, item: Item) -> Waiting:
        """Read an entry of the index."""
        return cls(
            runner_id=text(item, "runner_id"),
            place=text(item, "place"),
            repository=text(item, "repository"),
            class_name=text(item, "class_name"),
            image_tag=text(item, "image_tag"),
            queued_at=number(item, "queued_at"),
            released_at=number(item, "released_at"),
        )

    @classmethod
    def of_row(cls, runner: Runner) -> Waiting:
        """The same of a row, which the index may not have yet."""
        return cls(
            runner_id=runner.runner_id,
            place=runner.place,
            repository=runner.repository,
            class_name=runner.class_name,
            image_tag=runner.image_tag,
            queued_at=runner.queued_at,
            released_at=runner.released_at,
        )


class RunnerRecords(Records):
    """The runner table."""

    KEY = "runner_id"

    def find(self, runner_id: str) -> Runner | None:
        """Read a row, with every write before it."""
        item = self._table.get(runner_id)
        return Runner.from_item(item) if item else None

    def of_job(self, first: str) -> Sequence[Runner]:
        """Read the rows of a job's own runner and of those that followed it, in order.

        Args:
            first: The name of its own.
        """
        found: list[Runner] = []
        for runner_id in followed(first):
            runner = self.find(runner_id)
            if runner is None:
                break
            found.append(runner)
        return found

    def leave_refused(self, runner_id: str, *, values: Mapping[str, Value]) -> None:
        """End the row of a refused job that runs on somebody else's runner, if it is one's."""
        self.update(
            runner_id,
            values={"status": "OFFLINE", **values},
            condition="#error = :refused AND attribute_not_exists(live)",
            operands={":refused": REFUSED},
        )

    def waiting(self, *, waiting_labels: str) -> Iterator[str]:
        """List runners that wait for a job with these labels. The index may lag behind."""
        rows = self._table.query(WAITING_INDEX, attribute="waiting_labels", value=waiting_labels)
        return (text(item, "runner_id") for item in rows)

    def in_line(self, *, after: str, most: int) -> Sequence[Waiting]:
        """List runners in line by their places, as the index has them.

        Args:
            after: The place to begin behind; empty for the first.
            most: How many to read at most.
        """
        # a place is never empty, and no sort key may be compared with nothing
        behind = {"place": after} if after else None
        rows = self._table.query(
            LINE_INDEX, attribute="live", value=IN_LINE, after=behind, most=most
        )
        return [Waiting.from_item(item) for item in rows]

    def live(self, *, most: int, in_line: Iterable[str]) -> Sequence[Runner]:
        """List the rows of runners that are started or in line, the started ones first.

        Args:
            most: How many of the started ones to read at most, those with the oldest job.
            in_line: Those in line.

        Returns:
            Their rows, which may lag behind as the index may: one that it does not have yet is left
            out.
        """
        started = self._table.query(LIVE_INDEX, attribute="live", value=STARTED, most=most)
        listed = dict.fromkeys((*(text(item, "runner_id") for item in started), *in_line))
        rows = map(Runner.from_item, self._table.get_all(listed))
        return sorted((row for row in rows if row.live), key=lambda row: row.live != STARTED)

    def note_heartbeat(self, runner_id: str, *, load: float | None) -> None:
        """Write down that a runner lives, in an item of its own: small, and in no index."""
        self._table.update(
            heartbeat_key(runner_id),
            values={
                "last_heartbeat": self.now,
                "expires_at": self.now + HEARTBEAT_MEMORY_SECONDS,
                **({} if load is None else {"load": load}),
            },
            remove=("load",) if load is None else (),
        )

    def last_heartbeat(self, runner_id: str) -> int | None:
        """Read when a runner's last heartbeat came; None if none did."""
        return number(self._table.get(heartbeat_key(runner_id)), "last_heartbeat")

    def join_line(self, runner_id: str, *, values: Mapping[str, Value]) -> bool:
        """Write a row that waits for its turn, new or in place of a refused job's.

        Returns:
            False if there is a row already.
        """
        waiting: dict[str, Value] = {
            **values,
            "status": "STARTING",
            "live": IN_LINE,
            "waiting_for": TURN,
        }
        return self._table.put(
            runner_id,
            waiting,
            condition="attribute_not_exists(runner_id)"
            " OR (#error = :refused AND attribute_not_exists(released_at))",
            operands={":refused": REFUSED},
        )

    def leave_line(self, runner_id: str, *, values: Mapping[str, Value]) -> Runner | None:
        """End a runner in line with what its row is to say; None if it is not in line."""
        return self.update(
            runner_id,
            values={"ended_at": self.now, "cost_usd": 0, **values},
            remove=("live", "place", "waiting_for", "waiting_reason", "start_input"),
            condition="waiting_for = :turn",
            operands={":turn": TURN},
        )

    def create(self, runner_id: str, *, values: Mapping[str, Value]) -> bool:
        """Write a new row; False if there is one already."""
        return self._table.create(runner_id, values)

    def take_claim(self, runner: Runner, *, values: Mapping[str, Value]) -> bool:
        """Use a task's one claim up; False if another came first, or the phase is over.

        Args:
            runner: The runner that claims.
            values: What else its row is to say from then on.
        """
        taken = self.update(
            runner.runner_id,
            values={**values, "claimed_at": self.now},
            condition=f"{CLAIMABLE} AND attribute_not_exists(claimed_at)",
            operands=claimable(runner),
        )
        return taken is not None

    def return_claim(self, runner: Runner) -> None:
        """Let a task claim again, which GitHub could not serve just now."""
        self.update(
            runner.runner_id,
            remove=("claimed_at",),
            condition="task_id = :task",
            operands={":task": runner.task_id},
        )

    def note_repeated_claim(self, runner: Runner) -> Runner | None:
        """Write that a task claimed twice, which makes its claim under way worthless.

        Returns:
            The whole row, or None if it is known already, or the row is about another task.
        """
        return self.update(
            runner.runner_id,
            values={"claim_repeated_at": self.now},
            condition="task_id = :task AND attribute_exists(claimed_at)"
            " AND attribute_not_exists(claim_repeated_at)",
            operands={":task": runner.task_id},
        )

    def update(
        self,
        runner_id: str,
        *,
        condition: str,
        operands: Mapping[str, Value] | None = None,
        values: Mapping[str, Value] | None = None,
        first: Mapping[str, Value] | None = None,
        add: Mapping[str, Value] | None = None,
        remove: Sequence[str] = (),
    ) -> Runner | None:
        """Write to a row.

        Args:
            runner_id: The row.
            condition: When to write at all.
            operands: What stands behind the condition's ``:names``.
            values: What the row is to say.
            first: What it is to say unless it says something already.
            add: What to add to its sets.
            remove: What it is to say no longer.

        Returns:
            The whole row after the write, or None if the condition did not hold.
        """
        item = self._table.update(
            runner_id,
            condition=condition,
            operands=operands,
            values=values,
            first=first,
            add=add,
            remove=remove,
        )
        return Runner.from_item(item) if item is not None else None


def claimable(runner: Runner) -> dict[str, Value]:
    """What stands behind ``CLAIMABLE``."""
    return {":task": runner.task_id, ":phase": CLAIM}


def _words(item: Item, name: str) -> tuple[str, ...]:
    joined = text(item, name)
    return tuple(joined.split(",")) if joined else ()
