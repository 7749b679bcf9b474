"""The entrypoint in the built image, as a container's first process, against every answer."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cdk_runner_fleet.local.emulator.buildah import first_process

from .conftest import SECRET_KEY, SESSION_TOKEN, VERSION, Api, Workshop, figure

# In a PID namespace of its own, as Fargate starts it: the entrypoint is process 1 there.
AS_PID_1 = (
    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"),
)
JOB = """#!/bin/bash
# what a job does: it starts processes, forgets some of them, and ends when it is told to
trap 'echo told to stop; exit 143' TERM
echo "process $$ of user $(id -u)"
(tail --pid=$$ --follow /dev/null &) # an orphan, and process 1's to reap
echo started
sleep 60 & wait
"""


class Machine:
    """One container of the base variant with a job of the test's in place of actions/runner."""

    def __init__(self, workshop: Workshop, image: str, api: Api, folder: Path) -> None:
        self.workshop = workshop
        self.container = workshop.container(image)
        self.job = folder / "run.sh"
        self.write('echo "ran as $(id -un) with ${ACTIONS_RUNNER_INPUT_JITCONFIG}"; exit 5')
        self.environment = {
            "FLEET_URL": api.url,
            "RUNNER_ID": "fleet-7-1",
            "FLEET_REGION": "us-east-1",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{api.url}/credentials",
            "RUNNER_LABELS": "self-hosted",
        }

    def write(self, script: str) -> None:
        self.job.write_text(script if script.startswith("#!") else f"#!/bin/bash\n{script}\n")
        self.job.chmod(0o755)

    def start(self, *before: str, root: bool = False) -> subprocess.Popen[str]:
        return self.workshop.start(
            self.container,
            *(*before, "/opt/fleet/entrypoint.sh"),
            environment=self.environment,
            volumes=[f"{self.job}:/home/runner/run.sh:ro"],
            options=["--user", "0", "--cap-add", "CAP_SYS_ADMIN"] if root else [],
        )

    def run(self) -> tuple[int, str]:
        process = self.start()
        said, _ = process.communicate(timeout=60)
        return process.returncode, said


@pytest.fixture
def machine(workshop: Workshop, images: dict[str, str], api: Api, tmp_path: Path) -> Machine:
    return Machine(workshop, images["base"], api, tmp_path)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def terminate(process: subprocess.Popen[str]) -> None:
    first = first_process(process.pid)
    assert first
    os.kill(first, signal.SIGTERM)


def test_it_declares_what_it_is_and_becomes_the_runner(machine: Machine, api: Api) -> None:
    status, said = machine.run()
    assert status == 5  # run.sh's
    assert "ran as runner with eyJqaXQiOjF9" in said
    assert SECRET_KEY not in said
    assert SESSION_TOKEN not in said
    [claim] = api.paths("/runners/fleet-7-1/claim")
    assert claim["capabilities"] == ["shell"]
    assert claim["runner_version"] == VERSION


@pytest.mark.parametrize(
    ("answers", "status", "says"),
    [
        ([410], 0, "the job is gone"),
        ([409], 1, "was claimed before"),
        ([500, 503, 200], 5, "ran as runner"),
    ],
)
def test_the_claims_answer_decides(
    machine: Machine, api: Api, answers: list[int], status: int, says: str
) -> None:
    api.answers = list(answers)
    found, said = machine.run()
    assert found == status
    assert says in said
    assert len(api.paths("/claim")) == len(answers)
    assert ("ran as" in said) == (200 in answers)


def test_a_fleet_that_says_nothing_does_not_hold_up_the_end(machine: Machine, api: Api) -> None:
    api.answers = [0]
    process = machine.start()
    until(lambda: api.claimed_at)
    began = time.monotonic()
    terminate(process)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - began < 10  # and not the 30 s that the answer may take
    assert "ran as" not in said


def test_a_fleet_that_is_not_there_is_asked_again(machine: Machine, api: Api) -> None:
    machine.environment["FLEET_URL"] = "http://127.0.0.1:9"
    process = machine.start()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    terminate(process)
    assert process.wait(20) == 143


def test_sigterm_in_the_middle_of_a_job_reaches_it(machine: Machine, api: Api) -> None:
    machine.write(JOB)
    process = machine.start()
    assert process.stdout
    assert process.stdout.readline().endswith("of user 1000\n")
    assert process.stdout.readline() == "started\n"
    terminate(process)
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.splitlines()[0]) == (143, "told to stop")


def test_as_process_1_it_reaps_and_passes_sigterm_on(machine: Machine, api: Api) -> None:
    machine.write(JOB)
    process = machine.start(*AS_PID_1, root=True)
    assert process.stdout
    assert process.stdout.readline() == "process 1 of user 1000\n"
    assert process.stdout.readline() == "started\n"
    first = _first_process_below(process.pid)
    [orphan] = [child for child, name in _children(first).items() if name == "tail"]
    os.kill(orphan, signal.SIGKILL)
    until(lambda: orphan not in _children(first))  # and not a zombie either
    os.kill(first, signal.SIGTERM)  # to process 1 alone, as ECS sends it
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.splitlines()[0]) == (143, "told to stop")


def test_as_process_1_it_ends_on_sigterm_while_it_waits_for_the_claim(
    machine: Machine, api: Api
) -> None:
    api.answers = [0]
    process = machine.start(*AS_PID_1, root=True)
    until(lambda: api.claimed_at)
    os.kill(_first_process_below(process.pid), signal.SIGTERM)
    assert process.wait(20) == 143


def test_how_soon_the_claim_is_sent(machine: Machine, api: Api) -> None:
    seconds = []
    for _ in range(5):
        process = machine.start("bash", "-c", 'echo "$EPOCHREALTIME"; exec "$@"', "start")
        said, _ = process.communicate(timeout=60)
        seconds.append(api.claimed_at - float(said.split()[0]))
    figure(
        "from the entrypoint's start to its claim in the fleet's hands: "
        + ", ".join(f"{each * 1000:.0f}" for each in sorted(seconds))
        + " ms"
    )


def _children(pid: int) -> dict[int, str]:
    """The processes below one, zombies too, and their programs' names."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            start, _, rest = entry.read_text().rpartition(")")
        except OSError:
            continue  # it has ended in the meantime
        if int(rest.split()[1]) == pid:
            found[int(entry.parent.name)] = start.partition("(")[2]
    return found


def _first_process_below(pid: int) -> int:
    """The process that is number 1 of its own PID namespace."""
    for child in _children(pid):
        status = Path(f"/proc/{child}/status").read_text()
        numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        if len(numbers) > 2 and numbers[-1] == "1":
            return child
        found = _first_process_below(child)
        if found:
            return found
    return 0
