"""Leases: one owner at a time, for as long as it said."""

from __future__ import annotations

import pytest

from fleet_runtime.aws.ledger import LEASE_MEMORY_SECONDS, Ledger

from ..aws_stand_in import Aws


class Leases:
    """The ledger with a clock that stands still until it is set."""

    def __init__(self, aws: Aws) -> None:
        self.now = 1000.9
        self.ledger = Ledger(dynamodb=aws.dynamodb, table="ledger", clock=lambda: self.now)

    def take(self, owner: str) -> bool:
        return self.ledger.take_lease("thing", owner=owner, seconds=60)


@pytest.fixture
def leases(aws: Aws) -> Leases:
    return Leases(aws)


def test_a_lease_is_its_owners_alone_until_it_runs_out(leases: Leases) -> None:
    assert leases.take("one")
    assert not leases.take("another")
    leases.now = 1059.9
    assert not leases.take("another")
    leases.now = 1060
    assert leases.take("another")
    assert not leases.take("one")


def test_its_owner_has_it_again_and_for_longer(leases: Leases) -> None:
    assert leases.take("one")
    leases.now = 1050
    assert leases.take("one")
    leases.now = 1109
    assert not leases.take("another")


def test_a_lease_that_is_dropped_is_anybodys(leases: Leases) -> None:
    assert leases.take("one")
    leases.ledger.drop_lease("thing", owner="one")
    assert leases.take("another")


def test_nobody_drops_a_lease_of_another(leases: Leases) -> None:
    assert leases.take("one")
    leases.ledger.drop_lease("thing", owner="another")
    assert not leases.take("another")


def test_other_things_have_leases_of_their_own(leases: Leases) -> None:
    assert leases.take("one")
    assert leases.ledger.take_lease("another thing", owner="another", seconds=60)


def test_what_nobody_takes_again_leaves_the_table_in_the_end(leases: Leases) -> None:
    assert leases.take("one")
    expires = leases.ledger.get("lease/thing")["expires_at"]
    assert expires == {"N": str(1000 + 60 + LEASE_MEMORY_SECONDS)}
