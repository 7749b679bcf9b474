"""The URL that GitHub and the runners call: what it lets through, and to whom."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigatewayv2 as apigateway

from cdk_runner_fleet import GitHub, RunnerFleet, Webhook

from ..templates import Template, environment, of_type

BEHIND_THE_API = {"receive_webhook.handler", "runner_api.handler"}


def _stage(template: Template) -> dict[str, Any]:
    [stage] = [
        each
        for each in template["Resources"].values()
        if each["Type"] == "AWS::ApiGatewayV2::Stage"
    ]
    return stage


def test_each_route_has_a_throttle_of_its_own(minimal: Template) -> None:
    routes = {each["RouteKey"] for each in of_type(minimal, "AWS::ApiGatewayV2::Route")}
    throttles = _stage(minimal)["Properties"]["RouteSettings"]
    assert "POST /webhook" in routes
    assert set(throttles) == routes
    for throttle in throttles.values():
        assert 0 < throttle["ThrottlingRateLimit"] <= throttle["ThrottlingBurstLimit"]
    # 500 runs in ten seconds, each with a job or more
    assert throttles["POST /webhook"]["ThrottlingBurstLimit"] >= 500


def test_a_stage_comes_after_the_routes_that_it_names(minimal: Template) -> None:
    """API Gateway: Unable to find Route by key … within the provided RouteSettings."""
    named = {
        name
        for name, each in minimal["Resources"].items()
        if each["Type"] == "AWS::ApiGatewayV2::Route"
    }
    assert named <= set(_stage(minimal)["DependsOn"])


def _reserved(template: Template) -> dict[str, object]:
    return {
        each["Handler"]: each["ReservedConcurrentExecutions"]
        for each in of_type(template, "AWS::Lambda::Function")
        if "ReservedConcurrentExecutions" in each
    }


def test_what_strangers_can_call_has_its_own_share_of_the_accounts_concurrency(
    everything: Template,
) -> None:
    assert _reserved(everything) == dict.fromkeys(BEHIND_THE_API, 50)


def test_nothing_is_reserved_where_lambda_might_refuse_the_deployment(minimal: Template) -> None:
    assert _reserved(minimal) == {}


@pytest.mark.parametrize("value", [0, -1])
def test_a_concurrency_that_runs_nothing_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="Lambda would run nothing: use 1 or more"):
        Webhook(reserved_concurrency=value)


def test_the_networks_that_deliveries_may_come_from_reach_the_function(
    minimal: Template, everything: Template
) -> None:
    assert environment(minimal, "receive_webhook")["WEBHOOK_ALLOWED_CIDRS"] == "[]"
    named = environment(everything, "receive_webhook")["WEBHOOK_ALLOWED_CIDRS"]
    assert named == '["192.30.252.0/22","2a0a:a440::/29"]'


def test_a_network_may_be_known_at_deployment_only(stack: cdk.Stack) -> None:
    parameter = cdk.CfnParameter(stack, "Cidr").value_as_string
    webhook = Webhook(allowed_cidrs=[parameter])
    RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), webhook=webhook)


def test_a_domain_leads_to_one_fleet(stack: cdk.Stack) -> None:
    domain = apigateway.DomainName.from_domain_name_attributes(
        stack,
        "Domain",
        name="ci.example.com",
        regional_domain_name="d",
        regional_hosted_zone_id="z",
    )
    webhook = Webhook(domain_name=domain)
    RunnerFleet(stack, "One", github=GitHub.repository("o/one"), webhook=webhook)
    with pytest.raises(ValueError, match=r"^domain_name Test/Domain is Test/One/Platform/Api's al"):
        RunnerFleet(stack, "Other", github=GitHub.repository("o/other"), webhook=webhook)


def test_github_may_call_a_domain_and_runners_call_what_their_claims_are_signed_for(
    everything: Template,
) -> None:
    [api] = [
        n for n, one in everything["Resources"].items() if one["Type"] == "AWS::ApiGatewayV2::Api"
    ]
    [mapping] = of_type(everything, "AWS::ApiGatewayV2::ApiMapping")
    assert mapping["DomainName"] == "runners.example.com"
    assert mapping["ApiId"] == {"Ref": api}
    assert "ApiMappingKey" not in mapping
    looked_at = environment(everything, "reconcile_demand")["WEBHOOK_URL"]
    assert looked_at == "https://runners.example.com/webhook"
    [machine] = of_type(everything, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["RunnerApiUrl"] == {
        "Fn::GetAtt": [api, "ApiEndpoint"]
    }
