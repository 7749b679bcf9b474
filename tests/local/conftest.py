"""One fleet for the tests that change nothing of it, or only what they have begun themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdk_runner_fleet.local.fleet import LocalFleet
from tests import settings


@pytest.fixture(scope="session")
def fleet() -> Iterator[LocalFleet]:
    with LocalFleet(context=settings.ROCKETS, webhook_secret="pssst") as fleet:
        yield fleet
