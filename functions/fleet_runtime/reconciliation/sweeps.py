"""What nobody else would end: tasks, registrations, rows and turns of lives that are over.

The lifecycle ends all of this itself. What is left is what an execution that was aborted, or a
call that failed for good, left behind. Nothing that may have a job is ever touched: who is busy,
only GitHub knows, and where it does not say, nothing is stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from fleet_runtime.admission.starts import Starts
from fleet_runtime.admission.turns import Turn
from fleet_runtime.aws.client import Client
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.github.runners import RegisteredRunner, Removal
from fleet_runtime.job.runner_name import read_name
from fleet_runtime.job.runner_scope import RunnerScopes
from fleet_runtime.observability import count, logger
from fleet_runtime.reconciliation.refusals import Refusals
from fleet_runtime.reconciliation.rounds import in_rounds
from fleet_runtime.runner.executions import Executions, read_prices
from fleet_runtime.runner.rows import STARTED, Runner, RunnerRecords

ERROR = "Runner.ExecutionEnded"
_CAUSE = (
    "the execution of this runner's lifecycle ended ({}) before the runner did: see its history in "
    "the Step Functions console; nothing of the runner is left"
)

_SETTLED_GRACES = 5
"""Graces after which a life without a trace is over: indexes and lists have caught up by then."""
_MOST = 50
"""Things of each kind that are looked at one by one in a run."""
_MOST_TASK_PAGES = 20
_MOST_SCOPES = 50
"""Repositories whose runners are listed in a run, those first that were not for longest: a list
costs a request."""
_REMEMBERED_SECONDS = 1800
"""How long a repository is looked at after the last runner there. What is left behind there later
GitHub removes itself: a runner that never connected, after a day."""
_SHORTEST_BILLED_SECONDS = 60
"""https://aws.amazon.com/fargate/pricing/: one minute at the least, as the state machine counts."""
_GONE = frozenset({"InvalidParameterException", "ClientException"})
"""What ECS answers for a task that it does not know any more."""


Registered = Callable[[str], list[RegisteredRunner]]
"""Lists the runners at GitHub that are registered for a scope, as rows have it."""


