"""What the fleet promises, whatever room keeps it."""

from __future__ import annotations

from .templates import Template, of_type


def test_secrets_are_named_never_held(minimal: Template) -> None:
    for function in of_type(minimal, "AWS::Lambda::Function"):
        for key, value in function["Environment"]["Variables"].items():
            if "SECRET" in key and key != "WEBHOOK_SECRET_FIELD":  # which is a field's name
                assert key.endswith("_ARN"), key
                assert "Ref" in value, key
