"""Why runners in line wait now."""

from __future__ import annotations

from .conftest import Make


def test_a_row_says_why_it_joined_and_who_looks_is_told_why_it_waits(fleet: Make) -> None:
    one = fleet(2, per_repository=1)
    one.queue(1)
    one.queue(2, repository="octo-org/two")
    one.queue(3)
    joined = "the fleet has 2 of at most 2 runners"
    assert one.why(3).startswith(joined)
    one.end(2)
    assert one.row(3)["waiting_reason"].startswith(joined)
    assert one.why(3).startswith("octo-org/one has 1 of at most 1 runners")


def test_who_waits_no_more_has_no_reason(fleet: Make) -> None:
    one = fleet(1)
    one.queue(1)
    one.queue(2)
    asked = ["fleet-1-1", "fleet-2-1", "fleet-9-1"]
    assert one.waits.reasons(asked) == {"fleet-2-1": one.why(2)}
    one.end(1)
    assert one.waits.reasons(asked) == {}


def test_a_limit_that_is_gone_is_not_named_any_more(fleet: Make) -> None:
    one = fleet(2)
    one.ledger.update("turns", values={"drained_at": 5})
    one.queue(1)
    assert "drained" in one.why(1)
    one.ledger.update("turns", remove=("drained_at",))
    assert "drained" in one.row(1)["waiting_reason"]
    assert one.why(1) == "no limit holds it up now: reconciliation serves the line"
