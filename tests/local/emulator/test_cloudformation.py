"""What CloudFormation refuses, and when."""

from __future__ import annotations

from typing import Any

import pytest
from ministack.services import apigateway, ecs

from cdk_runner_fleet.local.emulator.cloudformation import _create_cluster, _create_stage


def made(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
    return f"{stack_name}-{logical_id}", props


def test_the_first_cluster_cannot_have_providers_in_the_same_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ecs, "_clusters", {})
    providers = {"CapacityProviders": ["FARGATE"]}
    with pytest.raises(ValueError, match="Unable to assume the service linked role"):
        _create_cluster(made, "C", providers, "S")
    assert _create_cluster(made, "C", {}, "S") == ("S-C", {})
    monkeypatch.setattr(ecs, "_clusters", {"S-C": {}})
    assert _create_cluster(made, "D", providers, "S") == ("S-D", providers)


def test_a_stage_names_no_route_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apigateway, "_routes", {})
    stage = {"ApiId": "a", "RouteSettings": {"POST /webhook": {"ThrottlingRateLimit": 1}}}
    with pytest.raises(ValueError, match="Unable to find Route by key POST /webhook within"):
        _create_stage(made, "Stage", stage, "S")
    monkeypatch.setattr(apigateway, "_routes", {"a": {"r": {"routeKey": "POST /webhook"}}})
    assert _create_stage(made, "Stage", stage, "S") == ("S-Stage", stage)
    assert _create_stage(made, "Stage", {"ApiId": "b"}, "S") == ("S-Stage", {"ApiId": "b"})
