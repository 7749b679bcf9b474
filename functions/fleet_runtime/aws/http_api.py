"""Requests and answers of API Gateway's HTTP APIs, payload format 2.0. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any


class UnreadableBodyError(Exception):
    """A body is marked as base64 and is not."""


class BodyTooLargeError(Exception):
    """A body has more bytes than anybody would send who means well."""


def header(event: Mapping[str, Any], name: str) -> str:
    """Return a header by its lower-case name, empty if it was not sent."""
    for key, value in (event.get("headers") or {}).items():
        if key.lower() == name:
            return str(value)
    return ""


def source_address(event: Mapping[str, Any]) -> str:
    """Return the address that a request came from: of the last proxy, if it came through any."""
    http = (event.get("requestContext") or {}).get("http") or {}
    return str(http.get("sourceIp", ""))


def check_size(event: Mapping[str, Any], *, largest: int) -> None:
    """Refuse a body that is too large, before it is copied, decoded or read.

    API Gateway lets 10 MB through ("Amazon API Gateway quotas").

    Args:
        event: The request.
        largest: Bytes.

    Raises:
        BodyTooLargeError: if it has more.
    """
    body = str(event.get("body") or "")
    if event.get("isBase64Encoded"):
        size = len(body) * 3 // 4 - body[-2:].count("=")
    else:
        # no character has more than four bytes: what is far too large is not encoded
        size = len(body) if len(body) > largest else len(body.encode("utf-8", "replace"))
    if size > largest:
        raise BodyTooLargeError(f"the body is over {largest} bytes")


def caller_arn(event: Mapping[str, Any]) -> str:
    """Return who signed the request, as IAM's authorizer found; empty if none stands before it."""
    authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
    return str((authorizer.get("iam") or {}).get("userArn") or "")


def raw_body(event: Mapping[str, Any]) -> bytes:
    """Return the body's bytes as the client sent them; raises UnreadableBodyError."""
    body = event.get("body") or ""
    try:
        if event.get("isBase64Encoded"):
            return base64.b64decode(body, validate=True)
        return str(body).encode()
    except ValueError as error:
        raise UnreadableBodyError("the body cannot be decoded") from error


def answer(
    status: int, document: Mapping[str, object], *, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Build a JSON answer."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", **(headers or {})},
        "body": json.dumps(document),
    }
