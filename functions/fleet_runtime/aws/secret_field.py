"""A secret's value: all of its text, or one field of the JSON that it is. Pure."""

from __future__ import annotations

import json


class SecretFieldError(ValueError):
    """The secret does not have the field; the message has the remedy, and nothing of the secret."""


def read_value(text: str, *, field: str, arn: str) -> str:
    """Return what a secret's text has to tell, without blanks around it.

    Args:
        text: The text.
        field: Which field of the JSON object that it is; empty if it is no JSON.
        arn: The secret, for the error.

    Raises:
        SecretFieldError: if it has no such field with a text in it.
    """
    if not field:
        return text.strip()
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    value = document.get(field) if isinstance(document, dict) else None
    if not isinstance(value, str):
        what = f"no field {field!r} with a text" if isinstance(document, dict) else "no JSON object"
        raise SecretFieldError(
            f'the secret {arn} has {what}, write it as {{"{field}": "…"}} or name another field'
        )
    return value.strip()
