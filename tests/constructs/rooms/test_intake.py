"""Where GitHub's deliveries come in."""

from __future__ import annotations

import pytest

from cdk_runner_fleet import Webhook

from ..templates import Template, as_list, environment, of_type, statements


def test_the_webhooks_secret_is_read_by_whoever_checks_signatures_alone(minimal: Template) -> None:
    [hook] = [n for n in minimal["Resources"] if n.startswith("FleetIntakeSecret")]
    assert environment(minimal, "receive_webhook")["WEBHOOK_SECRET_ARN"] == {"Ref": hook}
    readers = [s for s in statements(minimal) if {"Ref": hook} in as_list(s["Resource"])]
    assert len(readers) == 1


def test_github_waits_ten_seconds_for_a_function_without_a_layer(minimal: Template) -> None:
    [function] = [
        each
        for each in of_type(minimal, "AWS::Lambda::Function")
        if each["Handler"] == "receive_webhook.handler"
    ]
    assert function["Timeout"] < 10
    assert "Layers" not in function


@pytest.mark.parametrize("cidr", ["192.30.252.1/22", "github.com", "", "300.0.0.0/8", "::/129"])
def test_a_network_that_is_none_is_refused(cidr: str) -> None:
    with pytest.raises(ValueError, match=r"^allowed_cidrs has .* use CIDR blocks such as"):
        Webhook(allowed_cidrs=[cidr])
