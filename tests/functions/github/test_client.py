"""The fleet at GitHub: credentials, limits, scopes and the line itself, over real sockets.

GitHub is the twin, which checks signatures, permissions and expiry; where an answer has to be odd,
a stub. Secrets Manager, SSM and KMS are moto's.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import requires
from ipaddress import IPv4Address
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

import deregister_runner
import runner_api
from cdk_runner_fleet.local.twin import ApiFault, GitHubTwin, TwinApp
from cdk_runner_fleet.local.twin.workflows import read_workflow
from fleet_runtime import environment as fleet_environment
from fleet_runtime.aws.client import client
from fleet_runtime.github import message as github
from fleet_runtime.github.app_keys import AppToken, KmsKey, PemKey
from fleet_runtime.github.apps import Installation
from fleet_runtime.github.caller import Caller
from fleet_runtime.github.client import GitHubAccess
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.credentials import CredentialsError, PersonalAccessToken, Secret
from fleet_runtime.github.message import GitHubRefused, GitHubUnavailable, Request, Response
from fleet_runtime.github.rate_limits import Allowance, LimitReachedError, read_limit
from fleet_runtime.github.registrations import GitHubRunners
from fleet_runtime.github.transport import Transport
from fleet_runtime.job.scope import Scope
from fleet_runtime.observability import logger

from ..conftest import RUNNER, TOKEN, Aws, Received, Stub, forget

REPOSITORY = "octo-org/example"
WORKFLOW = "jobs: {a: {runs-on: [self-hosted], steps: [{run: 'true'}]}}"
NEEDED = {"administration": "write", "actions": "read"}


# --- keys -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey, shape: Any = serialization.PrivateFormat.TraditionalOpenSSL) -> str:
    """The key as GitHub hands it out: PKCS#1."""
    return key.private_bytes(
        serialization.Encoding.PEM, shape, serialization.NoEncryption()
    ).decode()


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


# --- the twin, and the functions that ask it ------------------------------------------------


