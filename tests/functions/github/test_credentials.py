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
