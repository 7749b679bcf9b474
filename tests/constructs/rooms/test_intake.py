"""Where GitHub's deliveries come in."""

from __future__ import annotations

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda as lambda_

from cdk_runner_fleet import RunnerFleet
from cdk_runner_fleet._function import FunctionOptions
from cdk_runner_fleet.rooms.intake import WebhookIntake

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
def test_a_network_that_is_none_is_refused(
    minimal_fleet: RunnerFleet, stack: cdk.Stack, cidr: str
) -> None:
    with pytest.raises(ValueError, match=r"webhook_allowed_cidrs has .* use CIDR blocks such as"):
        WebhookIntake(
            stack,
            "Intake",
            api=minimal_fleet.api,
            bus=minimal_fleet.bus,
            serving="repos/o/r",
            label_rules=minimal_fleet.label_rules,
            runner_name_prefix="fleet",
            options=FunctionOptions(tracing=lambda_.Tracing.DISABLED, powertools_layer=None),
            allowed_cidrs=[cidr],
        )
