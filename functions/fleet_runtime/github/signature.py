"""GitHub's webhook signature. Pure.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hmac
from hashlib import sha256


def is_signed(body: bytes, *, signature: str, secret: str) -> bool:
    """Check ``X-Hub-Signature-256`` over the raw bytes of a delivery, in constant time.

    Args:
        body: The bytes as they arrived: re-serialised JSON has another signature.
        signature: The header's value, ``sha256=`` and 64 hex digits.
        secret: The webhook's secret. An empty one signs nothing.
    """
    if not secret:
        return False
    expected = "sha256=" + hmac.new(secret.encode(), body, sha256).hexdigest()
    # as bytes: compare_digest refuses text that is not ASCII, and headers can hold anything
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
