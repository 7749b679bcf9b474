"""Secrets Manager and EventBridge as a delivery meets them: a stub that checks signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

import receive_webhook

from .aws_stand_in import ENVIRONMENT
from .conftest import forget
from .events import WEBHOOK_SECRET
from .http_stub import Received, Stub


@dataclass
class LightAws:
    """Secrets Manager, SSM and EventBridge on loopback; the clock: the samples have just come."""

    now: float = 1781551342

    secrets: dict[str, str | None] = field(
        default_factory=lambda: {"AWSCURRENT": WEBHOOK_SECRET, "AWSPREVIOUS": None}
    )
    faults: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    secret_reads: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    bad_signatures: list[str] = field(default_factory=list)
    stub: Stub = field(init=False)

    def __post_init__(self) -> None:
        self.stub = Stub(self._answer)

    def _answer(self, request: Received) -> tuple[int, dict[str, str], bytes]:
        operation = request.headers["x-amz-target"].rpartition(".")[2]
        self.calls.append(operation)
        if not _is_signed(request):
            self.bad_signatures.append(operation)
        if faults := self.faults.get(operation):
            status, document = faults.pop(0)
            return status, {}, json.dumps(document).encode()
        document = request.json()
        if operation == "PutEvents":
            self.events += document["Entries"]
            return 200, {}, b'{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}'
        if operation == "GetParameter":
            value = self.parameters[document["Name"]]
            return 200, {}, json.dumps({"Parameter": {"Value": value}}).encode()
        assert document["SecretId"] == ENVIRONMENT["WEBHOOK_SECRET_ARN"]
        self.secret_reads.append(document["VersionStage"])
        secret = self.secrets[document["VersionStage"]]
        if secret is None:
            return 400, {}, b'{"__type":"ResourceNotFoundException","message":"no such version"}'
        return 200, {}, json.dumps({"SecretString": secret}).encode()


def _is_signed(request: Received) -> bool:
    """Recompute the signature from what arrived (AWS, Signature Version 4)."""
    scheme, _, rest = request.headers["authorization"].partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(", "))
    _, date, region, service, _ = parts["Credential"].split("/")
    names = parts["SignedHeaders"].split(";")
    canonical = "\n".join(
        [
            request.method,
            request.path,
            "",
            *[f"{name}:{request.headers[name]}" for name in names],
            "",
            parts["SignedHeaders"],
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    text = "\n".join(
        [
            scheme,
            request.headers["x-amz-date"],
            f"{date}/{region}/{service}/aws4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = b"AWS4" + ENVIRONMENT["AWS_SECRET_ACCESS_KEY"].encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return "x-amz-security-token" in names and parts["Signature"] == expected


@pytest.fixture
def light(environment: pytest.MonkeyPatch) -> Iterator[LightAws]:
    server = LightAws()
    environment.setenv("AWS_ENDPOINT_URL", server.stub.url)
    environment.setattr("fleet_runtime.aws.light_client._BACKOFF_SECONDS", 0.001)
    clock = SimpleNamespace(time=lambda: server.now)
    environment.setattr("fleet_runtime.github.intake.time", clock)
    forget()
    yield server
    server.stub.stop()
    assert not server.bad_signatures


def post(event: dict[str, Any]) -> tuple[int, str]:
    answer = receive_webhook.handler(event, None)
    assert answer["headers"]["content-type"] == "application/json"
    return answer["statusCode"], json.loads(answer["body"])["message"]
