"""A personal access token, and the secret that it is in."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.github.credentials import CredentialsError, PersonalAccessToken, Secret


def test_a_token_is_read_once_until_it_is_renewed() -> None:
    reads: list[str] = []

    class Manager:
        def get_secret_value(self, **arguments: str) -> dict[str, str]:
            reads.append(arguments["SecretId"])
            return {"SecretString": f" token-{len(reads)}\n"}

    token = PersonalAccessToken(Secret(secrets_manager=Manager(), secret_arn="arn"))
    assert [token.token(), token.token()] == ["token-1", "token-1"]
    token.renew()
    assert token.token() == "token-2"
    assert "token-2" not in repr(token)


@pytest.mark.parametrize("secret", ["", " \n", "two\nlines", "tökén"])
def test_a_secret_without_a_token_is_an_error_that_does_not_show_it(secret: str) -> None:
    class SecretsManager:
        def get_secret_value(self, **_: object) -> dict[str, Any]:
            return {"SecretString": secret}

    with pytest.raises(CredentialsError) as caught:
        PersonalAccessToken(Secret(secrets_manager=SecretsManager(), secret_arn="arn")).token()
    assert "two" not in str(caught.value)
    assert "tök" not in str(caught.value)


class Kept:
    """Secrets Manager, with one secret."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_secret_value(self, **_: object) -> dict[str, str]:
        return {"SecretString": self.text}


def test_a_token_can_be_a_field_of_a_secret() -> None:
    kept = Kept('{"user": "bot", "token": " ghp_1\\n"}')
    secret = Secret(secrets_manager=kept, secret_arn="arn", field="token")
    assert PersonalAccessToken(secret).token() == "ghp_1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '{"user": "s3cret"}',
            "the secret arn has no field 'token' with a text, write it as {\"tok",
        ),
        ('{"token": {"s3cret": 1}}', "the secret arn has no field 'token' with a text"),
        ("s3cret", "the secret arn has no JSON object, write it as"),
        ('["s3cret"]', "the secret arn has no JSON object"),
    ],
)
def test_a_secret_without_the_field_is_an_error_that_does_not_show_it(text: str, told: str) -> None:
    secret = Secret(secrets_manager=Kept(text), secret_arn="arn", field="token")
    with pytest.raises(CredentialsError) as caught:
        PersonalAccessToken(secret).token()
    assert str(caught.value).startswith(told)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    # and it is read again: somebody may have put it right
    secret._secrets_manager.text = '{"token": "ghp_1"}'  # type: ignore[attr-defined]
    assert secret.text() == "ghp_1"
