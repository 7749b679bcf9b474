"""Who the fleet is at GitHub: today a personal access token kept in Secrets Manager."""

from __future__ import annotations

from fleet_runtime.aws import Client


class CredentialsError(Exception):
    """There is no token to use."""


class PersonalAccessToken:
    """A token read from its secret when first needed, and again after GitHub refused it."""

    def __init__(self, *, secrets_manager: Client, secret_arn: str) -> None:
        self._secrets_manager = secrets_manager
        self._secret_arn = secret_arn
        self._token: str | None = None

    def token(self) -> str:
        """Return the token; raises CredentialsError if the secret is empty."""
        if self._token is None:
            secret = self._secrets_manager.get_secret_value(SecretId=self._secret_arn)
            token = str(secret.get("SecretString", "")).strip()
            if not token:
                raise CredentialsError(
                    f"the secret {self._secret_arn} is empty, put the GitHub token into it"
                )
            if not token.isascii() or not token.isprintable():
                # http.client would quote the header's value, the token, in its error
                raise CredentialsError(
                    f"the secret {self._secret_arn} is no GitHub token, put one token of printable "
                    "characters into it"
                )
            self._token = token
        return self._token

    def forget(self) -> None:
        """Read the secret again next time: GitHub did not accept the token."""
        self._token = None