class Line:
    """What went to GitHub: ``METHOD path`` without the query, and the tokens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[Request] = []
        self.tokens: list[str] = []
        send = Transport.send

        def recorded(transport: Transport, request: Request, *, token: str) -> Response:
            self.requests.append(request)
            self.tokens.append(token)
            return send(transport, request, token=token)

        monkeypatch.setattr(Transport, "send", recorded)

    @property
    def paths(self) -> list[str]:
        return [f"{one.method} {one.path.partition('?')[0]}" for one in self.requests]

    def clear(self) -> None:
        self.requests.clear()
        self.tokens.clear()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


def twin_of(key: rsa.RSAPrivateKey, *apps: str, **options: Any) -> GitHubTwin:
    return GitHubTwin(
        repository=REPOSITORY,
        token=TOKEN,
        webhook_secret="s",
        apps=[TwinApp(app_id=app, public_key=public_pem(key), permissions=NEEDED) for app in apps],
        **options,
    )


@pytest.fixture
def twin(private_key: rsa.RSAPrivateKey) -> Iterator[GitHubTwin]:
    with twin_of(private_key, "11", "22") as twin:
        yield twin


@pytest.fixture
def key_secret(aws: Aws, private_key: rsa.RSAPrivateKey) -> str:
    arn: str = client("secretsmanager").create_secret(Name="key", SecretString=pem(private_key))[
        "ARN"
    ]
    return arn


@pytest.fixture
def one_app(twin: GitHubTwin, key_secret: str, environment: pytest.MonkeyPatch) -> None:
    """The functions are settled to ask the twin as App 11."""
    be_apps(environment, twin, {"app_id": "11", "private_key_secret_arn": key_secret})


def be_apps(environment: pytest.MonkeyPatch, twin: GitHubTwin, *apps: dict[str, object]) -> None:
    environment.setenv("GITHUB_API_URL", twin.url)
    environment.setenv("GITHUB_TOKEN_SECRET_ARN", "")
    environment.setenv("GITHUB_APPS", json.dumps(apps))
    environment.setenv("GITHUB_PERMISSIONS", json.dumps(NEEDED))
    forget()


def queued_job(twin: GitHubTwin) -> int:
    run = twin.board.queue_run(
        read_workflow(WORKFLOW, file_name="ci.yml"),
        file_name="ci.yml",
        workspace=None,
        protected_environments=frozenset(),
    )
    return run.jobs[0].id


def claim(context: Any) -> tuple[int, dict[str, Any]]:
    answer = runner_api.handler(
        {
            "rawPath": f"/runners/{RUNNER}/claim",
            "headers": {"authorization": "Bearer the-ticket"},
        },
        context,
    )
    return answer["statusCode"], json.loads(answer["body"])


INSTALLED = f"GET /repos/{REPOSITORY}/installation"
NEW_TOKEN = "POST /app/installations/61000001/access_tokens"
JIT = f"POST /repos/{REPOSITORY}/actions/runners/generate-jitconfig"


# --- GitHub Apps ----------------------------------------------------------------------------


@pytest.mark.usefixtures("one_app")
def test_a_job_costs_two_requests_once_the_process_has_its_token(
    aws: Aws, twin: GitHubTwin, line: Line, context: Any
) -> None:
    job = f"GET /repos/{REPOSITORY}/actions/jobs/{{}}"
    first, second = queued_job(twin), queued_job(twin)
    aws.park("runner", job_id=first)
    assert claim(context)[0] == 200
    assert line.paths == [INSTALLED, NEW_TOKEN, job.format(first), JIT]
    line.clear()
    twin.board.remove(1)
    aws.park("runner", job_id=second)
    assert claim(context)[0] == 200
    assert line.paths == [job.format(second), JIT]


def test_with_the_installations_id_even_a_first_job_costs_three(
    *,
    aws: Aws,
    twin: GitHubTwin,
    key_secret: str,
    environment: pytest.MonkeyPatch,
    line: Line,
    context: Any,
) -> None:
    app = {"app_id": "11", "private_key_secret_arn": key_secret, "installation_id": 61000001}
    be_apps(environment, twin, app)
    aws.park("runner", job_id=queued_job(twin))
    assert claim(context)[0] == 200
    assert len(line.paths) == 3
    assert line.paths[0] == NEW_TOKEN


@pytest.mark.usefixtures("one_app", "aws")
def test_tokens_are_good_for_the_repository_and_the_functions_needs_alone(line: Line) -> None:
    GitHubAccess.of(fleet_environment.read(Connection)).send(runners(), repository=None)
    body = json.loads(line.requests[1].body or b"")
    assert body == {"permissions": NEEDED, "repositories": ["example"]}


@pytest.mark.usefixtures("one_app", "aws")
def test_a_token_may_do_no_more_than_it_was_asked_for(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GITHUB_PERMISSIONS", json.dumps({"actions": "read"}))
    access = GitHubAccess.of(fleet_environment.read(Connection))
    with pytest.raises(GitHubRefused, match="403: Resource not accessible by integration"):
        GitHubRunners(access).register(name="n", labels=["self-hosted"])


@pytest.mark.usefixtures("one_app")
def test_a_deregistration_asks_as_the_app(aws: Aws, twin: GitHubTwin, context: Any) -> None:
    runner = twin.board.register(name=RUNNER, labels=["self-hosted"])
    runner.scope = f"/repos/{REPOSITORY}"
    aws.park("job")
    assert deregister_runner.handler({"runner_id": RUNNER}, context) == {"busy": False}
    assert twin.board.runners == {}


@pytest.mark.usefixtures("one_app", "aws")
def test_a_token_that_github_takes_no_more_is_replaced_once(twin: GitHubTwin, line: Line) -> None:
    access = GitHubAccess.of(fleet_environment.read(Connection))
    access.send(runners(), repository=None)
    line.clear()
    twin.askers.revoke_tokens()
    assert access.send(runners(), repository=None).status == 200
    listing = f"GET /repos/{REPOSITORY}/actions/runners"
    assert line.paths == [listing, NEW_TOKEN, listing]


@pytest.mark.usefixtures("one_app", "aws")
def test_a_401_that_stays_is_the_answer(twin: GitHubTwin, line: Line) -> None:
    twin.api_faults.add(ApiFault(status=401, path="*/actions/runners", times=2))
    assert (
        GitHubAccess.of(fleet_environment.read(Connection)).send(runners(), repository=None).status
        == 401
    )
    assert line.paths.count(NEW_TOKEN) == 2


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def installation(
    twin: GitHubTwin, key_secret: str, clock: Clock, **options: Any
) -> tuple[Installation, Transport]:
    transport = Transport(api_url=twin.url)
    key = PemKey(Secret(secrets_manager=client("secretsmanager"), secret_arn=key_secret))
    # by the real clock, as the twin looks at its web tokens
    itself = Caller(credential=AppToken(app_id="11", key=key), transport=transport)
    scope = options.pop("scope", Scope(kind="repos", name=REPOSITORY))
    settled = {"permissions": NEEDED, **options}
    return Installation(app_id="11", caller=itself, scope=scope, clock=clock, **settled), transport


@pytest.mark.usefixtures("aws")
def test_a_token_is_kept_for_fifty_minutes(twin: GitHubTwin, key_secret: str, line: Line) -> None:
    clock = Clock()
    app, _ = installation(twin, key_secret, clock)
    first = app.token()
    clock.now += 2999
    assert app.token() == first
    assert line.paths == [INSTALLED, NEW_TOKEN]
    clock.now += 1
    assert app.token() != first
    assert line.paths == [INSTALLED, NEW_TOKEN, NEW_TOKEN]


def test_web_tokens_are_what_github_documents(private_key: rsa.RSAPrivateKey) -> None:
    class Manager:
        def get_secret_value(self, **_: object) -> dict[str, str]:
            return {"SecretString": pem(private_key)}

    clock = Clock()
    clock.now = 1_700_000_000.9
    key = PemKey(Secret(secrets_manager=Manager(), secret_arn="arn"))
    token = AppToken(app_id="11", key=key, clock=clock)
    text = token.token()
    head, body, signature = text.split(".")

    def decoded(part: str) -> bytes:
        assert "=" not in part
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    assert json.loads(decoded(head)) == {"alg": "RS256", "typ": "JWT"}
    claims = json.loads(decoded(body))
    assert claims == {"iat": 1_699_999_940, "exp": 1_700_000_540, "iss": "11"}
    private_key.public_key().verify(
        decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    clock.now += 479
    assert token.token() == text
    clock.now += 1
    assert token.token() != text


@pytest.mark.usefixtures("aws")
def test_a_replaced_key_is_read_again(
    twin: GitHubTwin, key_secret: str, private_key: rsa.RSAPrivateKey
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    manager = client("secretsmanager")
    manager.put_secret_value(SecretId=key_secret, SecretString=pem(other))
    app, _ = installation(twin, key_secret, Clock())
    with pytest.raises(CredentialsError, match="app_id and private key have to belong together"):
        app.token()
    pkcs8 = pem(private_key, serialization.PrivateFormat.PKCS8)
    manager.put_secret_value(SecretId=key_secret, SecretString=pkcs8)
    assert app.token().startswith("ghs_")


@pytest.mark.parametrize(
    "text",
    ["", "no key", "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----"],
)
def test_a_secret_without_a_key_is_an_error_that_does_not_show_it(text: str) -> None:
    class Manager:
        def get_secret_value(self, **_: object) -> dict[str, str]:
            return {"SecretString": text}

    with pytest.raises(CredentialsError, match=r"put the App's \.pem file into it") as caught:
        PemKey(Secret(secrets_manager=Manager(), secret_arn="arn")).sign(b"x")
    assert caught.value.__suppress_context__
    assert "c2VjcmV0" not in str(caught.value)


def test_a_key_of_another_kind_is_none() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()

    class Manager:
        def get_secret_value(self, **_: object) -> dict[str, str]:
            return {"SecretString": text}

    with pytest.raises(CredentialsError, match="no RSA private key"):
        PemKey(Secret(secrets_manager=Manager(), secret_arn="arn")).sign(b"x")


def test_the_powertools_layer_has_what_signs() -> None:
    # layer_v3/layer/layer_stack.py builds the layer with include_extras, that is with [all]
    needed = [need for need in requires("aws-lambda-powertools") or [] if 'extra == "all"' in need
              or "extra == 'all'" in need]  # fmt: skip
    assert any(need.startswith("cryptography") for need in needed), needed


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"scope": Scope(kind="repos", name="octo-org/other")}, "install it for the repository"),
        ({"installation_id": 7}, "install it for the repository octo-org/example"),
        ({"permissions": {"checks": "write"}}, "let it have checks: write, and accept that"),
        ({"permissions": {"actions": "write"}}, "let it have actions: write, and accept that"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_an_app_that_gets_no_token_says_what_to_do(
    twin: GitHubTwin, key_secret: str, options: dict[str, Any], remedy: str
) -> None:
    app, _ = installation(twin, key_secret, Clock(), **options)
    with pytest.raises(CredentialsError, match="the App 11 gets no token: GitHub answered") as told:
        app.token()
    assert remedy in str(told.value)


@pytest.mark.usefixtures("aws")
def test_an_app_that_is_installed_anew_is_found_again(
    twin: GitHubTwin, key_secret: str, line: Line
) -> None:
    clock = Clock()
    app, _ = installation(twin, key_secret, clock)
    app.token()
    (old,) = (number for number, each in twin.askers.installations.items() if each.app_id == "11")
    twin.askers.installations[999] = twin.askers.installations.pop(old)
    app.forget()
    with pytest.raises(CredentialsError):
        app.token()
    assert app.token().startswith("ghs_")
    assert line.paths[-1] == "POST /app/installations/999/access_tokens"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("path", ["*/installation", "*/access_tokens"])
def test_an_outage_while_a_token_is_asked_for_is_an_outage(
    twin: GitHubTwin, key_secret: str, path: str
) -> None:
    twin.api_faults.add(ApiFault(status=502, path=path))
    app, _ = installation(twin, key_secret, Clock())
    with pytest.raises(GitHubUnavailable):
        app.token()
    assert app.token()


@pytest.mark.usefixtures("one_app")
def test_a_claim_whose_app_gets_no_token_fails_with_the_remedy(
    aws: Aws, twin: GitHubTwin, environment: pytest.MonkeyPatch, context: Any
) -> None:
    environment.setenv("GITHUB_PERMISSIONS", json.dumps({"administration": "admin"}))
    aws.park("runner", job_id=queued_job(twin))
    assert claim(context)[0] == 410
    ((_, error, cause),) = aws.resumed
    assert error == "Runner.RegistrationRefused"
    assert cause.endswith(
        "(let it have administration: admin, and accept that in its installation)"
    )


@pytest.mark.usefixtures("one_app", "aws")
def test_the_app_itself_can_be_asked_as(line: Line) -> None:
    access = GitHubAccess.of(fleet_environment.read(Connection))
    answer = access.send_as_app(Request(method="GET", path="/app"))
    assert answer is not None
    assert json.loads(answer.body)["id"] == 11
    assert line.paths == ["GET /app"]


def test_a_token_is_no_app(aws: Aws, twin: GitHubTwin, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GITHUB_API_URL", twin.url)
    access = GitHubAccess.of(fleet_environment.read(Connection))
    assert access.send_as_app(Request(method="GET", path="/app")) is None


@pytest.mark.usefixtures("one_app", "aws")
def test_the_limit_of_the_app_itself_is_kept(twin: GitHubTwin, line: Line) -> None:
    limit = ApiFault(status=403, path="/app", message="x", headers={"retry-after": "30"})
    twin.api_faults.add(limit)
    access = GitHubAccess.of(fleet_environment.read(Connection))
    for _ in range(2):
        with pytest.raises(GitHubUnavailable, match="secondary rate limit") as caught:
            access.send_as_app(Request(method="GET", path="/app"))
        assert 28 <= caught.value.retry_after <= 30
    assert line.paths == ["GET /app"]


@pytest.mark.usefixtures("one_app")
def test_nothing_of_an_app_is_logged(
    *,
    aws: Aws,
    twin: GitHubTwin,
    key_secret: str,
    line: Line,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    caplog.set_level(logging.DEBUG)
    aws.park("runner", job_id=queued_job(twin))
    assert claim(context)[0] == 200
    aws.park("runner")
    client("secretsmanager").put_secret_value(SecretId=key_secret, SecretString="not-a-key")
    twin.askers.revoke_tokens()
    forget()
    assert claim(context)[0] == 410
    printed = log.getvalue()
    assert "no credential" in printed
    text = client("secretsmanager").get_secret_value(SecretId=key_secret)["SecretString"]
    row = json.dumps(aws.row(), default=list)
    for secret in (*line.tokens, text):
        assert secret not in printed + row


# --- KMS ------------------------------------------------------------------------------------


@pytest.fixture
def kms_key(aws: Aws) -> str:
    made = client("kms").create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    arn: str = made["KeyMetadata"]["Arn"]
    return arn


def test_a_key_in_kms_signs_and_never_leaves_it(
    *, aws: Aws, kms_key: str, environment: pytest.MonkeyPatch, context: Any
) -> None:
    der = client("kms").get_public_key(KeyId=kms_key)["PublicKey"]
    public = serialization.load_der_public_key(der).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    apps = [TwinApp(app_id="11", public_key=public, permissions=NEEDED)]
    with GitHubTwin(repository=REPOSITORY, token="t", webhook_secret="s", apps=apps) as twin:
        be_apps(environment, twin, {"app_id": "11", "kms_key_id": kms_key})
        aws.park("runner", job_id=queued_job(twin))
        assert claim(context)[0] == 200


@pytest.mark.parametrize(
    "code",
    [
        "DisabledException",
        "InvalidKeyUsageException",
        "KMSInvalidStateException",
        "NotFoundException",
    ],
)
def test_a_key_that_cannot_sign_says_what_to_do(aws: Aws, code: str) -> None:
    kms = client("kms")
    with Stubber(kms) as stubber:
        stubber.add_client_error("sign", code)
        with pytest.raises(CredentialsError, match="import the App's private key into an RSA_2048"):
            KmsKey(kms=kms, key_id="arn").sign(b"x")


def test_kms_hashes_and_signs_as_github_wants_it(aws: Aws) -> None:
    kms = client("kms")
    with Stubber(kms) as stubber:
        wanted = {
            "KeyId": "arn",
            "Message": b"head.body",
            "MessageType": "RAW",
            "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256",
        }
        stubber.add_response("sign", {"Signature": b"signed"}, wanted)
        assert KmsKey(kms=kms, key_id="arn").sign(b"head.body") == b"signed"


def test_a_fault_of_kms_is_no_fault_of_the_key(aws: Aws) -> None:
    kms = client("kms")
    with Stubber(kms) as stubber:
        stubber.add_client_error("sign", "AccessDeniedException")
        with pytest.raises(ClientError):
            KmsKey(kms=kms, key_id="arn").sign(b"x")


# --- several Apps, and limits ---------------------------------------------------------------


def runners(scope: str = f"/repos/{REPOSITORY}") -> Request:
    return github.list_runners(scope=scope, page=1)


class Somebody:
    """A credential that needs nothing."""

    def __init__(self, who: str, refused: str = "") -> None:
        self.who = who
        self._refused = refused

    def token(self) -> str:
        if self._refused:
            raise CredentialsError(self._refused)
        return self.who

    def forget(self) -> None:
        pass


class Answers:
    """A GitHub that answers each token from a list of its own, the last for ever."""

    def __init__(self, **by_token: list[tuple[int, dict[str, str], str]]) -> None:
        self.by_token = by_token
        self.stub = Stub(self._answer)

    def _answer(self, request: Received) -> tuple[int, dict[str, str], bytes]:
        answers = self.by_token[request.headers["authorization"].removeprefix("Bearer ")]
        status, headers, message = answers.pop(0) if len(answers) > 1 else answers[0]
        return status, headers, json.dumps({"message": message, "runners": []}).encode()

    @property
    def asked(self) -> list[str]:
        return [one.headers["authorization"].removeprefix("Bearer ") for one in self.stub.received]


@pytest.fixture
def asking() -> Iterator[Callable[..., tuple[GitHubAccess, Answers, Clock]]]:
    stubs = []

    def make(*, refused: str = "", **by_token: Any) -> tuple[GitHubAccess, Answers, Clock]:
        answers, clock = Answers(**by_token), Clock()
        stubs.append(answers.stub)
        transport = Transport(api_url=answers.stub.url)
        callers = [
            Caller(
                credential=Somebody(who, "its key is broken" if who == refused else ""),
                transport=transport,
                clock=clock,
            )
            for who in by_token
        ]
        scope = Scope(kind="repos", name=REPOSITORY)
        return (
            GitHubAccess(transport=transport, scope=scope, callers=callers, clock=clock),
            answers,
            clock,
        )

    yield make
    for stub in stubs:
        stub.stop()


def quota(left: int, *, clock: float, seconds: float = 600.0) -> dict[str, str]:
    return {
        "x-ratelimit-remaining": str(left),
        "x-ratelimit-reset": str(int(clock + seconds)),
        "x-ratelimit-resource": "core",
    }


OK: tuple[int, dict[str, str], str] = (200, {}, "")


@pytest.mark.parametrize(
    ("refusal", "kind", "wait"),
    [
        ((403, {"retry-after": "7"}, "slow down"), "secondary", 7),
        ((429, {"retry-after": "7"}, "slow down"), "secondary", 7),
        ((429, {}, "slow down"), "secondary", 60),
        ((403, {}, "You have exceeded a secondary rate limit."), "secondary", 60),
        ((403, {"x-ratelimit-remaining": "0"}, "API rate limit exceeded"), "primary", 60),
        ((403, {"x-ratelimit-remaining": "0", "retry-after": "9"}, "API rate limit"), "primary", 9),
    ],
)
def test_a_limit_is_kept_without_asking_again(
    asking: Any, refusal: Any, kind: str, wait: int
) -> None:
    access, answers, clock = asking(me=[refusal, OK])
    with pytest.raises(GitHubUnavailable, match=f"^{kind} rate limit until") as caught:
        access.send(runners(), repository=None)
    assert (caught.value.retry_after, caught.value.status) == (wait, refusal[0])
    clock.now += wait - 1
    with pytest.raises(GitHubUnavailable, match=r"^not asked, ") as caught:
        access.send(runners(), repository=None)
    assert caught.value.retry_after == 1
    assert len(answers.asked) == 1
    clock.now += 1.5
    assert access.send(runners(), repository=None).status == 200


def test_a_primary_limit_lasts_until_its_reset(asking: Any) -> None:
    now = time.time()
    access, answers, clock = asking(me=[(403, quota(0, clock=now), "API rate limit"), OK])
    with pytest.raises(GitHubUnavailable, match=r"^primary") as caught:
        access.send(runners(), repository=None)
    assert 595 <= caught.value.retry_after <= 600
    clock.now = now + 601
    assert access.send(runners(), repository=None).status == 200
    assert len(answers.asked) == 2


def test_the_last_request_of_a_quota_is_answered_and_the_next_not_asked(asking: Any) -> None:
    access, answers, _ = asking(me=[(200, quota(0, clock=time.time()), "")])
    assert access.send(runners(), repository=None).status == 200
    with pytest.raises(GitHubUnavailable, match="no request is left"):
        access.send(runners(), repository=None)
    assert len(answers.asked) == 1


def test_an_outage_with_a_time_is_waited_for_and_one_without_is_an_answer(asking: Any) -> None:
    access, answers, _ = asking(me=[(503, {"retry-after": "20"}, "down")])
    for _ in range(2):
        with pytest.raises(GitHubUnavailable, match="outage until") as caught:
            access.send(runners(), repository=None)
        assert caught.value.retry_after == 20
    assert len(answers.asked) == 1
    access, answers, _ = asking(me=[(503, {}, "down")])
    assert access.send(runners(), repository=None).status == 503
    assert access.send(runners(), repository=None).status == 503


def test_a_missing_permission_is_no_limit(asking: Any) -> None:
    access, answers, _ = asking(me=[(403, quota(10, clock=time.time()), "Resource not accessible")])
    for _ in range(2):
        assert access.send(runners(), repository=None).status == 403
    assert len(answers.asked) == 2


JIT_REQUEST = github.generate_jitconfig(
    scope=f"/repos/{REPOSITORY}", name="n", labels=["x"], runner_group_id=1
)


def test_a_secondary_limit_is_for_all_requests(asking: Any) -> None:
    access, answers, _ = asking(me=[(403, {"retry-after": "30"}, "slow"), OK])
    for request in (JIT_REQUEST, runners(), JIT_REQUEST):
        with pytest.raises(GitHubUnavailable):
            access.send(request, repository=None)
    assert len(answers.asked) == 1


def test_a_primary_limit_is_for_its_own_resource(asking: Any) -> None:
    spent = quota(0, clock=time.time())
    registrations = {**spent, "x-ratelimit-resource": "actions_runner_registration"}
    access, answers, _ = asking(me=[(403, registrations, "API rate limit"), OK])
    with pytest.raises(GitHubUnavailable):
        access.send(JIT_REQUEST, repository=None)
    assert access.send(runners(), repository=None).status == 200
    with pytest.raises(GitHubUnavailable, match="not asked"):
        access.send(JIT_REQUEST, repository=None)
    assert len(answers.asked) == 2


def test_registrations_may_be_of_the_one_resource_there_is(asking: Any) -> None:
    # as on a server that has no other
    access, answers, _ = asking(me=[(403, quota(0, clock=time.time()), "API rate limit"), OK])
    with pytest.raises(GitHubUnavailable):
        access.send(JIT_REQUEST, repository=None)
    with pytest.raises(GitHubUnavailable, match="not asked"):
        access.send(runners(), repository=None)
    assert len(answers.asked) == 1


def test_a_strangers_quota_is_not_the_credentials(asking: Any) -> None:
    # GitHub answers a wrong token with the quota of the address: 60 an hour
    access, answers, _ = asking(me=[(401, quota(0, clock=time.time()), "Bad credentials")])
    assert access.send(runners(), repository=None).status == 401
    assert access.send(runners(), repository=None).status == 401
    assert len(answers.asked) == 4


def test_another_app_is_asked_at_once_when_one_is_limited(asking: Any) -> None:
    first = asked_first(asking)
    second = {"one": "two", "two": "one"}[first]
    limited = (403, {"retry-after": "100"}, "slow")
    access, answers, _ = asking(**{first: [limited], second: [OK]})
    assert access.send(runners(), repository=None).status == 200
    assert answers.asked == [first, second]
    assert access.send(runners(), repository=None).status == 200
    assert answers.asked == [first, second, second]


def asked_first(asking: Any) -> str:
    access, answers, _ = asking(one=[OK], two=[OK])
    access.send(runners(), repository=None)
    return str(answers.asked[0])


@pytest.mark.parametrize("waits", [("100", "40"), ("40", "100")])
def test_the_soonest_of_all_limits_is_told(asking: Any, waits: tuple[str, str]) -> None:
    one, two = ((403, {"retry-after": wait}, "slow") for wait in waits)
    access, answers, _ = asking(one=[one], two=[two])
    for _ in range(2):
        with pytest.raises(GitHubUnavailable) as caught:
            access.send(runners(), repository=None)
        assert caught.value.retry_after == 40
    assert len(answers.asked) == 2


def test_the_app_with_most_quota_left_is_asked_and_none_in_turns(asking: Any) -> None:
    first = asked_first(asking)
    second = {"one": "two", "two": "one"}[first]
    now = time.time()
    access, answers, _ = asking(
        **{
            first: [(200, quota(left, clock=now), "") for left in (5000, 4500, 4096, 4000, 3900)],
            second: [(200, quota(left, clock=now), "") for left in (4999, 4500, 4096, 4095)],
        }
    )
    for _ in range(9):
        access.send(runners(), repository=None)
    assert answers.asked == [first] * 4 + [second] * 4 + [first]


def test_an_app_without_a_token_leaves_it_to_the_others(
    asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    broken = asked_first(asking)
    access, answers, _ = asking(refused=broken, one=[OK], two=[OK])
    assert access.send(runners(), repository=None).status == 200
    assert answers.asked == [{"one": "two", "two": "one"}[broken]]
    assert "its key is broken" in log.getvalue()


def test_an_outage_is_no_reason_to_ask_as_somebody_else(asking: Any) -> None:
    access, answers, _ = asking(one=[(0, {}, "")], two=[(0, {}, "")])
    with pytest.raises(GitHubUnavailable, match="cannot be reached"):
        access.send(runners(), repository=None)
    assert len(answers.asked) == 1


def test_the_quota_left_is_a_metric_once_a_minute(
    asking: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    other = {**quota(9000, clock=now), "x-ratelimit-resource": "actions_runner_registration"}
    access, _, clock = asking(
        me=[
            (200, quota(4999, clock=now), ""),
            (200, quota(4998, clock=now), ""),
            (200, other, ""),
            (200, quota(4000, clock=now), ""),
        ]
    )
    for _ in range(3):
        access.send(runners(), repository=None)
    clock.now += 60
    access.send(runners(), repository=None)
    lines = [json.loads(one) for one in capsys.readouterr().out.splitlines() if one[:1] == "{"]
    told = [(one["who"], one["GitHubQuotaLeft"]) for one in lines if "GitHubQuotaLeft" in one]
    assert told == [
        ("me", [4999.0]),
        ("me/actions_runner_registration", [9000.0]),
        ("me", [4000.0]),
    ]


def test_a_claim_during_a_long_limit_comes_back_within_a_minute(
    aws: Aws, twin: GitHubTwin, environment: pytest.MonkeyPatch, context: Any
) -> None:
    environment.setenv("GITHUB_API_URL", twin.url)
    twin.requests_an_hour = 0
    aws.park("runner", job_id=7)
    answer = runner_api.handler(
        {"rawPath": f"/runners/{RUNNER}/claim", "headers": {"authorization": "Bearer the-ticket"}},
        context,
    )
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "60")
    assert twin.requests_served == 2
    aws.park("runner", job_id=7)
    assert claim(context)[0] == 503
    assert twin.requests_served == 2, "GitHub is not asked again"


def test_only_limits_are_limits() -> None:
    for status in (200, 304, 401, 404, 422, 500):
        response = Response(status=status, headers={"x-ratelimit-remaining": "0"}, body=b"")
        assert read_limit(response, now=0) is None
    allowance = Allowance()
    last = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "100"}
    allowance.note(runners(), Response(status=304, headers=last, body=b""), now=0)
    with pytest.raises(LimitReachedError):
        allowance.check(runners(), now=99)
    allowance.check(runners(), now=100)


# --- scopes and runner groups ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "repository", "covered"),
    [
        ("repos/octo-org/example", "Octo-Org/Example", True),
        ("repos/octo-org/example", "octo-org/example2", False),
        ("orgs/octo-org", "OCTO-org/anything", True),
        ("orgs/octo-org", "octo-org2/anything", False),
        ("orgs/octo-org", "octo-org", True),
        ("enterprises/acme", "octo-org/anything", True),
    ],
)
def test_a_scope_knows_its_repositories(scope: str, repository: str, covered: bool) -> None:
    assert Scope.parse(scope).covers(repository) is covered


@pytest.mark.parametrize(
    "text", ["", "repos", "repos/", "repos/o", "repos/o/r/x", "orgs/a/b", "users/x", "orgs/"]
)
def test_a_scope_is_one_of_three(text: str) -> None:
    with pytest.raises(ValueError, match="use repos/owner/name"):
        Scope.parse(text)


def test_a_setting_that_is_no_scope_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GITHUB_API_URL", "https://api.github.com")
    environment.setenv("GITHUB_SCOPE", "octo-org/example")
    with pytest.raises(
        fleet_environment.SettingError, match="GITHUB_SCOPE is 'octo-org/example': 'octo"
    ):
        fleet_environment.read(Connection)


def test_another_repository_is_not_asked_for(asking: Any) -> None:
    access, answers, _ = asking(me=[OK])
    with pytest.raises(GitHubRefused, match="octo-org/other is not in the repository octo-org/exa"):
        access.send(runners(), repository="octo-org/other")
    assert answers.asked == []


@pytest.mark.parametrize("scope", ["orgs/octo-org", "enterprises/acme"])
def test_an_organizations_and_an_enterprises_runners_are_registered_there(
    *,
    aws: Aws,
    private_key: rsa.RSAPrivateKey,
    environment: pytest.MonkeyPatch,
    context: Any,
    scope: str,
) -> None:
    groups = ("Default", "builders")
    with twin_of(private_key, enterprise="acme", runner_groups=groups) as twin:
        environment.setenv("GITHUB_API_URL", twin.url)
        environment.setenv("GITHUB_SCOPE", scope)
        environment.setenv("RUNNER_GROUP", "builders")
        aws.park("runner", job_id=queued_job(twin))
        assert claim(context)[0] == 200
        (runner,) = twin.board.runners.values()
        assert (runner.scope, runner.group_id) == (f"/{scope}", 2)
        aws.park("job", github_runner_id=runner.id)
        assert deregister_runner.handler({"runner_id": RUNNER}, context) == {"busy": False}
        assert twin.board.runners == {}


def test_an_organizations_token_is_for_no_repository_alone(
    *, aws: Aws, twin: GitHubTwin, key_secret: str, environment: pytest.MonkeyPatch, line: Line
) -> None:
    be_apps(environment, twin, {"app_id": "11", "private_key_secret_arn": key_secret})
    environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    environment.setenv("GITHUB_PERMISSIONS", json.dumps({"actions": "read"}))
    job = github.get_job(repository=REPOSITORY, job_id=queued_job(twin))
    access = GitHubAccess.of(fleet_environment.read(Connection))
    assert access.send(job, repository=REPOSITORY).status == 200
    assert line.paths[0] == "GET /orgs/octo-org/installation"
    assert json.loads(line.requests[1].body or b"") == {"permissions": {"actions": "read"}}


def access_to(url: str, **options: Any) -> GitHubAccess:
    transport = Transport(api_url=url)
    caller = Caller(credential=Somebody(TOKEN), transport=transport)
    scope = options.pop("scope", Scope(kind="orgs", name="octo-org"))
    return GitHubAccess(transport=transport, scope=scope, callers=[caller], **options)


def test_a_group_is_looked_up_once_and_on_any_page(
    private_key: rsa.RSAPrivateKey, line: Line
) -> None:
    names = ["Default", *(f"group {number}" for number in range(2, 151))]
    with twin_of(private_key, runner_groups=names) as twin:
        access = access_to(twin.url, runner_group="group 150")
        assert [access.runner_group_id() for _ in range(2)] == [150, 150]
        assert line.paths == ["GET /orgs/octo-org/actions/runner-groups"] * 2
        with pytest.raises(GitHubRefused, match="has no runner group 'x': make it there"):
            access_to(twin.url, runner_group="x").runner_group_id()


def test_without_a_group_nothing_is_looked_up(twin: GitHubTwin, line: Line) -> None:
    assert access_to(twin.url).runner_group_id() == 1
    assert line.paths == []


def test_all_runners_are_listed(twin: GitHubTwin) -> None:
    for number in range(101):
        runner = twin.board.register(name=f"r-{number}", labels=["x"])
        runner.scope = "/orgs/octo-org"
    listed = GitHubRunners(access_to(twin.url)).runners()
    assert [one.name for one in listed] == [f"r-{number}" for number in range(101)]
    assert (listed[0].github_runner_id, listed[0].status, listed[0].busy) == (1, "offline", False)


def test_what_has_not_changed_is_not_sent_again(twin: GitHubTwin) -> None:
    access = access_to(twin.url)
    first = access.send(runners("/orgs/octo-org"), repository=None)
    again = Request(method="GET", path=runners("/orgs/octo-org").path, etag=first.headers["etag"])
    second = access.send(again, repository=None)
    assert (second.status, second.body) == (304, b"")
    assert second.headers["x-ratelimit-remaining"] == first.headers["x-ratelimit-remaining"]
    twin.board.register(name="new", labels=["x"]).scope = "/orgs/octo-org"
    assert access.send(again, repository=None).status == 200


# --- the line -------------------------------------------------------------------------------


@pytest.fixture
def slow() -> Iterator[Callable[[float], Stub]]:
    """Makes servers that take their time."""
    stubs: list[Stub] = []

    def make(seconds: float) -> Stub:
        def answer(_: Received) -> tuple[int, dict[str, str], bytes]:
            time.sleep(seconds)
            return 200, {}, b"{}"

        stubs.append(Stub(answer))
        return stubs[-1]

    yield make
    for stub in stubs:
        stub.stop()


def test_all_requests_of_a_block_share_its_time(slow: Callable[[float], Stub]) -> None:
    stub = slow(0.3)
    transport = Transport(api_url=stub.url)
    began = time.monotonic()
    with transport.within(1.0):
        transport.send(runners(), token="t")
        with transport.within(60.0):  # no longer than the block around it
            transport.send(runners(), token="t")
            with pytest.raises(GitHubUnavailable, match="no time is left to ask GitHub"):
                transport.send(runners(), token="t")
        with pytest.raises(GitHubUnavailable, match="no time is left to ask GitHub"):
            transport.send(runners(), token="t")
    assert time.monotonic() - began < 1.0
    assert len(stub.received) == 2
    transport.send(runners(), token="t")


def test_a_request_is_cut_off_at_the_end_of_its_block(slow: Callable[[float], Stub]) -> None:
    stub = slow(3.0)
    transport = Transport(api_url=stub.url)
    began = time.monotonic()
    with transport.within(0.6), pytest.raises(GitHubUnavailable, match="TimeoutError"):
        transport.send(runners(), token="t")
    assert time.monotonic() - began < 1.0


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
    began = time.monotonic()
    transport = Transport(api_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3)
    with pytest.raises(GitHubUnavailable, match="TimeoutError"):
        transport.send(runners(), token="t")
    assert time.monotonic() - began < 1.5
    listener.close()
    thread.join()


def test_a_claim_ends_in_time_however_slow_github_is(
    aws: Aws, environment: pytest.MonkeyPatch, context: Any, slow: Callable[[float], Stub]
) -> None:
    stub = slow(0.7)
    environment.setattr("fleet_runtime.runner.claims._GITHUB_SECONDS", 1.1)
    environment.setenv("GITHUB_API_URL", stub.url)
    aws.park("runner")
    began = time.monotonic()
    assert claim(context)[0] == 503
    assert time.monotonic() - began < 2.0
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
    access = GitHubAccess.of(fleet_environment.read(Connection))
    assert access.send(runners(), repository=None).status == 200
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


# --- tokens ---------------------------------------------------------------------------------


def test_a_token_is_read_once_until_it_is_forgotten() -> None:
    reads: list[str] = []

    class Manager:
        def get_secret_value(self, **arguments: str) -> dict[str, str]:
            reads.append(arguments["SecretId"])
            return {"SecretString": f" token-{len(reads)}\n"}

    token = PersonalAccessToken(Secret(secrets_manager=Manager(), secret_arn="arn"))
    assert [token.token(), token.token()] == ["token-1", "token-1"]
    token.forget()
    assert token.token() == "token-2"
    assert "token-2" not in repr(token)
