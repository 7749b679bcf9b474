"""How many runners do what, by their rows."""

from __future__ import annotations

from fleet_runtime.reconciliation.standing import Standing

from .test_demand import NOW, runner


def test_each_runner_counts_in_the_phase_that_it_is_in() -> None:
    rows = [
        runner("fleet-1-1", waiting_for="turn", queued_at=NOW - 90),
        runner("fleet-2-1", waiting_for="capacity", queued_at=NOW - 40),
        runner("fleet-3-1", waiting_for="image"),
        runner("fleet-4-1", waiting_for="runner", queued_at=NOW - 30),
        runner("fleet-5-1", waiting_for=""),
        runner("fleet-6-1", waiting_for="job", queued_at=NOW - 900),
        runner("fleet-7-1", waiting_for="completion", queued_at=NOW - 900),
        runner("fleet-8-1", waiting_for="job", started_at=NOW, queued_at=NOW - 900),
        runner("fleet-9-1", waiting_for="job", released_at=NOW),
    ]
    stands = Standing.of(rows, now=NOW)
    assert stands == Standing(waiting=3, starting=2, idle=1, running=2, longest_wait=90)
    assert not stands.is_quiet


def test_a_fleet_at_rest_is_quiet() -> None:
    stands = Standing.of([], now=NOW)
    assert stands == Standing(waiting=0, starting=0, idle=0, running=0, longest_wait=0)
    assert stands.is_quiet
