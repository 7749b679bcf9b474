"""Who registers runners, asks after them and takes them away: what each may do at GitHub."""

from __future__ import annotations

import json

import pytest

from ..templates import Template, environment, of_type, policy_of


@pytest.mark.parametrize(
    ("handler", "permissions"),
    [
        ("runner_api", {"administration": "write", "actions": "read"}),
        ("check_runner", {"administration": "read", "actions": "read"}),
        ("deregister_runner", {"administration": "write"}),
    ],
)
def test_each_may_do_at_github_what_its_work_takes(
    handler: str, permissions: dict[str, str], minimal: Template
) -> None:
    assert json.loads(environment(minimal, handler)["GITHUB_PERMISSIONS"]) == permissions


def test_the_runners_routes_are_the_claim_and_its_events(minimal: Template) -> None:
    routes = {route["RouteKey"] for route in of_type(minimal, "AWS::ApiGatewayV2::Route")}
    assert routes == {
        "POST /webhook",
        "POST /runners/{id}/claim",
        "POST /runners/{id}/events",
    }


def test_aws_says_who_claims_and_which_role_may(minimal: Template) -> None:
    kinds = {
        route["RouteKey"]: route["AuthorizationType"]
        for route in of_type(minimal, "AWS::ApiGatewayV2::Route")
    }
    assert kinds == {
        "POST /runners/{id}/claim": "AWS_IAM",
        "POST /runners/{id}/events": "NONE",
        "POST /webhook": "NONE",
    }
    role = of_type(minimal, "AWS::ECS::TaskDefinition")[0]["TaskRoleArn"]["Fn::GetAtt"][0]
    assert environment(minimal, "runner_api")["TASK_ROLE"] == {"Ref": role}


def test_whoever_is_asked_by_the_lifecycle_only_reads_the_row(minimal: Template) -> None:
    for role in ("CheckRunnerRole", "DeregisterRunnerRole"):
        actions = {a for a in policy_of(minimal, role) if a.startswith("dynamodb:")}
        assert actions == {"dynamodb:GetItem"}
