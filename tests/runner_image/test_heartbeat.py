"""The heartbeat: what it says, when it complains, and that it ends with the runner."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet.local.emulator import curl_stand_in
from tests.waiting import PATIENCE_SECONDS, until

from .conftest import HANG_UP, IMAGE, SILENCE, Fleet, Machine, alive, left_of, stat_of

Start = Callable[..., subprocess.Popen[bytes]]


LATER = 2 * int(PATIENCE_SECONDS)
"""Seconds until a beat that nobody waits for."""


@pytest.fixture
def runner() -> Iterator[subprocess.Popen[bytes]]:
    """The process that became the runner."""
    process = subprocess.Popen(["sleep", "infinity"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def heartbeat(fleet: Fleet, machine: Machine, runner: subprocess.Popen[bytes]) -> Iterator[Start]:
    """Starts it: with a beat a second, for `runner`, if nothing else is said."""
    fleet.answers = [(202, {})]
    machine.credentials(fleet.url)
    started: list[subprocess.Popen[bytes]] = []

    def start(*, every: int = 1, **environment: str) -> subprocess.Popen[bytes]:
        with machine.log.open("wb") as log:
            process = subprocess.Popen(
                ["bash", str(IMAGE / "heartbeat.sh"), str(every), str(runner.pid)],
                env=machine.environment(**environment),
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def has_begun(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has opened what it waits on."""
    return Path(f"/proc/{process.pid}/fd/3").exists()


def beats(fleet: Fleet, number: int) -> list[dict[str, Any]]:
    """The bodies of the first beats, once there are so many."""
    until(lambda: len(fleet.requests) >= number)
    return [json.loads(request["body"]) for request in fleet.requests[:number]]


def test_it_says_its_load(fleet: Fleet, heartbeat: Start) -> None:
    before = os.getloadavg()[0]
    heartbeat()
    (beat,) = beats(fleet, 1)
    assert beat == {"event": "heartbeat", "load": pytest.approx(before, abs=1)}
    (request,) = fleet.requests
    assert request["path"] == "/runners/r-1/events"
    assert request["headers"]["Authorization"] == "Bearer ev"


def test_it_beats_at_its_interval_and_not_at_once(
    fleet: Fleet, machine: Machine, heartbeat: Start, tmp_path: Path
) -> None:
    other = tmp_path / "clock"
    other.mkdir()
    said = (machine.home / ".fleet-events").read_text(encoding="utf-8")
    (other / ".fleet-events").write_text(said.replace("r-1", "clock"), encoding="utf-8")
    heartbeat(RUNNER_HOME=str(other))  # one a second
    heartbeat(every=3)

    def beaten() -> str:
        return "".join("." if "clock" in one["path"] else "3" for one in fleet.requests)

    until(lambda: beaten().count("3") >= 2, beaten)
    first, second, *_ = beaten().split("3")
    # bash counts whole seconds, and either may come late
    assert 1 <= len(first) <= 5
    assert 1 <= len(second) <= 5


def test_it_ends_with_the_runner(
    fleet: Fleet, machine: Machine, heartbeat: Start, runner: subprocess.Popen[bytes]
) -> None:
    process = heartbeat(every=LATER)
    until(lambda: has_begun(process))
    runner.kill()
    runner.wait()
    assert process.wait(timeout=PATIENCE_SECONDS) == 0
    assert machine.complaints() == ""
    assert fleet.requests == []


def test_it_starts_no_process_to_wait(heartbeat: Start) -> None:
    process = heartbeat(every=LATER)
    until(lambda: has_begun(process))
    status = Path(f"/proc/{process.pid}/status")

    def pauses() -> int:
        text = status.read_text(encoding="utf-8")
        return int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def children() -> tuple[str, str]:
        """Those there are, and the memory that those who were there have touched."""
        now = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return now.read_text(encoding="utf-8"), stat_of(now.parents[2]).split()[10]

    first = pauses() + 2  # it is done with its first second
    until(lambda: pauses() >= first)
    before = children()
    until(lambda: pauses() >= first + 3)
    assert children() == before
    assert before[0] == ""
    spent = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().split()[13:15]))
    assert spent / os.sysconf("SC_CLK_TCK") < 0.1


