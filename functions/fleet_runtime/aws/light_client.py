"""A light AWS client for the one function that answers while GitHub waits.

It calls three operations of three JSON services, so it needs no service models, no sessions and no
credential chain, which are most of boto3's start-up. Signing stays botocore's.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

# GitHub gives up after 10 s and Lambda ends the function after 9
_DEADLINE_SECONDS = 7.0
_ATTEMPT_SECONDS = 3.0
_ATTEMPTS = 3
_BACKOFF_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class AwsAccess:
    """Region, endpoint and credentials as Lambda hands them to a function.

    ``access_key``, ``secret_key`` and ``token`` are the names that botocore's signers read.
    """

    aws_region: str
    aws_access_key_id: str
    aws_secret_access_key: str = field(repr=False)
    aws_session_token: str = field(default="", repr=False)
    aws_endpoint_url: str = ""

    @property
    def access_key(self) -> str:
        """The id of the key."""
        return self.aws_access_key_id

    @property
    def secret_key(self) -> str:
        """The key."""
        return self.aws_secret_access_key

    @property
    def token(self) -> str | None:
        """The session's token; None for a key that is no session's."""
        return self.aws_session_token or None


class AwsError(Exception):
    """AWS did not do what it was asked.

    Attributes:
        code: AWS's error code, such as ``ResourceNotFoundException``; empty if it did not answer.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class _Service(NamedTuple):
    name: str
    target: str


_SECRETS_MANAGER = _Service(name="secretsmanager", target="secretsmanager")
_SSM = _Service(name="ssm", target="AmazonSSM")
_EVENTS = _Service(name="events", target="AWSEvents")


class EventBus:
    """Reads what deliveries are checked by, and puts events onto the fleet's bus."""

    def __init__(self, *, access: AwsAccess) -> None:
        self._access = access

    def secret(self, arn: str, *, stage: str) -> str | None:
        """Read a version of a secret.

        Args:
            arn: The secret.
            stage: ``AWSCURRENT`` or ``AWSPREVIOUS``.

        Returns:
            Its text without blanks around it; None if there is no such version.

        Raises:
            AwsError: if it cannot be read.
        """
        try:
            answer = self._call(
                _SECRETS_MANAGER, "GetSecretValue", {"SecretId": arn, "VersionStage": stage}
            )
        except AwsError as error:
            if error.code == "ResourceNotFoundException" and stage != "AWSCURRENT":
                return None
            raise
        return str(answer.get("SecretString", "")).strip()

    def parameter(self, name: str) -> str:
        """Read a parameter.

        Raises:
            AwsError: if it cannot be read.
        """
        answer = self._call(_SSM, "GetParameter", {"Name": name})
        return str(answer.get("Parameter", {}).get("Value", ""))

    def put(self, *, bus: str, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Put one event onto a bus.

        Raises:
            AwsError: if the bus did not take it; a 200 with a failed entry is no success.
        """
        entry = {
            "EventBusName": bus,
            "Source": source,
            "DetailType": detail_type,
            # not escaped to ASCII: an event has to stay small
            "Detail": json.dumps(detail, ensure_ascii=False, separators=(",", ":")),
        }
        answer = self._call(_EVENTS, "PutEvents", {"Entries": [entry]})
        if answer.get("FailedEntryCount"):
            failed = (answer.get("Entries") or [{}])[0]
            raise AwsError(
                f"the bus did not take the event: {failed.get('ErrorMessage', 'no message')}",
                code=str(failed.get("ErrorCode", "")),
            )

    def _call(self, service: _Service, operation: str, document: object) -> dict[str, Any]:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                status, body = self._send(service, operation, document)
            except (OSError, http.client.HTTPException) as error:
                failure = AwsError(f"{operation} got no answer: {type(error).__name__}: {error}")
            else:
                answer = _document(body)
                if status == 200:
                    return answer
                code = str(answer.get("__type", "")).rpartition("#")[2]
                # a signature error quotes the request it was computed from, session token included
                message = "" if "Signature" in code else answer.get("message", "no message")
                failure = AwsError(f"{operation} answered {status} {code}: {message}", code=code)
                if status < 500 and "Throttling" not in code:
                    raise failure
            if attempt == _ATTEMPTS or time.monotonic() + _ATTEMPT_SECONDS > deadline:
                raise failure
            time.sleep(_BACKOFF_SECONDS * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _send(self, service: _Service, operation: str, document: object) -> tuple[int, bytes]:
        url = self._access.aws_endpoint_url or _endpoint(service.name, self._access.aws_region)
        parts = urlsplit(url)
        if not parts.hostname:
            raise AwsError(f"AWS_ENDPOINT_URL is {url!r}, use an http or https URL")
        request = AWSRequest(
            method="POST",
            url=f"{parts.scheme}://{parts.netloc}/",
            data=json.dumps(document, ensure_ascii=False).encode(),
            headers={
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": f"{service.target}.{operation}",
            },
        )
        # all that the signer reads of credentials, without importing their providers
        credentials = cast("ReadOnlyCredentials", self._access)
        SigV4Auth(credentials, service.name, self._access.aws_region).add_auth(request)
        connect = (
            http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
        )
        connection = connect(parts.hostname, parts.port, timeout=_ATTEMPT_SECONDS)
        try:
            connection.request(
                "POST", "/", body=request.data, headers=dict(request.headers.items())
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _endpoint(service: str, region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{service}.{region}.{suffix}"


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
