"""GitHub as the tests of this room see it, over real sockets.

It is the twin, which checks signatures, permissions and expiry; where an answer has to be odd, a
stub. Secrets Manager, SSM and KMS are moto's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import runner_api
from cdk_runner_fleet.local.twin import GitHubTwin, TwinApp
from cdk_runner_fleet.local.twin.workflows import read_workflow
from fleet_runtime.aws.client import client
from fleet_runtime.github.app import Installation
from fleet_runtime.github.app_keys import AppToken, PemKey
from fleet_runtime.github.caller import Caller
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.credentials import CredentialsError, Secret
from fleet_runtime.github.etags import Etags
from fleet_runtime.github.message import Request, Response
from fleet_runtime.github.runners import generate_jitconfig
from fleet_runtime.github.transport import Transport
from fleet_runtime.job.scope import Scope

from .. import light_aws
from ..aws_stand_in import RUNNER, SESSION, Aws
from ..conftest import forget
from ..entry_points import signed_by
from ..github_stand_in import TOKEN
from ..http_stub import Received, Stub

REPOSITORY = "octo-org/example"
WORKFLOW = "on: push\njobs: {a: {runs-on: [self-hosted], steps: [{run: 'true'}]}}"
NEEDED = {"administration": "write", "actions": "read"}

light = light_aws.light


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


class Line:
    """What went to GitHub: ``METHOD path`` without the query, the tokens and the ETags."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[Request[Any]] = []
        self.tokens: list[str] = []
        self.etags: list[str] = []
        send = Transport.send

        def recorded(
            transport: Transport, request: Request[Any], *, token: str, etag: str = ""
        ) -> Response:
            self.requests.append(request)
            self.tokens.append(token)
            self.etags.append(etag)
            return send(transport, request, token=token, etag=etag)

        monkeypatch.setattr(Transport, "send", recorded)

    @property
    def paths(self) -> list[str]:
        return [f"{one.method} {one.path.partition('?')[0]}" for one in self.requests]

    def clear(self) -> None:
        self.requests.clear()
        self.tokens.clear()
        self.etags.clear()


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
            **signed_by(SESSION),
        },
        context,
    )
    return answer["statusCode"], json.loads(answer["body"])


INSTALLED = f"GET /repos/{REPOSITORY}/installation"
NEW_TOKEN = "POST /app/installations/61000001/access_tokens"
JIT = f"POST /repos/{REPOSITORY}/actions/runners/generate-jitconfig"


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


def as_it_came(response: Response) -> Response:
    return response


def answer(document: object = None, *, status: int = 200, **headers: str) -> Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=body)


def runners(
    scope: str = f"/repos/{REPOSITORY}", *, repository: str | None = None
) -> Request[Response]:
    """A request whose answer is left as it came."""
    return Request.get(f"{scope}/actions/runners", read=as_it_came, repository=repository)


class Somebody:
    """A credential that needs nothing."""

    def __init__(self, who: str, refused: str = "") -> None:
        self.who = who
        self._refused = refused

    def token(self) -> str:
        if self._refused:
            raise CredentialsError(self._refused)
        return self.who

    def renew(self) -> None:
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
def asking() -> Iterator[Callable[..., tuple[GitHub, Answers, Clock]]]:
    stubs = []

    def make(
        *, refused: str = "", etags: Etags | None = None, **by_token: Any
    ) -> tuple[GitHub, Answers, Clock]:
        answers, clock = Answers(**by_token), Clock()
        stubs.append(answers.stub)
        transport = Transport(api_url=answers.stub.url)
        callers = [
            Caller(
                credential=Somebody(who, "its key is broken" if who == refused else ""),
                transport=transport,
                etags=etags,
                clock=clock,
            )
            for who in by_token
        ]
        scope = Scope(kind="repos", name=REPOSITORY)
        return (
            GitHub(transport=transport, scope=scope, callers=callers, clock=clock),
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


JIT_REQUEST = replace(
    generate_jitconfig(scope=f"/repos/{REPOSITORY}", name="n", labels=["x"], runner_group_id=1),
    read=as_it_came,
)


def asked_first(asking: Any) -> str:
    github, answers, _ = asking(one=[OK], two=[OK])
    github.ask(runners())
    return str(answers.asked[0])


def github_at(url: str, *, etags: Etags | None = None) -> GitHub:
    transport = Transport(api_url=url)
    caller = Caller(credential=Somebody(TOKEN), transport=transport, etags=etags)
    scope = Scope(kind="orgs", name="octo-org")
    return GitHub(transport=transport, scope=scope, callers=[caller])