@pytest.mark.parametrize("answer", [410, 403, 404])
def test_it_ends_when_the_fleet_has_heard_enough(
    fleet: Fleet, machine: Machine, heartbeat: Start, answer: int
) -> None:
    fleet.answers = [(202, {}), (answer, {}), (202, {})]
    process = heartbeat()
    assert process.wait(timeout=PATIENCE_SECONDS) == 0
    assert machine.complaints() == ""
    assert len(fleet.requests) == 2


def test_it_hears_the_fleet_through_a_proxy(
    fleet: Fleet, machine: Machine, heartbeat: Start
) -> None:
    fleet.answers = [(410, {}), (202, {})]
    process = heartbeat(**machine.behind(fleet))
    assert process.wait(timeout=PATIENCE_SECONDS) == 0
    assert fleet.tunnels == 1


@pytest.mark.parametrize(
    ("trouble", "why"),
    [(503, "HTTP/1.1 503 Service Unavailable"), (HANG_UP, "curl: (52) Empty reply from server")],
)
def test_an_outage_is_complained_of_once(
    fleet: Fleet, machine: Machine, heartbeat: Start, trouble: int, why: str
) -> None:
    bad, good = (trouble, {}), (202, {})
    fleet.answers = [bad, bad, good, bad, bad, (410, {})]
    assert heartbeat().wait(timeout=PATIENCE_SECONDS) == 0
    assert (
        machine.complaints().splitlines()
        == [f"fleet: no heartbeat gets through ({why}); the job goes on"] * 2
    )


def test_a_fleet_that_is_away_does_not_end_it(machine: Machine, heartbeat: Start) -> None:
    machine.credentials("http://127.0.0.1:9")
    machine.put("curl", f'echo >>"$HOME/tries"; exec "{shutil.which("curl")}" "$@"')
    process = heartbeat()
    tries = machine.home / "tries"
    until(lambda: tries.exists() and len(tries.read_text(encoding="utf-8")) >= 3)
    assert process.poll() is None
    (line,) = machine.complaints().splitlines()
    assert "no heartbeat gets through (curl: (7)" in line


def test_a_beat_waits_ten_seconds_for_its_answer_at_most(
    machine: Machine, heartbeat: Start
) -> None:
    machine.put("curl", 'printf "%s\\n" "$@" > "$HOME/arguments"; touch "$HOME/called"')
    heartbeat()
    until((machine.home / "called").exists)
    arguments = (machine.home / "arguments").read_text(encoding="utf-8").split("\n")
    assert arguments[arguments.index("--max-time") + 1] == "10"
    assert "Bearer" not in " ".join(arguments)


def test_the_local_fleets_stand_in_for_curl_does_as_well(
    fleet: Fleet, machine: Machine, heartbeat: Start
) -> None:
    machine.put("curl", f'exec "{sys.executable}" "{curl_stand_in.__file__}" "$@"')
    fleet.answers = [(202, {}), (410, {})]
    assert heartbeat().wait(timeout=PATIENCE_SECONDS) == 0
    assert len(fleet.requests) == 2


def test_the_entrypoint_leaves_no_heartbeat_behind(fleet: Fleet, machine: Machine) -> None:
    """Also when run.sh is over before the heartbeat has begun."""
    process = machine.start(fleet, image=machine.image_that_beats(every=LATER))
    assert process.wait(timeout=PATIENCE_SECONDS) == 0
    until(lambda: not left_of(process))


def test_a_runner_that_ends_is_not_held_up(fleet: Fleet, machine: Machine) -> None:
    fleet.answers = [(200, {}), (SILENCE, {})]
    machine.script(
        machine.home / "run.sh", 'while [[ ! -e "$HOME/end" ]]; do sleep 0.02; done; exit 7'
    )
    process = machine.start(fleet, image=machine.image_that_beats(every=1))
    until(lambda: len(fleet.requests) == 2)  # a beat is under way
    assert alive(process.pid)
    (machine.home / "end").touch()
    assert process.wait(timeout=PATIENCE_SECONDS) == 7
    assert any("(curl)" in stat for stat in left_of(process)), "it has waited for the beat"
