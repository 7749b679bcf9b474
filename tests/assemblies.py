"""The assemblies of the tests' fleets, made ahead by one process.

A synthesis takes four seconds of a processor in a process of its own, and half a second in one that
has made another before: the rest is the start of jsii. At the begin of a whole run one process
makes all of them while the tests are collected, and fleets find them where theirs are kept. One
that comes too early, or whose settings are not among these, makes its own.

    python -m tests.assemblies
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import cost, fleet, soak
from cdk_runner_fleet.local.assembly import Synthesis
from cdk_runner_fleet.local.fleet import _cdk_json_context
from cdk_runner_fleet.local.github import settle
from cdk_runner_fleet.local.node import find_node
from testbed.stage import CONTEXT
from tests import settings

HERE = (
    settings.CRASHES,
    settings.ALONE,
    CONTEXT,
    settings.IMPATIENT,
    settings.SECOND,
    settings.PATIENT,
    settings.BUILDERS,
    settings.ROCKETS,
    settings.RECONCILED,
    settings.CROWD,
    settings.APPS,
    settings.BY_REPOSITORY,
    settings.EXAMPLES,
    settings.DEPLOYED,
    *(after for _, after in settings.UPGRADES.values()),
    *settings.BUILT_AGAIN,
)
"""Those that are needed first come first."""
ELSEWHERE = (cost.SETTINGS, fleet.SETTINGS, soak.SETTINGS, {}, {"github_repo": "a/b"})
"""Of fleets in folders without this one's ``cdk.json``."""


def _contexts() -> Iterator[dict[str, object]]:
    found = _cdk_json_context()
    yield from (settle(found, given) for given in HERE)
    yield from (settle({}, given) for given in ELSEWHERE)


def make_all() -> None:
    """Make and keep all of them."""
    from cdk_runner_fleet.local.synth import synthesize  # noqa: PLC0415 - all of aws-cdk-lib

    for context in _contexts():
        with tempfile.TemporaryDirectory() as folder:
            synthesis = Synthesis(Path(folder), context)
            if synthesis._kept.exists():
                continue  # a fleet was faster
            synthesize(str(synthesis._outdir), context)
            synthesis._keep()


@contextmanager
def made_ahead() -> Iterator[None]:
    """A process that makes them, as long as it takes or the run does."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CDK_")},
        "JSII_NODE": find_node(),
        "CDK_VALIDATION": "false",
    }
    with subprocess.Popen([sys.executable, "-m", __name__], env=environment) as process:
        try:
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    make_all()