class Sightings:
    """Since when this process has seen things that do not tell their age themselves."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def are_older(self, names: Iterable[str], *, than: float, now: float) -> frozenset[str]:
        """Note what is seen now, forget the rest; returns what has been seen for long enough."""
        self._seen = {name: self._seen.get(name, now) for name in names}
        return frozenset(name for name, since in self._seen.items() if now - since >= than)


class Sweeps:
    """Ends what is left over. Kept between runs, for what it remembers having seen.

    Args:
        records: The runners.
        starts: Takes turns back.
        executions: The runners' lives.
        registrations: The runners at GitHub.
        scopes: Where runners are registered.
        ecs: An ECS client.
        cluster_arn: Where the runners' tasks are, and others' perhaps.
        family: What the names of their task definitions' families begin with.
        prefix: What the runners' names begin with.
        grace: Seconds; what is younger is left alone.
        row_ttl_seconds: How long a row stays.
    """

    def __init__(
        self,
        *,
        records: RunnerRecords,
        starts: Starts,
        executions: Executions,
        registrations: Registrations,
        scopes: RunnerScopes,
        ecs: Client,
        cluster_arn: str,
        family: str,
        prefix: str,
        grace: int,
        row_ttl_seconds: int,
    ) -> None:
        self._records = records
        self._starts = starts
        self._executions = executions
        self._registrations = registrations
        self._scopes = scopes
        self._ecs = ecs
        self._cluster_arn = cluster_arn
        self._family = family
        self._prefix = prefix
        self._grace = grace
        self._row_ttl_seconds = row_ttl_seconds
        self._unknown_registrations: dict[str, Sightings] = {}
        self._used_at: dict[str, int] = {}
        self._listed_at: dict[str, int] = {}

    def execution(self, runner_id: str) -> list[str]:
        """End what an execution left that ended by itself; returns the runner, if it did.

        Raises:
            GitHubError: if GitHub does not say whether the runner is busy.
        """
        runner = self._records.find(runner_id)
        if runner is None or runner.live != STARTED:
            self._starts.runner_ended(runner_id)
            return []
        return [runner_id] if self._end(runner) else []

    def executions(self, live: Mapping[str, Runner]) -> Iterator[str]:
        """End the runners whose execution has ended without them; yields those.

        Raises:
            GitHubError: if GitHub does not say whether they are busy.
        """
        before = self._records.now - _SETTLED_GRACES * self._grace
        settled = [one for one in live.values() if one.live == STARTED and _changed(one) <= before]
        if not settled:
            return
        open_ones = self._executions.open()
        over = [one for one in settled if one.runner_id not in open_ones]
        refusals = Refusals()
        for one in in_rounds(over)[:_MOST]:
            with refusals.of(one.runner_id):
                if self._end(one):
                    yield one.runner_id
        refusals.tell()

    def registered(self, registered_for: str) -> list[RegisteredRunner]:
        """List the runners of a scope at GitHub; raises GitHubError."""
        return self._registrations.all(registered_for=registered_for)

    def places(self, live: Mapping[str, Runner]) -> list[str]:
        """Choose the scopes whose registrations are looked at: where runners are, or were lately.

        Args:
            live: The rows of runners whose life goes on.
        """
        now = self._records.now
        served = self._scopes.github_scope
        used = {served.registered(row.registered_for).text for row in live.values()}
        if not self._scopes.is_by_repository:
            used.add(served.text)
        self._used_at |= dict.fromkeys(used, now)
        since = now - _REMEMBERED_SECONDS
        self._used_at = {name: at for name, at in self._used_at.items() if at >= since}
        listed = {name: self._listed_at.get(name, 0) for name in self._used_at}
        chosen = sorted(listed, key=lambda name: (listed[name], name))[:_MOST_SCOPES]
        self._listed_at = listed | dict.fromkeys(chosen, now)
        known = self._unknown_registrations
        self._unknown_registrations = {name: known.get(name, Sightings()) for name in listed}
        return chosen

    def tasks(self, live: Mapping[str, Runner], *, registered: Registered) -> Iterator[str]:
        """Stop tasks whose runner is over, or has another task; yields their ARNs.

        Args:
            live: The rows of runners whose life goes on.
            registered: The runners at GitHub, asked for only if there is something to stop.

        Raises:
            GitHubError: if GitHub does not say whether their runners are busy.
        """
        now = self._records.now
        stray: list[tuple[str, str, bool, str]] = []
        for task in self._running_tasks():
            name = task.get("startedBy", "")
            age = now - task["createdAt"].timestamp()
            is_ours = self._is_own(name) and self._is_launched_here(task)
            if not is_ours or age < self._grace or len(stray) == _MOST:
                continue
            runner = live.get(name) or self._records.find(name)
            # a task that was started a moment ago is not on the row yet
            is_its_own = runner and runner.task_id in ("", task["taskArn"])
            is_old = age >= _SETTLED_GRACES * self._grace
            if runner is None or runner.has_ended or (is_old and not is_its_own):
                is_over = runner is None or runner.has_ended
                place = self._scopes.github_scope.registered(
                    runner.registered_for if runner else ""
                )
                stray.append((name, task["taskArn"], is_over, place.text))
        refusals = Refusals()
        for name, task_arn, is_over, place_text in stray:
            with refusals.of(name):
                found = next((one for one in registered(place_text) if one.name == name), None)
                is_busy = (found and found.busy) or (
                    is_over and self._is_refused(name, found, registered_for=place_text)
                )
                if is_busy:
                    logger.warning("stray task is busy", runner_id=name, task_id=task_arn)
                elif self._stop(task_arn):
                    yield task_arn
        refusals.tell()

    def registrations(
        self, live: Mapping[str, Runner], *, place: str, registered: Registered
    ) -> list[str]:
        """Remove runners at GitHub that nothing belongs to any more; returns their names.

        Args:
            live: The rows of runners whose life goes on.
            place: One of ``places``.
            registered: The runners at GitHub.

        Raises:
            GitHubError: if GitHub does not do it.
        """
        now = self._records.now
        own = [one for one in registered(place) if self._is_own(one.name) and not one.busy]
        own = [one for one in own if one.name not in live][:_MOST]
        rows = {one.name: self._records.find(one.name) for one in own}
        # nobody knows it: another fleet's, perhaps, which it would have taken online by then
        unknown = [one.name for one in own if rows[one.name] is None and one.status == "offline"]
        old_unknown = self._unknown_registrations[place].are_older(
            unknown, than=_SETTLED_GRACES * self._grace, now=now
        )
        removed = []
        for one in own:
            row = rows[one.name]
            if one.name not in old_unknown and not (row and self._is_long_over(row)):
                continue
            removal = self._registrations.remove(
                name=one.name, github_runner_id=one.github_runner_id, registered_for=place
            )
            # one that is gone already is only still on the list
            if removal is Removal.REMOVED:
                logger.warning("registration left over", runner_id=one.name)
                count("RunnersSwept")
                removed.append(one.name)
        return removed

    def turns(self, live: Mapping[str, Runner]) -> list[str]:
        """Take turns back from runners that are over or never were; returns those."""
        turns = sorted(self._starts.sweep_turns(), key=lambda turn: turn.taken_at)
        unsure = [one for one in turns if one.left_at is not None or one.runner_id not in live]
        left = []
        for turn in unsure[:_MOST]:
            if self._is_left_over(turn):
                logger.warning("turn left over", runner_id=turn.runner_id)
                self._starts.runner_ended(turn.runner_id)
                left.append(turn.runner_id)
        return left

    def _is_left_over(self, turn: Turn) -> bool:
        settled = self._starts.entry.settled
        if turn.left_at is not None:
            return turn.left_at <= settled  # whoever gave it back did not get as far
        row = self._records.find(turn.runner_id)
        return self._is_long_over(row) if row else turn.taken_at <= settled

    def _is_launched_here(self, task: Mapping[str, Any]) -> bool:
        # a cluster that was there before may have tasks of other fleets, whose runners may have
        # names that begin alike
        family = task["taskDefinitionArn"].rpartition("/")[2].partition(":")[0]
        return f"{family}-".startswith(f"{self._family}-")

    def _is_own(self, text: str) -> bool:
        name = read_name(text)
        return name is not None and name.prefix == self._prefix

    def _is_refused(
        self, name: str, found: RegisteredRunner | None, *, registered_for: str
    ) -> bool:
        """Remove a runner that is over, if GitHub has it; whether GitHub refuses, for it has a job.

        GitHub's lists may be behind, and not have what is there, or call it idle; what it does with
        a removal is what holds. A life that goes on has a registration under that name for itself.
        """
        removal = self._registrations.remove(
            name=name,
            github_runner_id=found.github_runner_id if found else None,
            registered_for=registered_for,
        )
        return removal is Removal.BUSY

    def _is_long_over(self, runner: Runner) -> bool:
        before = self._records.now - self._grace
        return runner.has_ended and (runner.ended_at or 0) <= before

    def _end(self, runner: Runner) -> bool:
        described = self._executions.describe(runner.runner_id)
        status = described["status"] if described else "no trace"
        if status == "RUNNING":
            return False
        # its registration first: GitHub refuses that while it has a job
        removal = self._registrations.remove(
            name=runner.runner_id,
            github_runner_id=runner.github_runner_id,
            registered_for=runner.registered_for,
        )
        if removal is Removal.BUSY:
            logger.warning("runner without an execution is busy", runner_id=runner.runner_id)
            return False
        for task_arn in self._tasks_of(runner):
            self._stop(task_arn)
        now = self._records.now
        ended = self._records.update(
            runner.runner_id,
            values={
                "status": "FAILED",
                "error": ERROR,
                "cause": _CAUSE.format(status),
                "ended_at": now,
                "cost_usd": _cost(runner, read_prices(described), now=now),
                "expires_at": now + self._row_ttl_seconds,
            },
            remove=(
                "live",
                "task_token",
                "waiting_for",
                "waiting_labels",
                "waiting_reason",
                "events_token_hash",
            ),
            condition="live = :started",
            operands={":started": STARTED},
        )
        self._starts.runner_ended(runner.runner_id)
        if ended is None:
            return False
        logger.warning("runner without an execution ended", runner_id=runner.runner_id)
        count("RunnersSwept")
        return True

    def _tasks_of(self, runner: Runner) -> list[str]:
        # one may have been started that the row never heard of
        answer = self._ecs.list_tasks(cluster=self._cluster_arn, startedBy=runner.runner_id)
        return sorted({*answer["taskArns"], *([runner.task_id] if runner.task_id else [])})

    def _running_tasks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page: dict[str, str] = {}
        for _ in range(_MOST_TASK_PAGES):
            answer = self._ecs.list_tasks(
                cluster=self._cluster_arn, desiredStatus="RUNNING", maxResults=100, **page
            )
            if answer["taskArns"]:
                described = self._ecs.describe_tasks(
                    cluster=self._cluster_arn, tasks=answer["taskArns"]
                )
                found += described["tasks"]
            if "nextToken" not in answer:
                break
            page = {"nextToken": answer["nextToken"]}
        return found

    def _stop(self, task_arn: str) -> bool:
        try:
            self._ecs.stop_task(cluster=self._cluster_arn, task=task_arn, reason=ERROR)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _GONE:
                raise
            return False
        logger.warning("task left over", task_id=task_arn)
        count("RunnersSwept")
        return True


def _changed(runner: Runner) -> int:
    """When the row changed last, as far as its times tell."""
    times = (runner.recorded_at, runner.launched_at, runner.claimed_at, runner.started_at)
    return max(time or 0 for time in (*times, runner.completed_at))


def _cost(runner: Runner, prices: Mapping[str, float], *, now: int) -> float:
    if runner.launched_at is None:
        return 0
    # the row has what earlier tasks have cost
    seconds = max(_SHORTEST_BILLED_SECONDS, now - runner.launched_at)
    return round(runner.cost_usd + prices.get(runner.capacity_provider, 0) * seconds, 6)
