"""One emulator for all that is executed, and a life for each scenario, played at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ..rig import Life, Rig, open_rig
from .scenarios import SCENARIOS, Played


@pytest.fixture(scope="package")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("tasks")) as rig:
        yield rig


@pytest.fixture(scope="package")
def played(rig: Rig) -> Played:
    """A life for each scenario, all of them played at once."""

    def play(scenario: Callable[[Life], None]) -> Life:
        life = rig.life()
        scenario(life)
        return life

    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        return {key: pool.submit(play, scenario) for key, scenario in SCENARIOS.items()}
