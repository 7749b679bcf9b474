"""What proves that somebody is a GitHub App: keys in a secret and in KMS, and web tokens."""

from __future__ import annotations

import base64
import json
from importlib.metadata import requires
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from cdk_runner_fleet.local.twin import GitHubTwin, TwinApp
from fleet_runtime.aws.client import client
from fleet_runtime.github.app_keys import AppToken, KmsKey, PemKey
from fleet_runtime.github.credentials import CredentialsError, Secret

from ..aws_stand_in import Aws
from .conftest import (
    NEEDED,
    REPOSITORY,
    Clock,
    be_apps,
    claim,
    pem,
    queued_job,
)


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
