"""The answers to GitHub's deliveries, each over the real handler."""

from __future__ import annotations

import json

import pytest

from ..conftest import forget
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


def test_a_replaced_secret_signs_nothing_any_more_five_minutes_after_the_next_one_is_there(
    light: LightAws,
) -> None:
    queued = delivery(sample("queued"))
    assert post(queued)[0] == 202
    # as long as it is the one before, GitHub may not have been told of the new one yet
    light.secrets = {"AWSCURRENT": "second", "AWSPREVIOUS": WEBHOOK_SECRET}
    light.now += 300
    assert post(queued)[0] == 202
    light.secrets = {"AWSCURRENT": "third", "AWSPREVIOUS": "second"}
    light.now += 299
    assert post(queued)[0] == 202
    light.now += 1
    assert post(queued)[0] == 401
    assert post(delivery(sample("queued"), secret="third"))[0] == 202


def test_the_same_secret_written_twice_ends_the_one_before(light: LightAws) -> None:
    light.secrets = {"AWSCURRENT": "second", "AWSPREVIOUS": WEBHOOK_SECRET}
    assert post(delivery(sample("queued")))[0] == 202
    light.secrets = {"AWSCURRENT": "second", "AWSPREVIOUS": "second"}
    light.now += 300
    assert post(delivery(sample("queued")))[0] == 401


def test_a_secret_that_matches_costs_one_call_in_five_minutes(light: LightAws) -> None:
    for _ in range(3):
        assert [post(delivery(sample("queued")))[0] for _ in range(3)] == [202] * 3
        light.now += 300
    assert light.secret_reads == ["AWSCURRENT"] * 3
    light.now -= 86400  # a clock that was set back is no reason to trust for longer
    assert post(delivery(sample("queued")))[0] == 202
    assert light.secret_reads == ["AWSCURRENT"] * 4


HOOKS = ["192.30.252.0/22", "185.199.108.0/22", "2a0a:a440::/29"]


