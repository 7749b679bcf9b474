"""What becomes of a fleet's data when its stack is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from .fleets import minimal as minimal_fleet_in
from .templates import Template, of_type, template_of

README = Path(__file__).parents[2] / "README.md"
ROWS = {
    "AWS::DynamoDB::GlobalTable": "the tables of runners and images, and the ledger",
    "AWS::ECR::Repository": "the repository of built images",
    "AWS::Events::Archive": "the archive of events",
    "AWS::Logs::LogGroup": "the logs of",
    "AWS::SQS::Queue": "the queue of failed events",
    "AWS::SSM::Parameter": "the parameter of the classes",
    "AWS::SecretsManager::Secret": "the secrets: the webhook's, and the token's",
    "AWS::StepFunctions::StateMachine": "the histories of its executions",
}
"""Where README's table speaks of each type that holds something."""


def _resources(*templates: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    for template in templates:
        yield from template["Resources"].items()


def test_the_readme_says_what_becomes_of_all_that_holds_something(minimal: Template) -> None:
    # aws-cdk gives a policy to whatever has a state, or is told to
    with_policy = {one["Type"] for _, one in _resources(minimal) if "DeletionPolicy" in one}
    assert with_policy | {"AWS::Events::Archive", "AWS::SSM::Parameter"} == set(ROWS)
    section = README.read_text("utf-8").split("## Removing a fleet")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    for kind, words in ROWS.items():
        assert [row for row in rows if words in row], kind


def test_all_of_a_fleet_goes_with_its_stack(minimal: Template, everything: Template) -> None:
    kept = [
        logical_id
        for logical_id, one in _resources(minimal, everything)
        if logical_id.startswith(("Fleet", "Image"))
        and {one.get("DeletionPolicy"), one.get("UpdateReplacePolicy")} - {None, "Delete"}
    ]
    assert not kept
    # CloudFormation refuses to delete one with images in it
    assert [one["EmptyOnDelete"] for one in of_type(minimal, "AWS::ECR::Repository")] == [True]
    assert not [
        one
        for one in of_type(minimal, "AWS::DynamoDB::GlobalTable")
        if any(replica.get("DeletionProtectionEnabled") for replica in one["Replicas"])
    ]


def test_what_is_to_be_kept_can_be_said_as_the_readme_does(stack: cdk.Stack) -> None:
    fleet = minimal_fleet_in(stack)
    kinds = ["AWS::DynamoDB::GlobalTable", "AWS::Logs::LogGroup"]
    cdk.RemovalPolicies.of(fleet).retain(apply_to_resource_types=kinds)
    kept = [
        one["Type"]
        for _, one in _resources(template_of(stack))
        if (one.get("DeletionPolicy"), one.get("UpdateReplacePolicy")) == ("Retain", "Retain")
    ]
    assert set(kept) == set(kinds)
    assert kept.count("AWS::DynamoDB::GlobalTable") == 3
    assert '.retain(apply_to_resource_types=["AWS::DynamoDB::GlobalTable", "AWS::Logs::L' in (
        README.read_text("utf-8")
    )
