"""What proves that somebody is a GitHub App: its private key, and the web tokens signed with it.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from fleet_runtime.aws.client import Client
from fleet_runtime.github.credentials import CredentialsError, Secret

_BACK_SECONDS = 60
"""GitHub's documentation has tokens begin a minute ago, for clocks that differ."""
_LIFE_SECONDS = 540
"""GitHub takes tokens that end within ten minutes by its own clock."""
_REFRESH_SECONDS = 480


class Key(Protocol):
    """An RSA private key."""

    def sign(self, message: bytes) -> bytes:
        """Sign with RSASSA-PKCS1-v1_5 and SHA-256; raises CredentialsError."""

    def forget(self) -> None:
        """Read the key again next time."""


class PemKey:
    """A key that a secret holds as GitHub hands it out, in PEM."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def sign(self, message: bytes) -> bytes:
        """Sign with it; raises CredentialsError if the secret holds no RSA key."""
        # Imported only here: it takes 0.1 s, and keys in KMS need none of it. It comes with the
        # Powertools layer, whose build (layer_v3/layer/layer_stack.py: include_extras) installs
        # aws-lambda-powertools[all], which requires it.
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

        try:
            key = serialization.load_pem_private_key(self._secret.text().encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, rsa.RSAPrivateKey):
            self._secret.forget()
            # without the library's error, which had the key in its hands
            raise CredentialsError(
                f"the secret {self._secret.arn} holds no RSA private key, put the App's .pem file "
                "into it as GitHub gave it"
            ) from None
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def forget(self) -> None:
        """Read the secret again next time."""
        self._secret.forget()


class KmsKey:
    """A key that was imported into KMS and never leaves it."""

    def __init__(self, *, kms: Client, key_id: str) -> None:
        self._kms = kms
        self._key_id = key_id

    def sign(self, message: bytes) -> bytes:
        """Have KMS sign; raises CredentialsError if the key cannot."""
        exceptions = self._kms.exceptions
        try:
            answer = self._kms.sign(
                KeyId=self._key_id,
                Message=message,
                MessageType="RAW",
                SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
            )
        except (
            exceptions.DisabledException,
            exceptions.InvalidKeyUsageException,
            exceptions.KMSInvalidStateException,
            exceptions.NotFoundException,
        ) as error:
            raise CredentialsError(
                f"KMS cannot sign with {self._key_id} ({error}), import the App's private key into "
                "an RSA_2048 key for SIGN_VERIFY and enable it"
            ) from error
        signature: bytes = answer["Signature"]
        return signature

    def forget(self) -> None:
        """Do nothing: KMS is asked each time."""


class AppToken:
    """The credential of an App itself: a web token of ten minutes.

    Args:
        app_id: The App's id, or its client id.
        key: Its private key.
        clock: Epoch seconds. Default: the system's.
    """

    def __init__(self, *, app_id: str, key: Key, clock: Callable[[], float] = time.time) -> None:
        self.app_id = app_id
        self.who = f"app-{app_id}-itself"
        self._key = key
        self._clock = clock
        self._token = ""
        self._refresh_at = 0.0

    def token(self) -> str:
        """Return a web token; raises CredentialsError."""
        now = self._clock()
        if now >= self._refresh_at:
            self._token = self._sign(int(now))
            self._refresh_at = now + _REFRESH_SECONDS
        return self._token

    def renew(self) -> None:
        """Sign a new one next time, with a key read again."""
        self._key.forget()
        self._refresh_at = 0.0

    def _sign(self, now: int) -> str:
        claims = {"iat": now - _BACK_SECONDS, "exp": now + _LIFE_SECONDS, "iss": self.app_id}
        message = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}"
        return f"{message}.{_base64url(self._key.sign(message.encode()))}"


def _part(document: Mapping[str, object]) -> str:
    return _base64url(json.dumps(document, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
