"""The answers to GitHub's deliveries, each over the real handler."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..conftest import WEBHOOK_SECRET, delivery, job, sample
from ..light_aws import LightAws, post


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


def test_400_for_a_body_that_is_missing_or_no_base64(light: LightAws) -> None:
    event = delivery(b"")
    del event["body"]
    assert post(event)[0] == 400
    event = delivery(sample("queued"), encoded=True)
    event["body"] = "***"
    assert post(event)[0] == 400


def test_413_for_a_body_over_one_mebibyte(light: LightAws) -> None:
    assert post(delivery(b" " * (1024 * 1024 + 1)))[0] == 413
    assert light.calls == []


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
