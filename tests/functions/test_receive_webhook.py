"""The webhook's answers, each over the real handler; AWS is a stub that checks signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import receive_webhook

from .conftest import ENVIRONMENT, WEBHOOK_SECRET, Received, Stub, delivery, forget, job, sample


@dataclass
class LightAws:
    """Secrets Manager and EventBridge on loopback."""

    secrets: dict[str, str | None] = field(
        default_factory=lambda: {"AWSCURRENT": WEBHOOK_SECRET, "AWSPREVIOUS": None}
    )
    faults: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    secret_reads: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
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
    forget()
    yield server
    server.stub.stop()
    assert not server.bad_signatures


def post(event: dict[str, Any]) -> tuple[int, str]:
    answer = receive_webhook.handler(event, None)
    assert answer["headers"]["content-type"] == "application/json"
    return answer["statusCode"], json.loads(answer["body"])["message"]


def test_a_queued_job_becomes_one_trimmed_event(light: LightAws) -> None:
    before = int(time.time())
    assert post(delivery(sample("queued"))) == (202, "accepted")
    (entry,) = light.events
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == (
        "fleet-bus",
        "cdk-runner-fleet",
        "workflow_job",
    )
    detail = json.loads(entry["Detail"])
    assert before <= detail.pop("received_at") <= time.time()
    assert detail == {
        "action": "queued",
        "delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "repository": "octo-org/example",
        "job": {
            "id": 2832853555,
            "run_id": 940463255,
            "run_attempt": 1,
            "name": "test (3.12)",
            "workflow_name": "Build",
            "labels": ["self-hosted", "linux"],
            "status": "queued",
            "conclusion": None,
            "runner_name": None,
            "runner_id": None,
            "created_at": 1781551340,
            "started_at": 1781551340,
            "completed_at": None,
            "html_url": "https://github.com/octo-org/example/actions/runs/940463255/job/2832853555",
            "head_sha": "e3103f8eb03e1ad7f2331c5446b23c070fc54055",
        },
    }


@pytest.mark.parametrize("sha", [None, 7, "", "../../orgs/x", "E" * 40, "e" * 41, "e" * 40 + "\n"])
def test_a_commit_that_is_none_is_left_out(light: LightAws, sha: object) -> None:
    # it becomes part of a path at GitHub
    assert post(delivery(job("queued", head_sha=sha)))[0] == 202
    assert json.loads(light.events[0]["Detail"])["job"]["head_sha"] == ""


@pytest.mark.parametrize(
    "name", ["in_progress", "in_progress_old_server", "completed", "completed_cancelled"]
)
def test_jobs_that_start_or_end_are_passed_on(light: LightAws, name: str) -> None:
    assert post(delivery(sample(name))) == (202, "accepted")
    detail = json.loads(light.events[0]["Detail"])
    assert detail["job"]["run_attempt"] == 1
    assert detail["job"]["runner_name"] == sample(name)["workflow_job"]["runner_name"]


def test_a_base64_body_is_verified_over_the_bytes_it_stands_for(light: LightAws) -> None:
    payload = json.dumps(job("queued", name="Prüfung ✓ &"), ensure_ascii=False).encode()
    assert post(delivery(payload, encoded=True))[0] == 202
    assert json.loads(light.events[0]["Detail"])["job"]["name"] == "Prüfung ✓ &"


def test_a_reserialised_body_is_not_ours(light: LightAws) -> None:
    event = delivery(json.dumps(sample("queued"), indent=1).encode())
    event["body"] = json.dumps(json.loads(event["body"]))
    assert post(event)[0] == 401


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", "sha256=" + "0" * 64, "sha1=abc", "nonsense", "sha256=ü", "\ud800"],
)
def test_401_for_a_missing_or_wrong_signature(light: LightAws, signature: str) -> None:
    assert post(delivery(b"{not even json", signature=signature))[0] == 401
    assert light.events == []


def test_401_without_the_header_reads_no_secret(light: LightAws) -> None:
    event = delivery(sample("queued"))
    del event["headers"]["x-hub-signature-256"]
    assert post(event)[0] == 401
    assert light.calls == []


def test_header_names_count_in_any_case(light: LightAws) -> None:
    event = delivery(sample("queued"))
    event["headers"] = {name.title(): value for name, value in event["headers"].items()}
    assert post(event)[0] == 202


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"payload=%7B%22action%22%3A1%7D",
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"action":"queued","workflow_job":7}',
        b'{"action":"queued","workflow_job":{}, "n": ' + b"9" * 5000 + b"}",
    ],
)
def test_400_for_a_body_that_cannot_be_read(light: LightAws, body: bytes) -> None:
    status, message = post(delivery(body))
    assert status == 400
    assert message
    assert light.events == []


def test_400_for_a_body_that_is_missing_or_no_base64(light: LightAws) -> None:
    event = delivery(b"")
    del event["body"]
    assert post(event)[0] == 400
    event = delivery(sample("queued"), encoded=True)
    event["body"] = "***"
    assert post(event)[0] == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": "2832853555"},
        {"id": True},
        {"id": -1},
        {"id": 10**30},
        {"run_id": None},
        {"run_attempt": 0},
        {"labels": None},
        {"labels": "self-hosted"},
    ],
)
def test_400_for_a_job_without_what_each_has(light: LightAws, changes: dict[str, Any]) -> None:
    assert post(delivery(job("queued", **changes)))[0] == 400
    assert light.events == []


def test_413_for_a_body_over_one_mebibyte(light: LightAws) -> None:
    assert post(delivery(b" " * (1024 * 1024 + 1)))[0] == 413
    assert light.calls == []


def _other_repository() -> dict[str, Any]:
    return delivery({**sample("queued"), "repository": {"full_name": "octo-org/other"}})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (lambda: delivery(sample("ping"), event="ping"), "pong"),
        (lambda: delivery(sample("ping"), event="push"), "event 'push' is not used"),
        (lambda: delivery(sample("waiting")), "action 'waiting' is not used"),
        (lambda: delivery(sample("queued_waiting")), "the job waits for an approval"),
        (
            lambda: delivery(job("queued", labels=["linux"])),
            "the job has no self-hosted label",
        ),
        (
            lambda: delivery(job("completed", labels=["ubuntu-latest"])),
            "the job has no self-hosted label",
        ),
        (
            lambda: delivery(job("queued", labels=["Self-Hosted", "Ubuntu-22.04"])),
            "the job asks for a GitHub-hosted runner: 'ubuntu-22.04'",
        ),
        (
            _other_repository,
            "repository 'octo-org/other' is not in the repository octo-org/example",
        ),
        (
            lambda: delivery({**sample("queued"), "repository": None}),
            "repository None is not owner/name",
        ),
    ],
)
def test_200_with_a_reason_for_what_is_no_business_of_the_fleet(
    light: LightAws, event: Callable[[], dict[str, Any]], reason: str
) -> None:
    assert post(event()) == (200, reason)
    assert light.events == []


@pytest.mark.parametrize(
    ("scope", "payload", "answer"),
    [
        ("orgs/octo-org", {"repository": {"full_name": "Octo-Org/Other"}}, (202, "accepted")),
        (
            "orgs/octo-org",
            {"repository": {"full_name": "octo-org2/other"}},
            (200, "repository 'octo-org2/other' is not in the organization octo-org"),
        ),
        ("enterprises/acme", {"enterprise": {"slug": "ACME"}}, (202, "accepted")),
        (
            "enterprises/acme",
            {"enterprise": {"slug": "acme2"}},
            (200, "repository 'octo-org/example' is not in the enterprise acme"),
        ),
        (
            "enterprises/acme",
            {},
            (200, "repository 'octo-org/example' is not in the enterprise acme"),
        ),
        (
            "orgs/octo-org",
            {"repository": {"full_name": "octo-org/../../x"}},
            (200, "repository 'octo-org/../../x' is not owner/name"),
        ),
        (
            "orgs/octo-org",
            {"repository": {"full_name": "octo-org/.."}},
            (200, "repository 'octo-org/..' is not owner/name"),
        ),
    ],
)
def test_any_repository_of_an_organization_or_enterprise_is_served(
    *,
    light: LightAws,
    environment: pytest.MonkeyPatch,
    scope: str,
    payload: dict[str, Any],
    answer: tuple[int, str],
) -> None:
    environment.setenv("GITHUB_SCOPE", scope)
    forget()
    assert post(delivery({**sample("queued"), **payload})) == answer
    if answer[0] == 202:
        (event,) = light.events
        told = json.loads(event["Detail"])["repository"]
        assert told == payload.get("repository", {}).get("full_name", "octo-org/example")


def test_400_without_the_event_header(light: LightAws) -> None:
    assert post(delivery(sample("queued"), event=None))[0] == 400


def test_an_unprotected_environment_also_carries_a_deployment(light: LightAws) -> None:
    assert post(delivery({**sample("queued"), "deployment": {"id": 1}}))[0] == 202


def test_the_repository_counts_in_any_case(light: LightAws) -> None:
    payload = {**sample("queued"), "repository": {"full_name": "Octo-Org/Example"}}
    assert post(delivery(payload))[0] == 202


@pytest.mark.parametrize(
    "job_labels",
    [
        ["self-hosted", "class:gigantic"],
        ["self-hosted", "class:a", "class:b"],
        ["self-hosted", "image:"],
        ["self-hosted", "image:ghcr.io/evil/x"],
        ["self-hosted", "image:Not A Reference"],
        ["self-hosted", "{% $states.input %}"],
        ["self-hosted", "\ud800"],
        ["self-hosted", 7],
        ["self-hosted", "x" * 257],
        ["self-hosted", *map(str, range(99))],
        ["self-hosted", *[f"{n:0>200}" for n in range(11)]],
    ],
)
def test_whether_a_job_can_be_served_is_answered_behind_the_bus(
    light: LightAws, job_labels: list[object]
) -> None:
    assert post(delivery(job("queued", labels=job_labels))) == (202, "accepted")
    (event,) = light.events
    assert json.loads(event["Detail"])["job"]["labels"][0] == "self-hosted"


def test_the_largest_event_stays_under_eight_kilobytes(light: LightAws) -> None:
    wide = "😀" * 2_000
    payload = job(
        "queued",
        name=wide,
        workflow_name=wide,
        html_url=wide,
        labels=["self-hosted", *[wide[:300]] * 100],
        conclusion=wide[:5],
    )
    assert post(delivery(payload))[0] == 202
    assert len(light.events[0]["Detail"].encode()) < 8192


@pytest.mark.parametrize(
    "fault",
    [
        (200, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}),
        (400, {"__type": "AccessDeniedException", "message": "not allowed"}),
        (400, {"__type": "com.amazon#ValidationException", "message": "no"}),
    ],
)
def test_503_if_the_bus_did_not_take_the_event(
    light: LightAws, fault: tuple[int, dict[str, Any]]
) -> None:
    light.faults["PutEvents"] = [fault]
    assert post(delivery(sample("queued"))) == (503, "the event could not be kept, redeliver it")
    assert light.calls.count("PutEvents") == 1
    assert post(delivery(sample("queued")))[0] == 202


def test_server_errors_throttling_and_lost_connections_are_tried_again(light: LightAws) -> None:
    light.faults["GetSecretValue"] = [(500, {"__type": "InternalFailure"})]
    light.faults["PutEvents"] = [(0, {}), (400, {"__type": "ThrottlingException"})]
    assert post(delivery(sample("queued"))) == (202, "accepted")
    assert light.calls == ["GetSecretValue"] * 2 + ["PutEvents"] * 3


@pytest.mark.parametrize("operation", ["GetSecretValue", "PutEvents"])
def test_503_after_three_attempts(light: LightAws, operation: str) -> None:
    light.faults[operation] = [(503, {})] * 4
    assert post(delivery(sample("queued")))[0] == 503
    assert light.calls.count(operation) == 3


def test_the_secret_is_read_once(light: LightAws) -> None:
    assert [post(delivery(sample("queued")))[0] for _ in range(3)] == [202] * 3
    assert light.secret_reads == ["AWSCURRENT"]


def test_both_secrets_are_good_while_one_replaces_the_other(
    light: LightAws,
) -> None:
    assert post(delivery(sample("queued")))[0] == 202
    light.secrets = {"AWSCURRENT": "the-new-secret\n", "AWSPREVIOUS": WEBHOOK_SECRET}
    assert post(delivery(sample("queued"), secret="the-new-secret"))[0] == 202
    assert post(delivery(sample("queued")))[0] == 202
    assert post(delivery(sample("queued"), secret="neither"))[0] == 401


def test_a_secret_replaced_while_forgeries_come_in_is_found_soon(
    light: LightAws, environment: pytest.MonkeyPatch
) -> None:
    assert post(delivery(b"{}", secret="guess"))[0] == 401
    light.secrets = {"AWSCURRENT": "the-new-secret", "AWSPREVIOUS": WEBHOOK_SECRET}
    assert post(delivery(sample("queued"), secret="the-new-secret"))[0] == 401
    environment.setattr("fleet_runtime.github.intake._SECRET_SECONDS", 0.0)
    assert post(delivery(sample("queued"), secret="the-new-secret"))[0] == 202


def test_forged_deliveries_cost_one_look_at_the_secret(light: LightAws) -> None:
    assert [post(delivery(b"{}", secret="guess"))[0] for _ in range(5)] == [401] * 5
    assert light.secret_reads == ["AWSCURRENT", "AWSPREVIOUS"]


def test_an_empty_secret_signs_nothing(light: LightAws) -> None:
    light.secrets["AWSCURRENT"] = " \n"
    assert post(delivery(sample("queued"), secret=""))[0] == 503


def test_no_credential_reaches_the_log(light: LightAws, capsys: pytest.CaptureFixture[str]) -> None:
    quoted = f"should have been x-amz-security-token:{ENVIRONMENT['AWS_SESSION_TOKEN']}"
    light.faults["PutEvents"] = [(403, {"__type": "InvalidSignatureException", "message": quoted})]
    assert post(delivery(sample("queued")))[0] == 503
    assert post(delivery(sample("queued"), secret="wrong"))[0] == 401
    printed = capsys.readouterr().out
    assert all(json.loads(line)["delivery"] for line in printed.splitlines())
    for secret in (
        WEBHOOK_SECRET,
        ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        ENVIRONMENT["AWS_SESSION_TOKEN"],
        delivery(sample("queued"))["headers"]["x-hub-signature-256"],
    ):
        assert secret not in printed


def test_the_hot_path_loads_what_it_needs_and_nothing_else() -> None:
    code = "import sys, receive_webhook; print('\\n'.join(sys.modules))"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {name for name in loaded if name.startswith("fleet_runtime.")} == {
        "fleet_runtime.aws",
        "fleet_runtime.aws.http_api",
        "fleet_runtime.aws.light_client",
        "fleet_runtime.environment",
        "fleet_runtime.github",
        "fleet_runtime.github.intake",
        "fleet_runtime.github.signature",
        "fleet_runtime.job",
        "fleet_runtime.job.job",
        "fleet_runtime.job.labels",
        "fleet_runtime.job.scope",
        "fleet_runtime.job.webhook",
    }
    assert not {"boto3", "aws_lambda_powertools"} & {name.partition(".")[0] for name in loaded}
    heavy = {"session", "client", "credentials", "loaders"}
    assert not {f"botocore.{name}" for name in heavy} & set(loaded)
