"""The process ends with everything it started, however it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.local.emulator.harness import Emulator, eventually, start_emulator, unique_sleep
from tests.waiting import PATIENCE_SECONDS


def running(marker: str) -> bool:
    return marker in subprocess.check_output(["ps", "ax", "-o", "args"], text=True)


def start_task(emulator: Emulator, marker: str) -> None:
    ecs = emulator.client("ecs")
    script = f"trap '' TERM; {marker} & wait; {marker}"
    ecs.create_cluster(clusterName="c")
    ecs.register_task_definition(
        family="f",
        containerDefinitions=[
            {"name": "runner", "image": "ghcr.io/x/y:1",
             "environment": [{"name": "SCRIPT", "value": script}]}
        ],
    )  # fmt: skip
    ecs.run_task(cluster="c", taskDefinition="f")
    eventually(lambda: running(marker))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_tasks(tmp_path: Path, number: signal.Signals) -> None:
    emulator = start_emulator(tmp_path)
    marker = unique_sleep()
    start_task(emulator, marker)
    emulator.process.send_signal(number)
    assert emulator.process.wait(PATIENCE_SECONDS) == 0
    assert not running(marker)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{emulator.endpoint}/_fleet/stats", timeout=PATIENCE_SECONDS)


def test_it_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    parent = textwrap.dedent(
        """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-m", "cdk_runner_fleet.local.emulator",
            "--port", "0", "--tasks-dir", sys.argv[1]], stdout=subprocess.PIPE, text=True,
            start_new_session=True)
        child.stdout.readline()
        print(child.pid, flush=True)
        sys.stdin.read()
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, str(tmp_path / "tasks")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()

    def gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{child}/stat")
        return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z"

    eventually(gone)


def test_it_ends_when_its_parent_was_gone_before_it_looked(tmp_path: Path) -> None:
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    emulator = subprocess.run(
        [sys.executable, "-m", "cdk_runner_fleet.local.emulator", "--port", "0",
         "--tasks-dir", str(tmp_path), "--parent-pid", str(finished.pid)],
        cwd=Path(__file__).parents[3],
        timeout=PATIENCE_SECONDS,
        check=False,
    )  # fmt: skip
    assert emulator.returncode == 0


def test_starting_it_imports_no_aws_cdk() -> None:
    code = (
        "import sys, cdk_runner_fleet.local.emulator.__main__; "
        "sys.exit(any(name.split('.')[0] in ('aws_cdk', 'jsii') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/net/tcp is Linux's")
def test_it_listens_on_loopback_only(emulator: Emulator) -> None:
    port = int(emulator.endpoint.rsplit(":", 1)[1])
    wanted = f"0100007F:{port:04X}"
    table = Path("/proc/net/tcp")
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    listening = {row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    assert listening == {wanted}