@pytest.mark.parametrize(
    ("address", "is_let_in"),
    [
        ("192.30.252.41", True),
        ("::ffff:192.30.252.41", True),
        ("2a0a:a440::7", True),
        ("192.31.0.1", False),
        ("2a0b::1", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_403_for_an_address_that_is_not_allowed_before_anything_else(
    light: LightAws, environment: pytest.MonkeyPatch, address: str, *, is_let_in: bool
) -> None:
    environment.setenv("WEBHOOK_ALLOWED_CIDRS", json.dumps(HOOKS))
    forget()
    event = {**delivery(sample("queued")), "requestContext": {"http": {"sourceIp": address}}}
    assert post(event)[0] == (202 if is_let_in else 403)
    assert bool(light.calls) == is_let_in


def test_deliveries_come_from_everywhere_if_no_address_is_named(light: LightAws) -> None:
    event = delivery(sample("queued"))
    event["requestContext"] = {"http": {"sourceIp": "203.0.113.9"}}
    assert post(event)[0] == 202


PARAMETER = "hook-networks"


@pytest.fixture
def noted(light: LightAws, environment: pytest.MonkeyPatch) -> LightAws:
    """Deliveries come from GitHub's own networks alone, which are noted."""
    environment.setenv("HOOK_NETWORKS_PARAM", PARAMETER)
    forget()
    light.parameters[PARAMETER] = json.dumps(HOOKS)
    return light


def from_(address: str) -> int:
    event = {**delivery(sample("queued")), "requestContext": {"http": {"sourceIp": address}}}
    return post(event)[0]


GITHUBS, ANOTHERS = "192.30.252.41", "203.0.113.9"


def test_only_githubs_networks_as_they_are_noted_are_let_in(noted: LightAws) -> None:
    assert (from_(ANOTHERS), from_(GITHUBS)) == (403, 202)
    noted.parameters[PARAMETER] = json.dumps(["203.0.113.0/24"])
    noted.now += 3599
    assert (from_(ANOTHERS), from_(GITHUBS)) == (403, 202)
    assert noted.calls.count("GetParameter") == 1, "it is read once an hour"
    noted.now += 1
    assert (from_(ANOTHERS), from_(GITHUBS)) == (202, 403)
    assert noted.calls.count("GetParameter") == 2


def test_ones_own_networks_are_let_in_beside_githubs(
    noted: LightAws, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("WEBHOOK_ALLOWED_CIDRS", json.dumps(["203.0.113.0/24"]))
    forget()
    assert (from_(ANOTHERS), from_(GITHUBS), from_("198.51.100.1")) == (202, 202, 403)


def test_before_the_first_list_the_signature_alone_decides(
    noted: LightAws, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("WEBHOOK_ALLOWED_CIDRS", json.dumps(["192.0.2.0/24"]))
    forget()
    noted.parameters[PARAMETER] = "[]"
    assert (from_(ANOTHERS), from_(GITHUBS)) == (202, 202)


@pytest.mark.parametrize("fault", ["AccessDeniedException", "no JSON"])
def test_a_list_that_cannot_be_read_leaves_the_last_one_in_force(
    noted: LightAws, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert from_(ANOTHERS) == 403
    noted.now += 3600
    if fault == "no JSON":
        noted.parameters[PARAMETER] = fault
    else:
        noted.faults["GetParameter"] = [(400, {"__type": fault, "message": "m"})]
    assert (from_(ANOTHERS), from_(GITHUBS)) == (403, 202)
    assert "networks of GitHub's webhooks cannot be read" in capsys.readouterr().out
    noted.now += 59
    assert from_(ANOTHERS) == 403
    assert noted.calls.count("GetParameter") == 2, "strangers cost no calls"
    noted.parameters[PARAMETER] = json.dumps(["203.0.113.0/24"])
    noted.now += 1
    assert from_(ANOTHERS) == 202, "it is not long until it is read again"


def test_a_secret_replaced_while_forgeries_come_in_is_found_soon(light: LightAws) -> None:
    assert post(delivery(b"{}", secret="guess"))[0] == 401
    light.secrets = {"AWSCURRENT": "the-new-secret", "AWSPREVIOUS": WEBHOOK_SECRET}
    assert post(delivery(sample("queued"), secret="the-new-secret"))[0] == 401
    light.now += 10
    assert post(delivery(sample("queued"), secret="the-new-secret"))[0] == 202


def test_forged_deliveries_cost_one_look_at_the_secret(light: LightAws) -> None:
    assert [post(delivery(b"{}", secret="guess"))[0] for _ in range(5)] == [401] * 5
    assert light.secret_reads == ["AWSCURRENT", "AWSPREVIOUS"]


def test_an_empty_secret_signs_nothing(light: LightAws) -> None:
    light.secrets["AWSCURRENT"] = " \n"
    assert post(delivery(sample("queued"), secret=""))[0] == 503


def test_the_secret_can_be_a_field_of_another(
    light: LightAws, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("WEBHOOK_SECRET_FIELD", "hook")
    forget()
    light.secrets = {"AWSCURRENT": json.dumps({"hook": "new"}), "AWSPREVIOUS": WEBHOOK_SECRET}
    assert post(delivery(sample("queued"), secret="new"))[0] == 202
    # the one before, from when it had no fields
    assert post(delivery(sample("queued")))[0] == 401


def test_a_secret_without_its_field_is_told_in_the_log_and_shown_nowhere(
    light: LightAws, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("WEBHOOK_SECRET_FIELD", "hook")
    forget()
    light.secrets = {"AWSCURRENT": json.dumps({"other": "s3cret"}), "AWSPREVIOUS": None}
    status, answer = post(delivery(sample("queued")))[:2]
    assert status == 503
    logged = capsys.readouterr().out
    assert "has no field 'hook' with a text" in logged
    assert "s3cret" not in logged + str(answer)
