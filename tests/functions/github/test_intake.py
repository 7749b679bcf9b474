"""The answers to GitHub's deliveries, each over the real handler."""

from __future__ import annotations

import json

import pytest

from ..events import WEBHOOK_SECRET, delivery, sample
from ..light_aws import LightAws, post


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


@pytest.mark.parametrize("encoded", [False, True])
def test_413_for_a_body_over_one_mebibyte(light: LightAws, *, encoded: bool) -> None:
    assert post(delivery(b" " * (1024 * 1024 + 1), encoded=encoded))[0] == 413
    assert post(delivery(b" " * (1024 * 1024), encoded=encoded))[0] != 413
    assert light.calls == ["GetSecretValue"]


def test_a_body_that_is_too_large_is_neither_decoded_nor_hashed(
    light: LightAws, environment: pytest.MonkeyPatch
) -> None:
    environment.delattr("fleet_runtime.github.intake.raw_body")
    environment.delattr("fleet_runtime.github.intake.is_signed")
    event = delivery(b"") | {"body": "A" * 2_000_000, "isBase64Encoded": True}
    assert post(event)[0] == 413
    assert post({**event, "body": "😀" * 300_000, "isBase64Encoded": False})[0] == 413
    assert light.calls == []


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
