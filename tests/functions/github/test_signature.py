"""GitHub's webhook signature, by GitHub's own example."""

from __future__ import annotations

import hmac

from fleet_runtime.github.signature import is_signed


# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries: its own example
def test_githubs_own_signature_example() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    secret = "It's a Secret to Everybody"
    assert is_signed(b"Hello, World!", signature=signature, secret=secret)
    assert not is_signed(b"Hello, World", signature=signature, secret=secret)
    assert not is_signed(b"Hello, World!", signature=signature.upper(), secret=secret)
    unkeyed = hmac.new(b"", b"x", "sha256").hexdigest()
    assert not is_signed(b"x", signature=f"sha256={unkeyed}", secret="")
