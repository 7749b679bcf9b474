"""Who the fleet is at GitHub: a personal access token, or GitHub Apps."""

from __future__ import annotations

from typing import Protocol

from fleet_runtime.aws.client import Client
from fleet_runtime.aws.secret_field import SecretFieldError, read_value
from fleet_runtime.github.message import GitHubRefused


class CredentialsError(GitHubRefused):
    """There is no credential to use; the message has the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=0)


class Credential(Protocol):
    """Somebody that GitHub knows and counts the requests of."""

    @property
    def who(self) -> str:
        """A name for logs and metrics."""

    def token(self) -> str:
        """Return what to authorize a request with.

        Raises:
            GitHubError: if there is none.
            LimitReachedError: if GitHub gives none now.
        """

    def renew(self) -> None:
        """Get a new one next time: GitHub did not accept the last."""


class Secret:
    """A text in Secrets Manager, read when first needed.

    Args:
        secrets_manager: A client.
        secret_arn: The secret.
        field: Which field of it, where it is JSON; empty for all of it.
    """

    def __init__(self, *, secrets_manager: Client, secret_arn: str, field: str = "") -> None:
        self._secrets_manager = secrets_manager
        self._field = field
        self.arn = secret_arn
        self._text: str | None = None

    def text(self) -> str:
        """Return it without blanks around it; raises CredentialsError without its field."""
        if self._text is None:
            secret = self._secrets_manager.get_secret_value(SecretId=self.arn)
            given = str(secret.get("SecretString", ""))
            try:
                self._text = read_value(given, field=self._field, arn=self.arn)
            except SecretFieldError as error:
                raise CredentialsError(str(error)) from None
        return self._text

    def forget(self) -> None:
        """Read it again next time."""
        self._text = None


class PersonalAccessToken:
    """A token read from its secret when first needed, and again after GitHub refused it."""

    who = "token"

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def token(self) -> str:
        """Return the token; raises CredentialsError if the secret holds none."""
        token = self._secret.text()
        # http.client would quote a header's value that it does not take, the token, in its error
        fault = "empty" if not token else "no GitHub token"
        if not token or not token.isascii() or not token.isprintable():
            self._secret.forget()
            raise CredentialsError(
                f"the secret {self._secret.arn} is {fault}, put the GitHub token into it"
            )
        return token

    def renew(self) -> None:
        """Read the secret again next time."""
        self._secret.forget()
