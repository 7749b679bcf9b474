"""The line to GitHub: its time, and whom it trusts, over real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdk_runner_fleet.local.twin import GitHubTwin
from fleet_runtime import environment as fleet_environment
from fleet_runtime.aws.client import client
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.jobs import get_job
from fleet_runtime.github.message import GitHubUnavailable
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.github.runners import find_runner
from fleet_runtime.github.transport import Transport
from fleet_runtime.runner.claims import GITHUB_SECONDS
from tests.waiting import PATIENCE_SECONDS

from ..aws_stand_in import Aws
from ..github_stand_in import TOKEN
from ..github_stand_in import GitHub as GitHubStub
from ..http_stub import Received, Stub
from .conftest import (
    claim,
    github_at,
    runners,
)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Stub]]:
    """Makes servers that take their time, by the transport's clock."""
    stubs: list[Stub] = []
    now = 0.0

    def make(seconds: float) -> Stub:
        def answer(_: Received) -> tuple[int, dict[str, str], bytes]:
            nonlocal now
            now += seconds
            return 200, {}, b"{}"

        stubs.append(Stub(answer))
        return stubs[-1]

    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("fleet_runtime.github.transport.time", clock)
    yield make
    for stub in stubs:
        stub.stop()


def test_all_requests_of_a_block_share_its_time(slow: Callable[[float], Stub]) -> None:
    stub = slow(0.3)
    transport = Transport(api_url=stub.url)
    with transport.within(1.0):
        transport.send(runners(), token="t")
        with transport.within(60.0):  # no longer than the block around it
            transport.send(runners(), token="t")
            with pytest.raises(GitHubUnavailable, match="no time is left to ask GitHub"):
                transport.send(runners(), token="t")
        with pytest.raises(GitHubUnavailable, match="no time is left to ask GitHub"):
            transport.send(runners(), token="t")
    assert len(stub.received) == 2
    transport.send(runners(), token="t")


def test_a_registration_has_the_time_that_github_takes_for_it(
    twin: GitHubTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the question about the job took before it: 10 to 11 seconds were seen."""
    given: list[float] = []
    connection = Transport._connection

    def noted(transport: Transport, timeout: float) -> Any:
        given.append(timeout)
        return connection(transport, timeout)

    monkeypatch.setattr(Transport, "_connection", noted)
    github = github_at(twin.url)
    with github.within(GITHUB_SECONDS):
        github.ask(find_runner(scope=github.scope.path, name="r"))
        Registrations(github).register(name="r", labels=["x"], registered_for="")
    of_the_first, of_the_registration = given
    assert 11 < of_the_registration <= GITHUB_SECONDS
    assert GITHUB_SECONDS - of_the_first > 11


def test_a_request_is_cut_off_at_the_end_of_its_block() -> None:
    over = threading.Event()

    def answer(_: Received) -> tuple[int, dict[str, str], bytes]:
        over.wait(PATIENCE_SECONDS / 2)
        return 200, {}, b"{}"

    stub = Stub(answer)
    transport = Transport(api_url=stub.url, timeout=PATIENCE_SECONDS)
    with transport.within(0.6), pytest.raises(GitHubUnavailable, match="TimeoutError"):
        transport.send(runners(), token="t")
    over.set()
    stub.stop()


def test_a_body_that_drips_is_cut_off() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
            try:
                for _ in range(100):
                    connection.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    transport = Transport(api_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3)
    with pytest.raises(GitHubUnavailable, match="TimeoutError"):
        transport.send(runners(), token="t")
    listener.close()
    thread.join()


def test_a_claim_ends_in_time_however_slow_github_is(
    aws: Aws, environment: pytest.MonkeyPatch, context: Any, slow: Callable[[float], Stub]
) -> None:
    stub = slow(0.7)
    environment.setattr("fleet_runtime.runner.claims.GITHUB_SECONDS", 1.1)
    environment.setenv("GITHUB_API_URL", stub.url)
    aws.park("runner")
    assert claim(context)[0] == 503
    assert len(stub.received) == 1, "a second one would end too late"
    row = aws.row()
    assert row is not None
    assert "claimed_at" not in row


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """A certificate authority of one's own, and a server's TLS that it vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ghes.example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    file.write_text(private + text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return text, context


@pytest.fixture
def ghes(authority: tuple[str, ssl.SSLContext]) -> Iterator[Stub]:
    """A GitHub Enterprise Server behind its own certificate authority."""
    stub = Stub(lambda _: (200, {}, b'{"status": "queued", "runners": []}'), tls=authority[1])
    yield stub
    stub.stop()


def test_a_private_authority_is_trusted_if_it_is_given(
    aws: Aws,
    ghes: Stub,
    authority: tuple[str, ssl.SSLContext],
    environment: pytest.MonkeyPatch,
) -> None:
    client("ssm").put_parameter(Name="/github/ca", Type="String", Value=authority[0])
    environment.setenv("GITHUB_API_URL", f"{ghes.url}/api/v3")
    environment.setenv("GITHUB_CA_PARAM", "/github/ca")
    github = GitHub.of(fleet_environment.read(Connection))
    assert github.ask(runners()).status == 200
    assert ghes.received[0].path.startswith("/api/v3/repos/")


def test_a_private_authority_that_is_not_given_is_an_error_with_the_remedy(ghes: Stub) -> None:
    with pytest.raises(GitHubUnavailable, match="needs it as github_ca"):
        Transport(api_url=ghes.url).send(runners(), token="t")
    assert ghes.received == []


def test_an_authority_that_is_given_is_the_only_one(
    ghes: Stub, authority: tuple[str, ssl.SSLContext]
) -> None:
    other = _tls_other()
    with pytest.raises(GitHubUnavailable, match="needs it as github_ca"):
        Transport(api_url=ghes.url, ca=other).send(runners(), token="t")


def _tls_other() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(2)
    certificate = (
        builder.public_key(key.public_key())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_an_authority_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="github_ca holds no PEM certificate"):
        Transport(api_url="https://ghes.example.com/api/v3", ca=text)


def test_the_transport_speaks_to_a_server_behind_a_path(github_stub: GitHubStub) -> None:
    github_stub.jobs[7] = {"id": 7, "status": "queued", "runner_name": None}
    transport = Transport(api_url=github_stub.stub.url + "/")
    request = get_job(repository="octo-org/example", job_id=7)
    job = request.read(transport.send(request, token=TOKEN))
    assert (job.status, job.runner_name) == ("queued", None)
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
        answered = transport.send(get_job(repository="o/r", job_id=1), token=TOKEN)
    finally:
        stub.stop()
    assert stub.received[0].path == "/api/v3/repos/o/r/actions/jobs/1"
    assert answered.headers["x-some"] == "Header"


@pytest.fixture
def github_stub(github: GitHubStub) -> GitHubStub:
    return github


def test_no_answer_is_unavailable(github_stub: GitHubStub) -> None:
    request = get_job(repository="octo-org/example", job_id=7)
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
