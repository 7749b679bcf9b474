"""Requests and answers of API Gateway's HTTP APIs, payload format 2.0. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any


class UnreadableBodyError(Exception):
    """A body is marked as base64 and is not."""


def header(event: Mapping[str, Any], name: str) -> str:
    """Return a header by its lower-case name, empty if it was not sent."""
    for key, value in (event.get("headers") or {}).items():
        if key.lower() == name:
            return str(value)
    return ""


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
