"""Admission: who may have a runner now.

A runner has a *turn* from before its life begins until after it has ended. How many are held stands
on a single entry of the ledger, by fleet, class and repository, and one conditional write counts
one more: there is room in each, today's budget is not spent, nothing holds the class and image
back, nobody drains the fleet. So no limit is ever passed, however many ask at once, and asking
twice takes one turn.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from fleet_runtime.admission.breaker import Breaker, Held
from fleet_runtime.admission.catalog_reader import CatalogReader
from fleet_runtime.admission.limits import Limits
from fleet_runtime.admission.turns import FLEET, SPENT, Applicant, NotYet, RunnerTurns
from fleet_runtime.admission.turns_entry import TurnsEntry
from fleet_runtime.aws.items import Value
from fleet_runtime.job.catalog import RunnerClass

_TRIES = 5


class Admission:
    """Decides who gets a turn.

    Args:
        entry: The turns.
        breaker: What is held back.
        catalog: The classes, for how many runners each may have.
        limits: The other limits.
    """

    def __init__(
        self, *, entry: TurnsEntry, breaker: Breaker, catalog: CatalogReader, limits: Limits
    ) -> None:
        self._entry = entry
        self._breaker = breaker
        self._catalog = catalog
        self._limits = limits

    def admit(self, applicant: Applicant, *, in_line: bool = False) -> NotYet | None:
        """Give a runner a turn; one that holds a turn is given the same again.

        Args:
            applicant: The runner.
            in_line: Whether it stands in line and is next. Others do not overtake those who do.

        Returns:
            None if it has a turn, or why it has to wait.
        """
        for _ in range(_TRIES):
            turns = self._take(applicant, in_line=in_line, probe=False)
            if turns is None:
                return None
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
                if answer and self._take(applicant, in_line=in_line, probe=True) is None:
                    return None
            # what was in the way is so no longer
        return NotYet(scope=FLEET, reason="many runners start and end just now")

    def why(self, applicant: Applicant) -> str:
        """Say why a runner in line waits now, and change nothing; empty if no limit holds it up."""
        turns = self._entry.read()
        if refused := self._refusal(turns, applicant):
            return refused.reason
        is_held = applicant.image_scope in turns.held
        return self._breaker.why(applicant.image_scope) if is_held else ""

    def closed(self, turns: RunnerTurns) -> NotYet | None:
        """Say why nobody at all gets a turn now; None if somebody may."""
        if turns.drained_at is not None:
            since = datetime.fromtimestamp(turns.drained_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
            return NotYet(
                scope=FLEET,
                reason=f"the fleet is drained since {since} and starts no runner: "
                "`runner-fleet cluster resume` lets it start them again",
            )
        budget, today = self._limits.daily_budget_usd, self._entry.today
        if budget is not None and (spent := self.spent_usd(turns)) >= budget:
            tomorrow = date.fromisoformat(today) + timedelta(days=1)
            return NotYet(
                scope=FLEET,
                reason=f"today's runners and builds of images have cost {spent:.2f} USD of a daily "
                f"budget of {budget:.2f}: further runners start at {tomorrow} 00:00 UTC, or raise "
                "daily_budget_usd",
            )
        most = self._limits.max_runners
        if turns.count(FLEET) >= most:
            return _full(FLEET, "the fleet", turns, most, "max_runners")
        return None

    def spent_usd(self, turns: RunnerTurns) -> float:
        """What those runners and builds of images have cost that ended today."""
        return turns.spent_usd.get(self._entry.today, 0) + self._entry.built_usd()

    def _take(self, applicant: Applicant, *, in_line: bool, probe: bool) -> RunnerTurns | None:
        limits = {
            "fleet": self._limits.max_runners,
            "class": self._class_limit(applicant),
            "repository": self._limits.max_runners_per_repository,
        }
        known = {name: most for name, most in limits.items() if most is not None}
        # who runs is counted without a limit too: one that is set later finds them
        conditions = ["attribute_not_exists(drained_at)"]
        conditions += [f"(attribute_not_exists(#{name}) OR #{name} < :{name})" for name in known]
        names: dict[str, str] = {}
        values: dict[str, Value] = {f":{name}": most for name, most in known.items()}
        if self._limits.daily_budget_usd is not None:
            left = self._limits.daily_budget_usd - self._entry.built_usd()
            # nothing is less than nothing left, and what is not there is less than nothing at all
            none_yet = "attribute_not_exists(#spent) OR " if left > 0 else ""
            conditions.append(f"({none_yet}#spent < :budget)")
            names["#spent"] = SPENT + self._entry.today
            values[":budget"] = round(left, 6)
        if not probe:
            conditions.append("(attribute_not_exists(held) OR NOT contains(held, :image))")
            values[":image"] = applicant.image_scope
        if not in_line:
            conditions.append("attribute_not_exists(line)")
        return self._entry.take(
            applicant, conditions=conditions, names=names, values=values, in_line=in_line
        )

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


def _full(scope: str, who: str, turns: RunnerTurns, most: int, setting: str) -> NotYet:
    return NotYet(
        scope=scope,
        reason=f"{who} has {turns.count(scope)} of at most {most} runners: "
        f"the next starts when one has ended, or raise {setting}",
    )
