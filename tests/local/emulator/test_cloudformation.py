"""What CloudFormation refuses in an account that is new."""

from __future__ import annotations

from typing import Any

import pytest
from ministack.services import ecs

from cdk_runner_fleet.local.emulator.cloudformation import _create_cluster


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
