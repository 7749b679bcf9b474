"""The entrypoint against a fleet on loopback: every answer of the claim, and the handover."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cdk_runner_fleet.local.emulator import curl_stand_in

from .conftest import TICKET, Fleet, Machine


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2]
    except FileNotFoundError:
        return False


def test_it_claims_and_becomes_the_runner(fleet: Fleet, machine: Machine) -> None:
    status, complaints = machine.run(fleet)
    assert (status, complaints) == (0, "")
    (claim,) = fleet.requests
    assert claim["path"] == "/runners/fleet-7-1/claim"
    assert claim["headers"]["Authorization"] == f"Bearer {TICKET}"
    handed = machine.handed_over()
    assert handed["ACTIONS_RUNNER_INPUT_JITCONFIG"] == "eyJqaXQiOjF9/+=="
    assert handed["RUNNER_MANUALLY_TRAP_SIG"] == "1"
    assert handed["ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"] == "1"
    assert Path(handed["ACTIONS_RUNNER_HOOK_JOB_STARTED"]).is_file()
    assert Path(handed["ACTIONS_RUNNER_HOOK_JOB_COMPLETED"]).is_file()


def test_the_job_sees_no_credential_of_the_fleet(fleet: Fleet, machine: Machine) -> None:
    machine.script(machine.home / "run.sh", "cat /proc/$$/environ > environ; env > visible")
    machine.run(fleet)
    for name in ("environ", "visible"):
        seen = (machine.home / name).read_text(encoding="utf-8")
        assert "ACTIONS_RUNNER_INPUT_JITCONFIG" in seen
        for secret in (TICKET, "ev-tok_1.x", "RUNNER_TICKET", "FLEET_URL", "RUNNER_ID="):
            assert secret not in seen


def test_the_events_credentials_are_the_users_alone(fleet: Fleet, machine: Machine) -> None:
    machine.run(fleet)
    credentials = machine.home / ".fleet-events"
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert credentials.read_text(encoding="utf-8").splitlines() == [
        f'url = "{fleet.url}/runners/fleet-7-1/events"',
        'header = "Authorization: Bearer ev-tok_1.x"',
    ]


def test_the_ticket_is_in_no_process_arguments(fleet: Fleet, machine: Machine) -> None:
    machine.put("curl", 'echo "$@" >> "$HOME/curl-arguments"; PATH=${PATH#*:} exec curl "$@"')
    machine.run(fleet)
    arguments = (machine.home / "curl-arguments").read_text(encoding="utf-8")
    assert "/runners/fleet-7-1/claim" in arguments
    assert TICKET not in arguments


def test_a_job_that_is_gone_ends_it_quietly(fleet: Fleet, machine: Machine) -> None:
    fleet.answers = [(410, {})]
    status, complaints = machine.run(fleet)
    assert status == 0
    assert complaints == "fleet: nothing to do: the job is gone\n"
    assert not (machine.home / "environ").exists()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (403, "(403): the ticket does not belong to fleet-7-1"),
        (404, "(404): the fleet knows no runner fleet-7-1"),
        (409, "(409): fleet-7-1 was claimed before"),
        (302, "unexpected status 302"),
    ],
)
def test_a_refusal_ends_it_with_the_reason(
    fleet: Fleet, machine: Machine, answer: int, why: str
) -> None:
    fleet.answers = [(answer, {})]
    status, complaints = machine.run(fleet)
    assert status == 1
    assert why in complaints
    assert len(fleet.requests) == 1
    assert not (machine.home / "environ").exists()


@pytest.mark.parametrize("trouble", [503, 500, 429, 0])
def test_it_asks_again_when_the_fleet_cannot_answer_now(
    fleet: Fleet, machine: Machine, trouble: int
) -> None:
    machine.put("sleep", 'echo "$1" >> "$HOME/pauses"')
    fleet.answers = [(trouble, {}), (trouble, {}), (200, {})]
    status, _ = machine.run(fleet)
    assert status == 0
    assert len(fleet.requests) == 3
    pauses = (machine.home / "pauses").read_text(encoding="utf-8").split()
    assert [float(pause) <= limit for pause, limit in zip(pauses, (0.2, 0.4), strict=True)] == [
        True,
        True,
    ]


def test_it_waits_as_long_as_it_is_asked_to(fleet: Fleet, machine: Machine) -> None:
    machine.put("sleep", 'echo "$1" >> "$HOME/pauses"')
    fleet.answers = [(503, {"Retry-After": "08"}), (200, {})]
    assert machine.run(fleet)[0] == 0
    assert float((machine.home / "pauses").read_text(encoding="utf-8")) > 8


def test_it_gives_up_in_the_end(fleet: Fleet, machine: Machine) -> None:
    fleet.answers = [(503, {})]
    status, complaints = machine.run(fleet, SECONDS="120")  # bash counts on from there
    assert status == 1
    assert "no claim within 120 s; last status 503" in complaints


def test_an_answer_without_the_configuration_is_an_error(fleet: Fleet, machine: Machine) -> None:
    machine.put("curl", "printf 'HTTP/1.1 200 OK\\r\\n\\r\\n<html>'")
    status, complaints = machine.run(fleet)
    assert status == 1
    assert "has no encoded_jit_config" in complaints


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("RUNNER_TICKET", "", "RUNNER_TICKET is not set"),
        ("RUNNER_TICKET", 'x"\noutput = "/tmp/x', "not a bearer token"),
        ("RUNNER_ID", "../../events", "RUNNER_ID has characters"),
    ],
)
def test_overrides_that_could_steer_curl_are_refused(
    fleet: Fleet, machine: Machine, name: str, value: str, why: str
) -> None:
    machine.put("curl", "exit 99")
    status, complaints = machine.run(fleet, **{name: value})
    assert status == 1
    assert why in complaints


def test_sigterm_reaches_the_runner(fleet: Fleet, machine: Machine) -> None:
    machine.script(
        machine.home / "run.sh",
        "trap 'touch stopped; exit 0' TERM; touch running; while :; do sleep 0.02; done",
    )
    process = machine.start(fleet)
    wait_until((machine.home / "running").exists)
    process.send_signal(signal.SIGTERM)  # to the entrypoint's own process ID
    process.communicate(timeout=10)
    assert (machine.home / "stopped").exists()
    assert process.returncode == 0


def test_sigterm_ends_the_wait_for_a_claim(fleet: Fleet, machine: Machine) -> None:
    machine.put("sleep", 'echo $$ > "$HOME/pid"; touch "$HOME/pausing"; exec /bin/sleep 30')
    fleet.answers = [(503, {})]
    process = machine.start(fleet)
    wait_until((machine.home / "pausing").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    pid = int((machine.home / "pid").read_text(encoding="utf-8"))
    wait_until(lambda: not alive(pid))


@pytest.mark.parametrize(
    ("answers", "status"), [([200], 0), ([503, 200], 0), ([410], 0), ([403], 1)]
)
def test_the_local_fleets_stand_in_for_curl_does_as_well(
    fleet: Fleet, machine: Machine, answers: list[int], status: int
) -> None:
    machine.put("curl", f'exec "{sys.executable}" "{curl_stand_in.__file__}" "$@"')
    fleet.answers = [(answer, {}) for answer in answers]
    assert machine.run(fleet)[0] == status
    assert len(fleet.requests) == len(answers)
    assert fleet.requests[0]["headers"]["Authorization"] == f"Bearer {TICKET}"
    assert (machine.home / "environ").exists() == (answers[-1] == 200)
