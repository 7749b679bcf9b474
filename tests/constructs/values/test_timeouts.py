"""How long a waiting state may last."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import Duration

from cdk_runner_fleet import GitHub, LifecycleTimeouts, Reconciliation, RunnerFleet

from ..templates import environment, of_type, synthesize


def test_impossible_timeouts_are_refused() -> None:
    with pytest.raises(ValueError, match="432000"):
        LifecycleTimeouts(job=Duration.days(6))


def number(stack: cdk.Stack, name: str) -> float:
    return cdk.CfnParameter(stack, name, type="Number").value_as_number


def test_durations_of_parameters_are_known_at_deployment() -> None:
    def fleet(stack: cdk.Stack) -> RunnerFleet:
        given = {name: Duration.seconds(number(stack, name)) for name in ("Job", "Boot", "Grace")}
        build = Duration.seconds(number(stack, "Build"))
        return RunnerFleet(
            stack,
            "Fleet",
            github=GitHub.repository("o/r"),
            timeouts=LifecycleTimeouts(job=given["Job"], boot=given["Boot"], image_build=build),
            reconciliation=Reconciliation(
                every=Duration.minutes(number(stack, "Every")), grace=given["Grace"]
            ),
        )

    template = synthesize(fleet)
    [machine] = of_type(template, "AWS::StepFunctions::StateMachine")
    values = machine["DefinitionSubstitutions"]
    assert values["RunnerTtlSeconds"] == {"Ref": "Job"}
    assert values["BootTimeoutSeconds"] == {"Ref": "Boot"}
    assert values["ImageBuildTimeoutSeconds"] == {"Ref": "Build"}
    assert values["IdleTimeoutSeconds"] == "600"
    settings = environment(template, "reconcile_demand")
    assert settings["RECONCILE_GRACE_SECONDS"] == {"Ref": "Grace"}
    assert environment(template, "build_image")["IMAGE_BUILD_TIMEOUT_SECONDS"] == {"Ref": "Build"}
    rates = [rule.get("ScheduleExpression") for rule in of_type(template, "AWS::Events::Rule")]
    assert {"Fn::Join": ["", ["rate(", {"Ref": "Every"}, " minutes)"]]} in rates
    assert "-1.8" not in str(template)
    assert "-188" not in str(template)


def test_a_token_that_cannot_be_converted_is_refused_with_the_remedy(stack: cdk.Stack) -> None:
    minutes = Duration.minutes(number(stack, "Minutes"))
    with pytest.raises(ValueError, match=r"idle timeout is a token in minutes, .*seconds\(…\)"):
        LifecycleTimeouts(idle=minutes)
    with pytest.raises(ValueError, match="grace is a token in minutes"):
        Reconciliation(grace=minutes)


def test_what_is_no_duration_is_refused() -> None:
    given: Any = 300
    with pytest.raises(TypeError, match=r"boot is a int, give a Duration, such as Duration\.min"):
        LifecycleTimeouts(boot=given)
