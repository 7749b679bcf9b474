"""The breaker: an image and class whose runners fail one after the other is held for a while.

So that no loop burns money: a runner that cannot start costs a minute of Fargate each time, and
whoever replaces it, GitHub or the fleet itself, does so for as long as its job is queued.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from fleet_runtime.aws.items import Item, Value, number, text, texts
from fleet_runtime.aws.ledger import TURNS, Ledger
from fleet_runtime.observability import count, logger
from fleet_runtime.runner.rows import Runner, RunnerRecords

# what ten runners that fail at once cost is about a cent, what one every five minutes costs about
# as much in an hour: little enough to be lost on a cause that nobody sees to for a night
FAILURES = 10
"""Runners that fail, with none in between that got as far as a job, until further ones are held."""
WINDOW_SECONDS = 600
"""The time from the first of these failures to the last."""
HOLD_SECONDS = 300
"""How long further runners are held; then one is tried, and if that fails too, held again."""

_LOST_PROBE_SECONDS = 60
"""After this a probe without a row, or with one that is over, is nobody's any more."""
_MEMORY_SECONDS = 86400
_CAUSE_LENGTH = 300

# not the image's and the class's doing, but a person's, GitHub's, or the job's: it asks for what
# its image lacks, or for one image too many, and every other job of the class runs
_INNOCENT = frozenset(
    {
        "Image.TooMany",
        "Runner.CapabilityMissing",
        "Runner.ExecutionEnded",
        "Runner.Released",
        "Runner.ReleaseFailed",
        "Runner.Terminated",
    }
)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The runner may start, to see whether the cause is gone."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """The runner may not start, and why."""

    reason: str


class Breaker:
    """What failed lately, one entry of the ledger for each class and image.

    Args:
        ledger: The ledger.
        records: The runners.
    """

    def __init__(self, *, ledger: Ledger, records: RunnerRecords) -> None:
        self._ledger = ledger
        self._records = records

    def runner_ended(self, runner: Runner) -> None:
        """Learn from a runner that has ended. Twice is as good as once."""
        if proves_start(runner):
            self._succeeded(runner)
        elif (
            runner.status == "FAILED"
            and runner.error not in _INNOCENT
            # it says that a job was on it, which may have ended it: that clears and blames nobody
            and runner.hook_started_at is None
            # an event that comes days late says nothing of now
            and (runner.ended_at or 0) > self._ledger.now - WINDOW_SECONDS
        ):
            self._failed(runner)

    def ask(self, scope: str, runner_id: str) -> Probe | Held | None:
        """Ask whether a runner may start whose class and image the turns say are held.

        Args:
            scope: Its class and image, of ``scope_of``.
            runner_id: The runner.

        Returns:
            None if nothing is held after all.
        """
        entry = self._ledger.get(_entry(scope))
        open_until = number(entry, "open_until")
        if open_until is None:
            self._let_go(scope)
            return None
        now = self._ledger.now
        if now < open_until:
            return _held(entry, _until(open_until))
        probe = text(entry, "probe")
        tried = self._records.find(probe) if probe and probe != runner_id else None
        if tried and proves_start(tried):
            self._close(scope)
            return None
        if probe and probe != runner_id and not self._is_lost(entry, tried):
            return _held(entry, f"now {probe} is tried")
        values: dict[str, Value] = {":probe": runner_id, ":now": now, ":was": probe}
        taken = self._ledger.write_if(
            _entry(scope),
            "SET probe = :probe, probe_at = :now",
            condition="open_until <= :now AND (attribute_not_exists(probe) OR probe = :was)",
            values=values,
        )
        return _held(entry, "now another one is tried") if taken is None else Probe()

    def forget(self, scopes: Iterable[str]) -> None:
        """Let go of those of the held that nobody has asked for in a day.

        They stand on the entry that each turn is written to, and images are their jobs' choice.
        """
        long_ago = self._ledger.now - _MEMORY_SECONDS
        for scope in scopes:
            open_until = number(self._ledger.get(_entry(scope)), "open_until")
            if open_until is None:
                self._let_go(scope)
            elif open_until <= long_ago:
                self._close(scope)

    def why(self, scope: str) -> str:
        """Say why a class and image are held, and try none; empty if they are not."""
        entry = self._ledger.get(_entry(scope))
        open_until = number(entry, "open_until")
        if open_until is None:
            return ""
        is_over = open_until <= self._ledger.now
        tried = f"now {text(entry, 'probe') or 'one'} is tried"
        return _held(entry, tried if is_over else _until(open_until)).reason

    def _succeeded(self, runner: Runner) -> None:
        """Forget the failures that came before; one that began before them says nothing of now."""
        scope = scope_of(runner.class_name, runner.image_tag)
        first_failure_at = number(self._ledger.get(_entry(scope)), "first_failure_at")
        began_at = max(runner.claimed_at or 0, runner.started_at or 0)
        if first_failure_at is not None and began_at >= first_failure_at:
            self._close(scope)

    def _failed(self, runner: Runner) -> None:
        scope = scope_of(runner.class_name, runner.image_tag)
        entry = self._note(runner, scope)
        if text(entry, "probe") == runner.runner_id or (
            len(texts(entry, "failures")) >= FAILURES and number(entry, "open_until") is None
        ):
            entry = self._ledger.write(
                _entry(scope),
                "SET open_until = :until REMOVE probe, probe_at",
                values={":until": self._ledger.now + HOLD_SECONDS},
            )
            logger.warning("runners held", scope=scope, error=runner.error, cause=runner.cause)
            count("RunnersHeld")
        if number(entry, "open_until") is not None:
            self._ledger.write(TURNS, "ADD held :scope", values={":scope": frozenset({scope})})

    def _note(self, runner: Runner, scope: str) -> Item:
        now = self._ledger.now
        said = "SET #error = :error, cause = :cause, expires_at = :expires"
        values: dict[str, Value] = {
            ":error": runner.error,
            ":cause": runner.cause[:_CAUSE_LENGTH],
            ":expires": now + _MEMORY_SECONDS,
            ":runner": frozenset({runner.runner_id}),
            ":since": now - WINDOW_SECONDS,
        }
        names = {"#error": "error"}
        while True:
            one_more = self._ledger.write_if(
                _entry(scope),
                f"{said} ADD failures :runner",
                condition="first_failure_at > :since OR attribute_exists(open_until)",
                names=names,
                values=values,
            )
            # the window may have ended, and another failure may begin the next one before this
            first = one_more or self._ledger.write_if(
                _entry(scope),
                f"{said}, failures = :runner, first_failure_at = :now",
                condition="(attribute_not_exists(first_failure_at) OR first_failure_at <= :since)"
                " AND attribute_not_exists(open_until)",
                names=names,
                values=values | {":now": now},
            )
            if first:
                return first

    def _is_lost(self, entry: Item, probe: Runner | None) -> bool:
        waits = (number(entry, "probe_at") or 0) > self._ledger.now - _LOST_PROBE_SECONDS
        return not waits and (probe is None or probe.is_in_line or probe.has_ended)

    def _close(self, scope: str) -> None:
        if number(self._ledger.delete(_entry(scope)), "open_until") is not None:
            self._let_go(scope)
            logger.info("runners no longer held", scope=scope)

    def _let_go(self, scope: str) -> None:
        self._ledger.write(TURNS, "DELETE held :scope", values={":scope": frozenset({scope})})


def scope_of(class_name: str, image_tag: str) -> str:
    """Name what a breaker is for."""
    return f"image:{class_name}/{image_tag}"


def proves_start(runner: Runner) -> bool:
    """Whether a runner shows that its class and image are sound: it got as far as a job could."""
    waited_in_vain = runner.status == "OFFLINE" and runner.claimed_at is not None
    return runner.started_at is not None or waited_in_vain


def _entry(scope: str) -> str:
    return f"breaker/{scope.removeprefix('image:')}"


def _until(open_until: int) -> str:
    until = datetime.fromtimestamp(open_until, UTC).strftime("%H:%M:%S UTC")
    return f"further ones are held until {until}, then one is tried"


def _held(entry: Item, what: str) -> Held:
    name = text(entry, "entry").removeprefix("breaker/")
    return Held(
        reason=f"{len(texts(entry, 'failures'))} runners of {name} have failed, the last one with "
        f"{text(entry, 'error')}: {text(entry, 'cause') or 'no cause'}; {what}"
    )
