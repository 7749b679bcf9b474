"""Where GitHub's deliveries come in."""

from __future__ import annotations

import pytest

from cdk_runner_fleet import Webhook

from ..templates import Template, as_list, environment, of_type, statements, statements_by_role


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


def test_githubs_networks_are_noted_by_one_function_and_read_by_the_other(
    encrypted: Template, minimal: Template
) -> None:
    [parameter] = [n for n in encrypted["Resources"] if n.startswith("FleetIntakeHookNetworks")]
    assert encrypted["Resources"][parameter]["Properties"]["Value"] == "[]"
    for handler in ("receive_webhook", "watch_release"):
        assert environment(encrypted, handler)["HOOK_NETWORKS_PARAM"] == {"Ref": parameter}
    may = {
        role: as_list(statement["Action"])
        for role, statement in statements_by_role(encrypted)
        if parameter in str(statement["Resource"])
    }
    assert may == {
        "ReceiveWebhook": ["ssm:GetParameter"],
        "WatchRelease": ["ssm:GetParameter", "ssm:PutParameter"],
    }
    assert not any("HookNetworks" in name for name in minimal["Resources"])


@pytest.mark.parametrize("url", ["https://ghes.example.com/api/v3", "https://api.acme.ghe.com"])
def test_networks_that_nobody_lists_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^only_from_github is on .* name those .* allowed_cidrs"):
        Webhook(only_from_github=True).check_api(url)
    Webhook(only_from_github=True).check_api("https://api.github.com/")
    Webhook().check_api(url)
