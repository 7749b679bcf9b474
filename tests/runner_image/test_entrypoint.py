"""The entrypoint against a fleet on loopback: every answer of the claim, and the handover."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from cdk_runner_fleet.local.emulator import curl_stand_in
from tests.waiting import PATIENCE_SECONDS, until

from .conftest import (
    ACCESS_KEY,
    AUTHORIZATION,
    FORBIDDEN,
    HANG_UP,
    SECRET_KEY,
    SESSION_TOKEN,
    SILENCE,
    Fleet,
    Machine,
    alive,
    left_of,
)

NAMES = (
    "FLEET_URL", "FLEET_REGION", "RUNNER_ID=", "RUNNER_LABELS", "RUNNER_CLASS_CAPABILITIES",
    "AWS_CONTAINER", "/credentials", "JOBS_HOLD_TASK_ROLE",
)  # fmt: skip
SECRETS = (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, AUTHORIZATION, "ev-tok_1.x")


def claimed(fleet: Fleet) -> dict[str, Any]:
    """The body of the only claim."""
    (claim,) = fleet.requests
    body: dict[str, Any] = json.loads(claim["body"])
    return body


def test_it_claims_and_becomes_the_runner(fleet: Fleet, machine: Machine) -> None:
    status, complaints = machine.run(fleet)
    assert (status, complaints) == (0, "")
    (claim,) = fleet.requests
    assert claim["path"] == "/runners/fleet-7-1/claim"
    assert claim["headers"]["Authorization"] == fleet.signature_of(claim)
    assert claim["headers"]["X-Amz-Security-Token"] == SESSION_TOKEN
    handed = machine.handed_over()
    assert handed["ACTIONS_RUNNER_INPUT_JITCONFIG"] == "eyJqaXQiOjF9/+=="
    assert handed["RUNNER_MANUALLY_TRAP_SIG"] == "1"
    assert handed["ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"] == "1"
    assert Path(handed["ACTIONS_RUNNER_HOOK_JOB_STARTED"]).is_file()
    assert Path(handed["ACTIONS_RUNNER_HOOK_JOB_COMPLETED"]).is_file()


UBUNTU = 'ID=ubuntu\nVERSION_ID="{}"\n'


@pytest.mark.parametrize(
    ("release", "given", "told"),
    [
        (UBUNTU.format("22.04"), {}, "ubuntu22"),
        (UBUNTU.format("24.04"), {}, "ubuntu24"),
        (UBUNTU.format("24.04"), {"ImageOS": "ubuntu22"}, "ubuntu22"),
        (UBUNTU.format("26.04"), {}, None),  # GitHub has no image of that name
        ('ID=debian\nVERSION_ID="12"\n', {}, None),
        ("ID=arch\n", {}, None),
        (None, {}, None),
    ],
    ids=["22.04", "24.04", "the base's word", "26.04", "Debian", "no version", "no file"],
)
def test_image_os_is_told_where_it_is_true(
    fleet: Fleet, machine: Machine, release: str | None, given: dict[str, str], told: str | None
) -> None:
    image = machine.copy_of_the_image()
    file = image / "os-release"
    if release is not None:
        file.write_text(release, encoding="utf-8")
    script = image / "entrypoint.sh"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("/etc/os-release", str(file)), encoding="utf-8")
    assert machine.run(fleet, image=image, **given) == (0, "")
    handed = machine.handed_over()
    assert handed.get("ImageOS") == told
    assert {"ID", "VERSION_ID"}.isdisjoint(handed)


def test_the_claim_says_what_the_runner_is(fleet: Fleet, machine: Machine) -> None:
    machine.run(fleet, RUNNER_CAPABILITIES="shell,python", RUNNER_VERSION="2.338.0")
    assert claimed(fleet) == {
        "capabilities": ["shell", "python"],
        "runner_version": "2.338.0",
        "heartbeat_seconds": 120,
    }
    assert fleet.requests[0]["headers"]["Content-Type"] == "application/json"
    assert machine.handed_over()["RUNNER_VERSION"] == "2.338.0"  # for the hooks


@pytest.mark.parametrize("version", ["", '2.3"', "$(id)", "latest"])
def test_a_version_that_is_none_is_not_sent(fleet: Fleet, machine: Machine, version: str) -> None:
    machine.run(fleet, RUNNER_VERSION=version)
    assert "runner_version" not in claimed(fleet)


@pytest.mark.parametrize(
    ("image", "of_class", "declared"),
    [
        ("python", "gpu", ["python"]),  # the image's own word is the last
        ("", "gpu,shell", ["gpu", "shell"]),
        ("", "", ["found", "here"]),
        ("Python, NODE\tc++\n", "", ["python", "node", "c++"]),
        (" , ", "gpu", ["shell"]),
        ("*", "", ["shell"]),
    ],
)
def test_capabilities_are_the_images_the_classs_or_found(
    fleet: Fleet, machine: Machine, image: str, of_class: str, declared: list[str]
) -> None:
    scripts = machine.copy_of_the_image()
    machine.script(scripts / "capabilities.sh", "echo found,here")
    machine.run(fleet, image=scripts, RUNNER_CAPABILITIES=image, RUNNER_CLASS_CAPABILITIES=of_class)
    assert claimed(fleet)["capabilities"] == declared


@pytest.mark.parametrize("finding", ["exit 3", "true"])
def test_an_image_in_which_nothing_is_found_has_a_shell(
    fleet: Fleet, machine: Machine, finding: str
) -> None:
    scripts = machine.copy_of_the_image()
    machine.script(scripts / "capabilities.sh", finding)
    assert machine.run(fleet, image=scripts)[0] == 0
    assert claimed(fleet)["capabilities"] == ["shell"]


def test_who_looks_for_capabilities_has_no_way_to_the_tasks_role(
    fleet: Fleet, machine: Machine
) -> None:
    scripts = machine.copy_of_the_image()
    machine.script(scripts / "capabilities.sh", "compgen -e AWS_CONTAINER_ || echo none")
    machine.run(fleet, image=scripts)
    assert claimed(fleet)["capabilities"] == ["none"]


def test_capabilities_that_are_no_words_are_left_out_with_the_reason(
    fleet: Fleet, machine: Machine
) -> None:
    status, complaints = machine.run(
        fleet, RUNNER_CAPABILITIES=f'node,"],"x":["y,$(touch "$HOME/pwned"),-f,{"a" * 64},gpu'
    )
    assert status == 0
    assert claimed(fleet)["capabilities"] == ["node", "gpu"]
    assert "fleet: '-f' is left out of the capabilities" in complaints
    assert not (machine.home / "pwned").exists()


def test_the_heartbeat_is_started_for_the_process_that_becomes_the_runner(
    fleet: Fleet, machine: Machine
) -> None:
    scripts = machine.copy_of_the_image()
    machine.script(
        scripts / "heartbeat.sh", 'tr "\\0" "\\n" < /proc/self/environ > seen; echo "$@" > started'
    )
    machine.script(machine.home / "run.sh", "while [[ ! -s started ]]; do sleep 0.01; done")
    process = machine.start(fleet, image=scripts)
    assert process.wait(timeout=PATIENCE_SECONDS) == 0
    beat = f"{claimed(fleet)['heartbeat_seconds']} {process.pid}\n"
    assert (machine.home / "started").read_text(encoding="utf-8") == beat
    seen = (machine.home / "seen").read_text(encoding="utf-8")
    for secret in (*SECRETS, *NAMES, "eyJqaXQiOjF9"):
        assert secret not in seen


@pytest.mark.parametrize("answer", [410, 403])
def test_without_a_claim_there_is_no_heartbeat(fleet: Fleet, machine: Machine, answer: int) -> None:
    scripts = machine.copy_of_the_image()
    machine.script(scripts / "heartbeat.sh", 'touch "$HOME/started"')
    fleet.answers = [(answer, {})]
    process = machine.start(fleet, image=scripts)
    process.wait(timeout=PATIENCE_SECONDS)
    until(lambda: not left_of(process))
    assert not (machine.home / "started").exists()


def test_the_job_sees_no_credential_of_the_fleet(fleet: Fleet, machine: Machine) -> None:
    machine.script(machine.home / "run.sh", "cat /proc/$$/environ > environ; env > visible")
    machine.run(fleet)
    for name in ("environ", "visible"):
        seen = (machine.home / name).read_text(encoding="utf-8")
        assert "ACTIONS_RUNNER_INPUT_JITCONFIG" in seen
        for secret in (*SECRETS, *NAMES):
            assert secret not in seen


EXPORTED = ("access_key", "secret_key", "session_token", "signature", "response", "events_token")


def test_a_base_that_exports_the_scripts_own_names_hands_no_job_what_they_held(
    fleet: Fleet, machine: Machine
) -> None:
    machine.run(fleet, **dict.fromkeys(EXPORTED, "of the base"))
    assert set(EXPORTED).isdisjoint(machine.handed_over())


def test_a_job_of_a_fleet_that_was_granted_something_holds_the_tasks_role(
    fleet: Fleet, machine: Machine
) -> None:
    machine.run(fleet, JOBS_HOLD_TASK_ROLE="on")
    handed = machine.handed_over()
    assert handed["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == f"{fleet.url}/credentials"
    assert handed["AWS_CONTAINER_AUTHORIZATION_TOKEN"] == AUTHORIZATION
    assert SECRET_KEY not in str(handed)


def test_the_address_of_the_metadata_stays(fleet: Fleet, machine: Machine) -> None:
    machine.run(fleet, ECS_CONTAINER_METADATA_URI_V4="http://169.254.170.2/v4/x")
    assert machine.handed_over()["ECS_CONTAINER_METADATA_URI_V4"]


def test_the_events_credentials_are_the_users_alone(fleet: Fleet, machine: Machine) -> None:
    machine.run(fleet)
    credentials = machine.home / ".fleet-events"
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert credentials.read_text(encoding="utf-8").splitlines() == [
        f'url = "{fleet.url}/runners/fleet-7-1/events"',
        'header = "Authorization: Bearer ev-tok_1.x"',
    ]


def test_no_credential_is_in_a_process_arguments(fleet: Fleet, machine: Machine) -> None:
    for tool in ("curl", "sha256sum", "date"):
        machine.put(tool, f'echo "$@" >> "$HOME/arguments"; PATH=${{PATH#*:}} exec {tool} "$@"')
    machine.run(fleet)
    arguments = (machine.home / "arguments").read_text(encoding="utf-8")
    assert "/runners/fleet-7-1/claim" in arguments
    for secret in (*SECRETS, "Signature=", f"{fleet.url}/credentials"):
        assert secret not in arguments


def test_an_image_that_traces_its_scripts_has_no_credential_in_its_log(
    fleet: Fleet, machine: Machine
) -> None:
    """Whoever may read the log could claim with them while the task boots."""
    status, log = machine.run(fleet, SHELLOPTS="xtrace")
    assert status == 0
    assert [secret for secret in (*SECRETS, "eyJqaXQiOjF9") if secret in log] == []
    # nor do the runner and its jobs get this script's own options by it
    assert b"SHELLOPTS" not in (machine.home / "environ").read_bytes()


@pytest.mark.parametrize("secret_key", ["short", SECRET_KEY, "+/" * 20, "x" * 60])
def test_the_signature_is_the_one_that_aws_computes(
    fleet: Fleet, machine: Machine, secret_key: str
) -> None:
    fleet.secret_key = secret_key
    machine.run(fleet, RUNNER_CAPABILITIES="c++,x_y.z-1", LC_ALL="C.UTF-8")
    (claim,) = fleet.requests
    assert claim["headers"]["Authorization"] == fleet.signature_of(claim)


def test_it_signs_for_a_path_below_a_stage(fleet: Fleet, machine: Machine) -> None:
    machine.run(fleet, FLEET_URL=f"{fleet.url}/a/stage")
    (claim,) = fleet.requests
    assert claim["path"] == "/a/stage/runners/fleet-7-1/claim"
    assert claim["headers"]["Authorization"] == fleet.signature_of(claim)


def test_the_credentials_are_asked_for_anew_with_each_claim(fleet: Fleet, machine: Machine) -> None:
    machine.put("sleep", "")
    fleet.answers = [(503, {}), (200, {})]
    assert machine.run(fleet)[0] == 0
    assert fleet.asked_for_credentials == ["/credentials", "/credentials"]
    for claim in fleet.requests:
        assert claim["headers"]["Authorization"] == fleet.signature_of(claim)


def test_it_claims_once_the_credentials_are_there(fleet: Fleet, machine: Machine) -> None:
    machine.put("sleep", "")
    fleet.refusals_of_credentials = 2
    assert machine.run(fleet)[0] == 0
    assert len(fleet.asked_for_credentials) == 3
    assert len(fleet.requests) == 1


def test_a_proxy_is_not_asked_for_credentials(fleet: Fleet, machine: Machine) -> None:
    status, _ = machine.run(fleet, http_proxy="http://127.0.0.1:1", no_proxy="", SECONDS="120")
    assert status == 1  # the claim goes by the proxy, which is not there
    assert fleet.asked_for_credentials == ["/credentials"]


@pytest.mark.parametrize(
    ("answer", "status", "why"), [(410, 0, "the job is gone"), (409, 1, "was claimed before")]
)
def test_a_proxy_does_not_answer_for_the_fleet(
    fleet: Fleet, machine: Machine, answer: int, status: int, why: str
) -> None:
    machine.put("sleep", "")
    fleet.answers = [(503, {}), (answer, {})]
    ended, complaints = machine.run(fleet, **machine.behind(fleet))
    assert fleet.tunnels == 2
    assert ended == status
    assert why in complaints


def test_the_address_on_fargate_comes_before_another(fleet: Fleet, machine: Machine) -> None:
    machine.put("curl", 'cat >> "$HOME/configuration"; exit 7')
    machine.run(fleet, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/v2/credentials/x", SECONDS="120")
    configuration = (machine.home / "configuration").read_text(encoding="utf-8")
    assert configuration.startswith('url = "http://169.254.170.2/v2/credentials/x"\n')


def test_a_job_that_is_gone_ends_it_quietly(fleet: Fleet, machine: Machine) -> None:
    fleet.answers = [(410, {})]
    status, complaints = machine.run(fleet)
    assert status == 0
    assert complaints == "fleet: nothing to do: the job is gone\n"
    assert not (machine.home / "environ").exists()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (403, "(403): this is not the task that fleet-7-1 runs in"),
        (404, "(404): the fleet knows no runner fleet-7-1"),
        (409, "(409): fleet-7-1 was claimed before"),
        (302, "unexpected status 302; is FLEET_URL the fleet's RunnerApiUrl?"),
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


@pytest.mark.parametrize("trouble", [503, 500, 429, HANG_UP, FORBIDDEN])
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


@pytest.mark.parametrize(
    "words",
    [
        "The security token included in the request is invalid.",
        "Signature expired: 20260615T192501Z is now earlier than 20260615T193001Z",
        "User: arn:aws:sts::123456789012:assumed-role/task-role/0123 is not authorized to perform:"
        " execute-api:Invoke on resource: arn:aws:execute-api:eu-west-3:123456789012:a/task",
    ],
)
def test_it_asks_again_whatever_words_api_gateway_refuses_with(
    fleet: Fleet, machine: Machine, words: str
) -> None:
    """REST APIs have these; what an HTTP API says is nowhere documented."""
    machine.put("sleep", "")
    fleet.forbidden = words
    fleet.answers = [(FORBIDDEN, {}), (200, {})]
    assert machine.run(fleet)[0] == 0


def test_it_waits_as_long_as_it_is_asked_to(fleet: Fleet, machine: Machine) -> None:
    machine.put("sleep", 'echo "$1" >> "$HOME/pauses"')
    fleet.answers = [(503, {"Retry-After": "08"}), (200, {})]
    assert machine.run(fleet)[0] == 0
    assert float((machine.home / "pauses").read_text(encoding="utf-8")) > 8


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (503, "last: status 503; see the logs of the fleet's runner API"),
        (HANG_UP, "last: no answer at all; does this subnet have a way to FLEET_URL?"),
        (
            FORBIDDEN,
            "last: 403 by API Gateway; may the task's role invoke it, is this clock right, "
            "and has the VPC an endpoint for execute-api, whose private DNS hides public APIs?",
        ),
    ],
)
def test_it_gives_up_in_the_end(fleet: Fleet, machine: Machine, trouble: int, why: str) -> None:
    fleet.answers = [(trouble, {})]
    status, complaints = machine.run(fleet, SECONDS="120")  # bash counts on from there
    assert status == 1
    assert f"no claim within 120 s; {why}" in complaints


def test_it_gives_up_without_credentials(fleet: Fleet, machine: Machine) -> None:
    status, complaints = machine.run(
        fleet, AWS_CONTAINER_AUTHORIZATION_TOKEN="another", SECONDS="120"
    )
    assert status == 1
    assert "no claim within 120 s; last: no credentials of the task's role" in complaints
    assert fleet.requests == []


def test_an_answer_without_the_configuration_is_an_error(fleet: Fleet, machine: Machine) -> None:
    lent = json.dumps(fleet.lent())
    machine.put("curl", f"cat >/dev/null; printf 'HTTP/1.1 200 OK\\r\\n\\r\\n{lent}'")
    status, complaints = machine.run(fleet)
    assert status == 1
    assert "has no encoded_jit_config" in complaints


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("FLEET_REGION", "", "FLEET_REGION is not set"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "", "the task definition names no task role"),
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
    until((machine.home / "running").exists)
    process.send_signal(signal.SIGTERM)  # to the entrypoint's own process ID
    assert process.wait(timeout=PATIENCE_SECONDS) == 0
    assert (machine.home / "stopped").exists()


def test_sigterm_ends_the_wait_for_a_claim(fleet: Fleet, machine: Machine) -> None:
    machine.put("sleep", 'echo $$ > "$HOME/pid"; touch "$HOME/pausing"; exec /bin/sleep infinity')
    fleet.answers = [(503, {})]
    process = machine.start(fleet)
    until((machine.home / "pausing").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE_SECONDS) == 143
    pid = int((machine.home / "pid").read_text(encoding="utf-8"))
    until(lambda: not alive(pid))


def test_sigterm_ends_a_claim_that_is_not_answered(fleet: Fleet, machine: Machine) -> None:
    fleet.answers = [(SILENCE, {})]
    process = machine.start(fleet)
    until(lambda: bool(fleet.requests))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143  # and not after the half minute that a claim may take


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
    claim = fleet.requests[0]
    assert claim["headers"]["Authorization"] == fleet.signature_of(claim)
    assert (machine.home / "environ").exists() == (answers[-1] == 200)
