"""The sans-IO half over values, the transport over a real socket."""

from __future__ import annotations

import hmac
import json
import socket
from typing import Any

import pytest

from fleet_runtime.github import message as github
from fleet_runtime.github.credentials import CredentialsError, PersonalAccessToken, Secret
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Response
from fleet_runtime.github.signature import is_signed
from fleet_runtime.github.transport import Transport

from ..conftest import TOKEN, GitHub, Received, Stub


def response(status: int, document: object = None, **headers: str) -> Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=body)


@pytest.mark.parametrize(
    ("answer", "retry_after"),
    [
        (response(500), 5),
        (response(502, b"<html>"), 5),
        (response(503, {"message": "x"}, retry_after="7"), 7),
        (response(408), 5),
        (response(200, b"not json"), 5),
        (response(200, []), 5),
    ],
)
def test_what_may_pass_is_unavailable(answer: Response, retry_after: int) -> None:
    with pytest.raises(GitHubUnavailable) as caught:
        github.read_job(answer)
    assert caught.value.retry_after == retry_after
    assert caught.value.status == answer.status


@pytest.mark.parametrize(
    "answer",
    [
        response(401, {"message": "Bad credentials"}),
        response(403, {"message": "Resource not accessible"}, x_ratelimit_remaining="4999"),
        response(404, {"message": "Not Found"}),
        response(409, {"message": "Already exists"}),
        response(422, {"message": "Validation Failed"}),
        response(301, b""),
    ],
)
def test_what_will_not_pass_is_refused(answer: Response) -> None:
    with pytest.raises(GitHubRefused, match=str(answer.status)):
        github.read_registration(answer)


def test_errors_carry_githubs_message_cut_short() -> None:
    with pytest.raises(GitHubRefused) as caught:
        github.read_job(response(404, {"message": "x" * 1000}))
    assert str(caught.value) == "GitHub answered 404: " + "x" * 200


def test_a_registration_without_a_runner_is_no_registration() -> None:
    for document in ({}, {"runner": {"id": "7"}, "encoded_jit_config": "x"}, {"runner": {"id": 7}}):
        with pytest.raises(GitHubUnavailable):
            github.read_registration(response(201, document))


def test_a_registration_does_not_show_its_configuration() -> None:
    registration = github.read_registration(
        response(201, {"runner": {"id": 7}, "encoded_jit_config": "secret"})
    )
    assert (registration.github_runner_id, registration.encoded_jit_config) == (7, "secret")
    assert "secret" not in repr(registration)


def test_a_runner_is_found_by_its_exact_name() -> None:
    listed = {"runners": [{"id": 1, "name": "fleet-1-10"}, {"id": 2, "name": "fleet-1-1"}]}
    assert github.read_runner_id(response(200, listed), name="fleet-1-1") == 2
    assert github.read_runner_id(response(200, listed), name="fleet-1") is None
    assert github.read_runner_id(response(200, {}), name="fleet-1") is None


@pytest.mark.parametrize(("status", "busy"), [(204, False), (404, False), (422, True)])
def test_deletion_tells_whether_a_job_holds_the_runner(status: int, busy: bool) -> None:
    assert github.read_deletion(response(status, b"")) is busy


def test_registration_requests_have_the_documented_body() -> None:
    request = github.generate_jitconfig(
        scope="/repos/o/r", name="n", labels=["self-hosted", "a b"], runner_group_id=1
    )
    assert (request.method, request.path) == (
        "POST",
        "/repos/o/r/actions/runners/generate-jitconfig",
    )
    assert json.loads(request.body or b"") == {
        "name": "n",
        "runner_group_id": 1,
        "labels": ["self-hosted", "a b"],
        "work_folder": "_work",
    }


def test_a_request_names_the_api_that_its_path_is_of() -> None:
    versions = {
        "/orgs/o/actions/runners/downloads": github.list_runner_downloads(scope="/orgs/o"),
        "/orgs/o/actions/runners/deprecations/2.338.0": github.get_runner_deprecation(
            scope="/orgs/o", version="2.338.0"
        ),
    }
    assert [request.path for request in versions.values()] == list(versions)
    assert [
        github.headers(request, token="t")["x-github-api-version"] for request in versions.values()
    ] == ["2022-11-28", "2026-03-10"]


# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries: its own example
def test_githubs_own_signature_example() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    secret = "It's a Secret to Everybody"
    assert is_signed(b"Hello, World!", signature=signature, secret=secret)
    assert not is_signed(b"Hello, World", signature=signature, secret=secret)
    assert not is_signed(b"Hello, World!", signature=signature.upper(), secret=secret)
    unkeyed = hmac.new(b"", b"x", "sha256").hexdigest()
    assert not is_signed(b"x", signature=f"sha256={unkeyed}", secret="")


def test_the_transport_speaks_to_a_server_behind_a_path(github_stub: GitHub) -> None:
    github_stub.jobs[7] = {"id": 7, "status": "queued", "runner_name": None}
    transport = Transport(api_url=github_stub.stub.url + "/")
    request = github.get_job(repository="octo-org/example", job_id=7)
    job = github.read_job(transport.send(request, token=TOKEN))
    assert (job.status, job.runner_name) == ("queued", "")
    (received,) = github_stub.stub.received
    assert received.path == "/repos/octo-org/example/actions/jobs/7"
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    assert received.headers["x-github-api-version"] == "2022-11-28"
    assert received.headers["user-agent"] == "cdk-runner-fleet"


def test_an_enterprise_servers_path_comes_first() -> None:
    def answer(_: Received) -> tuple[int, dict[str, str], bytes]:
        return 200, {"X-Some": "Header"}, b"{}"

    stub = Stub(answer)
    try:
        transport = Transport(api_url=f"{stub.url}/api/v3/")
        answered = transport.send(github.get_job(repository="o/r", job_id=1), token=TOKEN)
    finally:
        stub.stop()
    assert stub.received[0].path == "/api/v3/repos/o/r/actions/jobs/1"
    assert answered.headers["x-some"] == "Header"


@pytest.fixture
def github_stub(github: GitHub) -> GitHub:
    return github


def test_no_answer_is_unavailable(github_stub: GitHub) -> None:
    request = github.get_job(repository="octo-org/example", job_id=7)
    github_stub.faults["job"] = [(0, {}, b"")]
    with pytest.raises(GitHubUnavailable, match="cannot be reached"):
        Transport(api_url=github_stub.stub.url).send(request, token=TOKEN)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(GitHubUnavailable, match=r"cannot be reached: TimeoutError"):
            Transport(api_url=url, timeout=0.05).send(request, token=TOKEN)


@pytest.mark.parametrize("url", ["", "ftp://x", "api.github.com", "https://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="use an http or https URL"):
        Transport(api_url=url)


@pytest.mark.parametrize("secret", ["", " \n", "two\nlines", "tökén"])
def test_a_secret_without_a_token_is_an_error_that_does_not_show_it(secret: str) -> None:
    class SecretsManager:
        def get_secret_value(self, **_: object) -> dict[str, Any]:
            return {"SecretString": secret}

    with pytest.raises(CredentialsError) as caught:
        PersonalAccessToken(Secret(secrets_manager=SecretsManager(), secret_arn="arn")).token()
    assert "two" not in str(caught.value)
    assert "tök" not in str(caught.value)
