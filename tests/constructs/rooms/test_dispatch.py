"""What is done about each event: what the function is told, and whether it may."""

from __future__ import annotations

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import GitHub, RunnerFleet, RunnerLimits

from ..templates import Template, environment, heard_by, patterns_of, policy_of, rules_of

STARTING = ("dispatch_event", "reconcile_demand")


def test_it_hears_of_jobs_tasks_and_ends(minimal: Template) -> None:
    assert heard_by(minimal, "dispatch_event") == [
        "ECS Task State Change",
        "Step Functions Execution Status Change",
        "workflow_job",
    ]


def test_every_end_of_an_execution_is_told_once_with_a_dead_letter_queue(
    minimal: Template,
) -> None:
    told = [
        (handler, rule, one)
        for handler in STARTING
        for rule in rules_of(minimal, handler)
        for one in patterns_of(rule)
        if one["source"] == ["aws.states"]
    ]
    assert {handler: one["detail"]["status"] for handler, _, one in told} == {
        "dispatch_event": ["SUCCEEDED", "FAILED"],
        "reconcile_demand": ["ABORTED", "TIMED_OUT"],
    }
    for _, rule, _ in told:
        [target] = rule["Targets"]
        assert target["DeadLetterConfig"]
        assert "EventBusName" not in rule, "AWS's own events come on the default bus"


@pytest.mark.parametrize("handler", STARTING)
def test_limits_reach_those_who_start_runners(
    handler: str, minimal: Template, everything: Template
) -> None:
    given = environment(everything, handler)
    assert given["MAX_RUNNERS"] == "50"
    assert given["MAX_RUNNERS_PER_REPOSITORY"] == "10"
    assert given["DAILY_BUDGET_USD"] == "25.5"
    default = environment(minimal, handler)
    assert default["MAX_RUNNERS"] == "100"
    assert default["MAX_RUNNERS_PER_REPOSITORY"] == default["DAILY_BUDGET_USD"] == ""


def test_limits_may_be_parameters_of_the_stack(parameters: Template) -> None:
    given = environment(parameters, "dispatch_event")
    assert given["MAX_RUNNERS"] == {"Ref": "Most"}
    assert given["MAX_RUNNERS_PER_REPOSITORY"] == {"Ref": "Each"}
    assert given["DAILY_BUDGET_USD"] == {"Ref": "Usd"}


@pytest.mark.parametrize(("said", "kept"), [(None, 5), (10, 10)])
def test_no_repository_of_an_organization_takes_all_runners_unless_it_may(
    said: int | None, kept: int
) -> None:
    stack = cdk.Stack(cdk.App(), "Stack")
    fleet = RunnerFleet(
        stack,
        "Fleet",
        github=GitHub.organization("o"),
        limits=RunnerLimits(max_runners=10, max_runners_per_repository=said),
    )
    assert fleet.limits.max_runners_per_repository == kept


@pytest.mark.parametrize("handler", STARTING)
def test_those_who_see_a_runner_end_note_that_its_image_was_used(
    handler: str, minimal: Template
) -> None:
    role = "".join(word.capitalize() for word in handler.split("_")) + "Role"
    on_images = {
        action
        for action, resources in policy_of(minimal, role).items()
        if action.startswith("dynamodb:") and any("RegistryImages" in each for each in resources)
    }
    assert on_images == {"dynamodb:UpdateItem"}
    assert environment(minimal, handler)["IMAGE_TABLE"]


@pytest.mark.parametrize(
    ("prefix", "message"), [("Fleet_", "lower-case"), ("f" * 32, "up to 31 lower-case letters")]
)
def test_a_prefix_that_no_runner_can_have_is_refused(
    prefix: str, message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerFleet(stack, "Fleet", github=GitHub.repository("o/r"), runner_name_prefix=prefix)
