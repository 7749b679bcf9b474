"""What holds for all tests: who runs beside whom, and what is read once for all of them."""

from __future__ import annotations

import functools
import gc
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import botocore.session
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import assemblies, moto_at_ease
from tests.rotation import DEEP, TURN

gc.disable()  # until all is imported: see pytest_collection_finish

# Each session would parse the services' models anew, some of them for a second.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)
moto_at_ease.install()

# How long an example takes says more of what else the machine does than of what is tested.
settings.register_profile("fleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fleet")

FLEETS = Path(__file__).parent / "end_to_end"
"""Who runs all that is there starts many fleets."""
TOGETHER: Mapping[str, str] = {
    # a process of those that need jsii
    "tests/constructs/": "tests/constructs",
    "tests/local/emulator/test_stack.py": "tests/constructs",
    "tests/local/test_synth.py": "tests/constructs",
    "tests/test_boundaries.py": "tests/constructs",
    "tests/end_to_end/test_explain.py": "tests/end_to_end: one fleet",
    "tests/end_to_end/test_job.py": "tests/end_to_end: one fleet",
    "tests/end_to_end/test_workflow_jobs.py": "tests/end_to_end: one fleet",
    "tests/local/test_fleet.py": "tests/local: one fleet",
    "tests/local/test_guard.py": "tests/local: one fleet",
    "tests/statemachines/executed/": "tests/statemachines/executed",
}
"""Groups of files, by how their paths begin; any other file is a group of its own."""

SLOWEST_FIRST = (
    "tests/end_to_end/test_crashes.py",
    "tests/functions/images/test_builder_crashes.py",
    "tests/end_to_end: one fleet",
    "tests/properties/test_fleet_properties.py",
    "tests/test_benchmarks.py",
    "tests/local/test_commands.py",
    "tests/packaging/test_wheel.py",
    "tests/constructs",
    "tests/statemachines/executed",
    "tests/end_to_end/test_images.py",
    "tests/end_to_end/test_examples.py",
    "tests/local/test_assembly.py",
    "tests/local: one fleet",
    "tests/local/twin/test_runner.py",
    "tests/end_to_end/test_reconciliation.py",
    "tests/end_to_end/test_admission.py",
    "tests/runner_image/test_heartbeat.py",
    "tests/statemachines/test_launch_failures.py",
)
"""Groups in the order in which they begin; those that wait stand beside those that compute."""


def pytest_configure(config: pytest.Config) -> None:
    """All processes of a run share the assemblies that are kept, and no other run's."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    parts = ExitStack()
    config.add_cleanup(parts.close)
    os.environ["XDG_CACHE_HOME"] = parts.enter_context(tempfile.TemporaryDirectory())
    if any(FLEETS.is_relative_to(path.resolve()) for path in _selected(config)):
        parts.enter_context(assemblies.made_ahead())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes a core, as half of the tests wait for most of their time.

    None besides this one for a few files, which would start later.
    """
    if not any(path.is_dir() for path in _selected(config)):
        return 0
    return 2 * (os.cpu_count() or 1)


def _selected(config: pytest.Config) -> list[Path]:
    return [Path(argument.partition("::")[0]) for argument in config.args]


def pytest_collection_finish() -> None:
    """What was imported stays to the end: a fifth of all work would be looking through it again."""
    gc.freeze()
    gc.enable()


def pytest_report_header() -> str:
    """Which share of the deep tests this is."""
    return "deep: all of it" if DEEP else f"deep: a share of it, TEST_TURN={TURN} plays it again"


def group(name: str) -> str:
    """The group of a test, by the name that pytest gives it."""
    path = name.partition("::")[0]
    return next((found for start, found in TOGETHER.items() if path.startswith(start)), path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first."""
    places = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: places.get(group(item.nodeid), len(places)))


class Groups(LoadScopeScheduling):
    """Gives each group to one process.

    xdist 3.8 writes its own groups, which are marks, into the tests' ids; pytest 9.2 keeps the ids.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """A group's tests stay together, they share its fixtures."""
    return Groups(config, log)
