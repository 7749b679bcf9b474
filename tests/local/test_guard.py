"""The servers of a local fleet serve its owner: no web page, and no other user of the machine."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from cdk_runner_fleet.local import guard
from cdk_runner_fleet.local.emulator.runtime_api import RuntimeApi
from cdk_runner_fleet.local.fleet import LocalFleet

from .session_helpers import _command_lines

WORKFLOW = "on: push\njobs: {a: {runs-on: [self-hosted], steps: [{run: 'id > proof.txt'}]}}"


def ask(
    url: str, method: str = "GET", body: object = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    text = None if body is None else json.dumps(body)
    connection.request(method, at.path or "/", text, named)
    answer = connection.getresponse()
    told = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, told, answer.read().decode()


def doors(fleet: LocalFleet) -> dict[str, tuple[str, str]]:
    """One request to each server that anybody could send, by what it is for."""
    assert fleet.twin
    return {
        "webhook": ("POST", fleet.webhook_url),
        "emulated AWS": ("POST", fleet.endpoint_url),
        "emulator's own": ("GET", f"{fleet.endpoint_url}/_fleet/stats"),
        "GitHub": ("GET", f"{fleet.github_url}/repos/{fleet.twin.repository}/actions/runners"),
        "a task's credentials": ("GET", f"{fleet.endpoint_url}/_task/credentials/x"),
        "twin's own": ("POST", f"{fleet.github_url}/_twin/workflows"),
    }


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Host": "evil.example"},
    {"Host": "evil.example:{port}"},
    {"Host": "127.0.0.1"},
    {"Host": "127.0.0.1:1"},
    {"Host": "127.0.0.1.evil.example:{port}"},
    {"Host": ""},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_no_server_answers_a_web_page(fleet: LocalFleet, headers: dict[str, str]) -> None:
    assert fleet.twin
    runs = set(fleet.twin.board.runs)
    for what, (method, url) in doors(fleet).items():
        given = {name: value.format(port=urlsplit(url).port) for name, value in headers.items()}
        # with all that the owner has: who asks does not count
        given["Authorization"] = f"Bearer {fleet.control_token}"
        status, told, _ = ask(url, method, {"yaml": WORKFLOW}, **given)
        assert status == 403, what
        assert not [name for name in told if name.startswith("access-control-")], what
    assert set(fleet.twin.board.runs) == runs


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PUT", "PATCH"])
def test_no_answer_lets_a_page_read_it(fleet: LocalFleet, method: str) -> None:
    for what, (_, url) in doors(fleet).items():
        preflight = {"Access_Control_Request_Method": "POST"}
        for headers in (preflight, {**preflight, "Origin": "https://evil.example"}):
            status, told, _ = ask(url, method, **headers)
            assert status >= 400, what
            assert not [name for name in told if name.startswith("access-control-")], what


def test_the_owners_programs_may_name_this_machine_either_way(fleet: LocalFleet) -> None:
    port = urlsplit(fleet.endpoint_url).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LocalHost:{port}"):
        assert ask(fleet.webhook_url, "POST", {}, Host=host)[0] == 401  # it is not signed


@pytest.mark.parametrize(
    "bears", ["", "Bearer ", "Bearer x", "Basic {token}", "{token}", "Bearer \xe9"]
)
def test_control_routes_ask_for_their_token(fleet: LocalFleet, bears: str) -> None:
    routes = {
        "stats": ("GET", f"{fleet.endpoint_url}/_fleet/stats"),
        "faults": ("POST", f"{fleet.endpoint_url}/_fleet/faults"),
        "workflows": ("POST", f"{fleet.github_url}/_twin/workflows"),
        "deliveries": ("GET", f"{fleet.github_url}/_twin/deliveries"),
        "runner": ("POST", f"{fleet.github_url}/_twin/runners"),
    }
    headers = {"Authorization": bears.format(token=fleet.control_token)} if bears else {}
    assert fleet.twin
    runs = set(fleet.twin.board.runs)
    for what, (method, url) in routes.items():
        assert ask(url, method, {"yaml": WORKFLOW}, **headers)[0] == 401, what
    assert fleet.control("GET", "/_fleet/faults") == {"faults": []}
    assert set(fleet.twin.board.runs) == runs
    assert isinstance(fleet.control("GET", "/_twin/deliveries"), list)


@pytest.mark.parametrize(
    "path",
    [
        "/_ministack/health", "/_localstack/health", "/health", "/_ministack/reset",
        "/_ministack/config", "/_ministack/lambda-code/x", "/_ministack/sqs/messages",
        "/_ministack/eks-auth/x", "/_ministack/rds/iam-auth", "/v2/", "/v2/_catalog",
        "/oauth2/authorize", "/iceberg/v1/config", "/_aws/lambda-url/x/", "/a-bucket/a-key",
    ],
)  # fmt: skip
def test_emulated_aws_has_no_door_without_a_signature(fleet: LocalFleet, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert ask(f"{fleet.endpoint_url}{path}", method, {})[0] in (400, 403, 404, 405)


def client(fleet: LocalFleet, service: str, *, key: str, secret: str, token: str = "") -> Any:
    make: Any = boto3.client
    return make(
        service,
        region_name=fleet.region,
        endpoint_url=fleet.endpoint_url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token or None,
    )


CALLS = {
    "dynamodb": lambda aws: aws.list_tables(),
    "secretsmanager": lambda aws: aws.list_secrets(),
    "s3": lambda aws: aws.list_buckets(),
    "sts": lambda aws: aws.get_caller_identity(),
    "iam": lambda aws: aws.list_roles(),
    "lambda": lambda aws: aws.list_functions(),
    "stepfunctions": lambda aws: aws.list_state_machines(),
    "sqs": lambda aws: aws.list_queues(),
}


@pytest.mark.parametrize("service", CALLS)
def test_calls_to_aws_need_the_owners_secret(fleet: LocalFleet, service: str) -> None:
    call = CALLS[service]
    call(client(fleet, service, key=fleet.access_key_id, secret=fleet.secret_access_key))
    for key, secret in (
        (fleet.access_key_id, "local"),
        (fleet.access_key_id, "test"),
        (fleet.access_key_id, fleet.secret_access_key[:-1]),
        ("999999999999", "local"),
        ("test", "test"),
        ("AKIAIOSFODNN7EXAMPLE", fleet.secret_access_key),
    ):
        with pytest.raises(ClientError) as refused:
            call(client(fleet, service, key=key, secret=secret))
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403), key


def test_what_is_not_signed_is_nobody(fleet: LocalFleet) -> None:
    for target, body in (
        ("DynamoDB_20120810.ListTables", {}),
        ("secretsmanager.ListSecrets", {}),
        ("AWSStepFunctions.ListStateMachines", {}),
    ):
        for query in ("", f"?AWSAccessKeyId={fleet.access_key_id}&Signature=x&Expires=9999999999"):
            status, _, _ = ask(
                f"{fleet.endpoint_url}/{query}",
                "POST",
                body,
                X_Amz_Target=target,
                Content_Type="application/x-amz-json-1.0",
            )
            assert status in (400, 403), target


def test_each_fleet_has_secrets_of_its_own(fleet: LocalFleet, tmp_path: Path) -> None:
    other = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cdk_runner_fleet.local.emulator",
            "--tasks-dir",
            str(tmp_path / "t"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout
        ready = json.loads(other.stdout.readline())
    finally:
        other.terminate()
        other.wait(60)
    assert ready["secret_access_key"] != fleet.secret_access_key
    assert ready["control_token"] != fleet.control_token
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o700


def test_no_command_line_shows_a_secret(fleet: LocalFleet) -> None:
    assert fleet.twin
    lines = "\n".join(_command_lines())
    assert "cdk_runner_fleet.local.emulator" in lines
    for secret in (
        fleet.control_token,
        fleet.secret_access_key,
        fleet.webhook_secret,
        fleet.twin.token,
    ):
        assert secret not in lines


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose a socket is")
def test_a_socket_is_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as own:
            assert guard.is_of_this_user(own.getsockname(), port)
            assert not guard.is_of_this_user(own.getsockname(), port + 1)
            monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
            assert not guard.is_of_this_user(own.getsockname(), port)


@pytest.fixture(scope="module")
def desk() -> Iterator[int]:
    api = RuntimeApi()
    opened, port = api.open_desk()
    yield port
    api.run(opened.close())


@pytest.mark.parametrize("headers", FOREIGN[:-1], ids=str)
def test_a_functions_events_are_for_its_runtime(desk: int, headers: dict[str, str]) -> None:
    port = desk
    given = {name: value.format(port=port) for name, value in headers.items()}
    assert ask(f"http://127.0.0.1:{port}/2018-06-01/runtime/nothing", **given)[0] == 403


def test_a_functions_events_are_for_its_user(desk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    port = desk
    monkeypatch.setattr(guard, "is_of_this_user", lambda *_: False)
    with pytest.raises(ConnectionError):
        ask(f"http://127.0.0.1:{port}/2018-06-01/runtime/nothing")
    monkeypatch.undo()
    assert ask(f"http://127.0.0.1:{port}/2018-06-01/runtime/nothing")[0] == 404
