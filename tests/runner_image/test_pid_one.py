"""The entrypoint as the first process of a process namespace, as in a container.

The kernel gives such a process everyone's orphans, and none of the signals that it has no handler
for. Its `run.sh` here does what actions/runner's does with RUNNER_MANUALLY_TRAP_SIG: the work is a
child in a process group of its own, waited for, and told of SIGTERM with SIGINT.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_SECONDS, until

from .conftest import SILENCE, Fleet, Machine, alive, can, not_here

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
UNPRIVILEGED = (*NAMESPACE, "--user", "--map-root-user")

RUN = """
[[ "$RUNNER_MANUALLY_TRAP_SIG" == 1 ]] || exit 99
set -m
told=""
trap 'told=yes; kill -INT -- "-$!"' INT TERM
bash "$RUNNER_HOME/work.sh" &
child=$!
wait "$child"; status=$?
if [[ "$told" ]]; then wait "$child"; status=$?; fi
exit "$status"
"""


@pytest.fixture(scope="module")
def namespace() -> tuple[str, ...]:
    command = next((each for each in (NAMESPACE, UNPRIVILEGED) if can(*each)), None)
    if command is None:
        not_here("this machine allows no process namespace (unshare --pid)")
    return command


def first_process(namespace: subprocess.Popen[bytes]) -> int:
    """Our number of the process that is 1 in there."""
    children = Path(f"/proc/{namespace.pid}/task/{namespace.pid}/children")
    until(lambda: bool(children.read_text(encoding="utf-8")))
    return int(children.read_text(encoding="utf-8"))


def test_orphans_of_the_job_are_reaped(
    fleet: Fleet, machine: Machine, namespace: tuple[str, ...]
) -> None:
    machine.script(machine.home / "run.sh", RUN)
    machine.script(
        machine.home / "work.sh",
        """
        echo $PPID > first
        (bash -c 'echo $$ > orphan; while [[ ! -e end ]]; do sleep 0.02; done' &)
        until [[ -s orphan ]]; do sleep 0.02; done
        read -r orphan < orphan
        until grep -q '^PPid:.1$' "/proc/$orphan/status"; do sleep 0.02; done
        touch adopted end
        while [[ -e "/proc/$orphan" ]]; do sleep 0.02; done
        touch reaped
        """,
    )
    process = machine.start(fleet, within=namespace)
    assert process.wait(timeout=PATIENCE_SECONDS) == 0, machine.complaints()
    assert (machine.home / "first").read_text(encoding="utf-8") == "1\n"
    assert (machine.home / "adopted").exists()
    assert (machine.home / "reaped").exists()


def test_sigterm_reaches_the_job_and_its_status_counts(
    fleet: Fleet, machine: Machine, namespace: tuple[str, ...]
) -> None:
    machine.script(machine.home / "run.sh", RUN)
    machine.script(
        machine.home / "work.sh",
        # bash loses a SIGINT to the whole group that comes as its foreground command ends: `wait`
        """
        trap 'touch told; sleep 0.2; exit 5' INT
        touch at_work
        while :; do sleep 0.1 & wait $!; done
        """,
    )
    process = machine.start(fleet, within=namespace)
    until((machine.home / "at_work").exists)
    os.kill(first_process(process), signal.SIGTERM)
    assert process.wait(timeout=PATIENCE_SECONDS) == 5
    assert (machine.home / "told").exists()


def test_the_container_ends_with_the_job_whatever_is_left(
    fleet: Fleet, machine: Machine, namespace: tuple[str, ...]
) -> None:
    machine.script(machine.home / "run.sh", RUN)
    machine.script(
        machine.home / "work.sh",
        "sleep infinity & touch at_work; while [[ ! -e end ]]; do sleep 0.02; done; exit 7",
    )
    process = machine.start(fleet, within=namespace)
    until((machine.home / "at_work").exists)
    first = first_process(process)
    children = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="utf-8").split()
    assert len(children) == 2  # the job and the heartbeat
    (machine.home / "end").touch()
    assert process.wait(timeout=PATIENCE_SECONDS) == 7
    assert not any(alive(int(child)) for child in children)


def test_sigterm_ends_a_claim_under_way(
    fleet: Fleet, machine: Machine, namespace: tuple[str, ...]
) -> None:
    fleet.answers = [(SILENCE, {})]
    process = machine.start(fleet, within=namespace)
    until(lambda: bool(fleet.requests))
    os.kill(first_process(process), signal.SIGTERM)
    assert process.wait(timeout=20) == 143  # and not after the half minute that a claim may take


def test_sigterm_ends_a_pause_between_claims(
    fleet: Fleet, machine: Machine, namespace: tuple[str, ...]
) -> None:
    fleet.answers = [(503, {"Retry-After": "60"})]
    machine.put("sleep", 'touch "$HOME/pausing"; exec /bin/sleep infinity')
    process = machine.start(fleet, within=namespace)
    until((machine.home / "pausing").exists)
    os.kill(first_process(process), signal.SIGTERM)
    assert process.wait(timeout=PATIENCE_SECONDS) == 143
