"""Admission: who may have a runner now.

A runner has a *turn* from before its life begins until after it has ended. Who holds one stands in
sets on a single entry of the ledger, by fleet, class and repository, and one conditional write
takes a turn: the sets are small enough, today's budget is not spent, nothing holds the class and
image back. So no limit is ever passed, however many ask at once, and asking twice takes one turn.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fleet_runtime.admission.breaker import Breaker, Held
from fleet_runtime.admission.catalog_reader import CatalogReader
from fleet_runtime.admission.limits import Limits
from fleet_runtime.admission.turns import FLEET, LAST, Applicant, NotYet, RunnerTurns
from fleet_runtime.aws.items import Value
from fleet_runtime.aws.ledger import TURNS, Ledger
from fleet_runtime.job.catalog import RunnerClass

LINE_REST_SECONDS = 60
"""How long after the last one joined a line that looks empty still counts: indexes lag behind."""

_TRIES = 5
_MOST_FORGOTTEN = 500  # of a few characters each: an expression has room for 4 KB


class Admission:
    """Gives turns and takes them back.

    Args:
        ledger: The ledger.
        breaker: What is held back.
        catalog: The classes, for how many runners each may have.
        limits: The other limits.
    """

    def __init__(
        self, *, ledger: Ledger, breaker: Breaker, catalog: CatalogReader, limits: Limits
    ) -> None:
        self._ledger = ledger
        self._breaker = breaker
        self._catalog = catalog
        self._limits = limits

    def turns(self) -> RunnerTurns:
        """Read who holds a turn, with every write before it."""
        return RunnerTurns.from_item(self._ledger.get(TURNS))

    def admit(self, applicant: Applicant, *, in_line: bool = False) -> NotYet | None:
        """Give a runner a turn; one that holds a turn is given the same again.

        Args:
            applicant: The runner.
            in_line: Whether it stands in line and is next. Others do not overtake those who do.

        Returns:
            None if it has a turn, or why it has to wait.
        """
        for _ in range(_TRIES):
            if self._take(applicant, in_line=in_line, probe=False):
                return None
            turns = self.turns()
            refused = self._refusal(turns, applicant)
            if refused:
                return refused
            if turns.last_in_line and not in_line:
                # what would hold it up then too is what its row had better say
                is_held = applicant.image_scope in turns.held
                held = self._breaker.why(applicant.image_scope) if is_held else ""
                return NotYet(scope=FLEET, reason=held or "other jobs wait before it")
            if applicant.image_scope in turns.held:
                answer = self._breaker.ask(applicant.image_scope, applicant.runner_id)
                if isinstance(answer, Held):
                    return NotYet(scope=applicant.image_scope, reason=answer.reason)
                if answer and self._take(applicant, in_line=in_line, probe=True):
                    return None
            # what was in the way is so no longer
        return NotYet(scope=FLEET, reason="many runners start and end just now")

    def why(self, applicant: Applicant) -> str:
        """Say why a runner in line waits now, and change nothing; empty if no limit holds it up."""
        turns = self.turns()
        if refused := self._refusal(turns, applicant):
            return refused.reason
        is_held = applicant.image_scope in turns.held
        return self._breaker.why(applicant.image_scope) if is_held else ""

    def closed(self, turns: RunnerTurns) -> NotYet | None:
        """Say why nobody at all gets a turn now; None if somebody may."""
        budget = self._limits.daily_budget_usd
        if budget is not None and turns.day == self._today and turns.spent_usd >= budget:
            tomorrow = datetime.fromtimestamp(self._ledger.now, UTC).date() + timedelta(days=1)
            return NotYet(
                scope=FLEET,
                reason=f"today's runners have cost {turns.spent_usd:.2f} USD of a daily budget of "
                f"{budget:.2f}: further ones start at {tomorrow} 00:00 UTC, or raise "
                "daily_budget_usd",
            )
        most = self._limits.max_runners
        if turns.count(FLEET) >= most:
            return _full(FLEET, "the fleet", turns, most, "max_runners")
        return None

    def leave(
        self, runner_id: str, *, cost_usd: float = 0, ended_at: int | None = None
    ) -> RunnerTurns:
        """Take a runner's turn back, if it has one, and count what it cost. Once, however often.

        Args:
            runner_id: The runner.
            cost_usd: What it cost.
            ended_at: When it ended, for the day that it counts for. Default: now.

        Returns:
            The turns as they are then.
        """
        day = _day(ended_at if ended_at is not None else self._ledger.now)
        for _ in range(_TRIES):
            turns = self.turns()
            scopes = [scope for scope, ids in turns.holders.items() if runner_id in ids]
            if not scopes:
                return turns
            names = {f"#s{number}": scope for number, scope in enumerate(scopes)}
            values: dict[str, Value] = {":me": frozenset({runner_id}), ":id": runner_id}
            expression = "DELETE " + ", ".join(f"{name} :me" for name in names)
            condition = "contains(#s0, :id)"
            if cost_usd and turns.day <= day:
                # on a new day the count begins again, and it belongs to one day only
                values |= {":cost": cost_usd, ":day": day}
                expression += (
                    " ADD spent_usd :cost"
                    if turns.day == day
                    else " SET spent_usd = :cost, #day = :day"
                )
                names["#day"] = "day"
                condition += (
                    " AND #day = :day"
                    if turns.day == day
                    else " AND (attribute_not_exists(#day) OR #day < :day)"
                )
            item = self._ledger.write_if(
                TURNS, expression, condition=condition, names=names, values=values
            )
            if item is not None:
                return RunnerTurns.from_item(item)
        return self.turns()

    def join_line(self, runner_id: str) -> None:
        """Note that a runner waits in line: from now on nobody overtakes."""
        self._ledger.write(
            TURNS,
            "SET line = :id, line_at = :now",
            values={":id": runner_id, ":now": self._ledger.now},
        )

    def clear_line(self, turns: RunnerTurns) -> None:
        """Note that nobody waits any more, unless somebody has joined of late."""
        if turns.last_in_line and turns.joined_at <= self._ledger.now - LINE_REST_SECONDS:
            names = [LAST + repository for repository in turns.last_given][:_MOST_FORGOTTEN]
            shown = {f"#r{number}": name for number, name in enumerate(names)}
            self._ledger.write_if(
                TURNS,
                "REMOVE " + ", ".join(("line", "line_at", *shown)),
                condition="line = :id AND line_at = :at",
                names=shown,
                values={":id": turns.last_in_line, ":at": turns.joined_at},
            )

    def _take(self, applicant: Applicant, *, in_line: bool, probe: bool) -> bool:
        scopes = {
            "#fleet": FLEET,
            "#class": applicant.class_scope,
            "#repository": applicant.repository_scope,
        }
        limits = {
            "#fleet": self._limits.max_runners,
            "#class": self._class_limit(applicant),
            "#repository": self._limits.max_runners_per_repository,
        }
        names = dict(scopes)
        values: dict[str, Value] = {
            ":id": applicant.runner_id,
            ":me": frozenset({applicant.runner_id}),
        }
        conditions = []
        for name, most in limits.items():
            if most is not None:
                value = name.replace("#", ":")
                values[value] = most
                conditions.append(f"(attribute_not_exists({name}) OR size({name}) < {value})")
        if self._limits.daily_budget_usd is not None:
            names["#day"] = "day"
            values |= {":today": self._today, ":budget": self._limits.daily_budget_usd}
            conditions.append(
                "(attribute_not_exists(#day) OR #day <> :today OR spent_usd < :budget)"
            )
        if not probe:
            values[":image"] = applicant.image_scope
            conditions.append("(attribute_not_exists(held) OR NOT contains(held, :image))")
        # all scopes, limited or not: a limit that is set later counts those who run then
        expression = "ADD " + ", ".join(f"{name} :me" for name in scopes)
        if in_line:
            names["#last"] = LAST + applicant.repository
            values |= {":none": 0, ":one": 1}
            expression += ", given :one SET #last = if_not_exists(given, :none) + :one"
        else:
            conditions.append("attribute_not_exists(line)")
        item = self._ledger.write_if(
            TURNS,
            expression,
            condition=f"contains(#fleet, :id) OR {' AND '.join(conditions)}",
            names=names,
            values=values,
        )
        return item is not None

    def _refusal(self, turns: RunnerTurns, applicant: Applicant) -> NotYet | None:
        if closed := self.closed(turns):
            return closed
        most = self._limits.max_runners_per_repository
        if most is not None and turns.count(applicant.repository_scope) >= most:
            setting = "max_runners_per_repository"
            return _full(applicant.repository_scope, applicant.repository, turns, most, setting)
        most = self._class_limit(applicant)
        if most is not None and turns.count(applicant.class_scope) >= most:
            setting = "its max_runners in the class sizes parameter"
            return _full(
                applicant.class_scope, f"class {applicant.class_name}", turns, most, setting
            )
        return None

    def _class_limit(self, applicant: Applicant) -> int | None:
        found = self._catalog.catalog().classes.get(applicant.class_name.lower())
        # a class that is gone or cannot be used any more serves those who asked for it before
        return found.max_runners if isinstance(found, RunnerClass) else None

    @property
    def _today(self) -> str:
        return _day(self._ledger.now)


def _day(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).date().isoformat()


def _full(scope: str, who: str, turns: RunnerTurns, most: int, setting: str) -> NotYet:
    return NotYet(
        scope=scope,
        reason=f"{who} has {turns.count(scope)} of at most {most} runners: "
        f"the next starts when one has ended, or raise {setting}",
    )
