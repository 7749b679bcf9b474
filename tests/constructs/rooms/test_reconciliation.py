"""The regular look at what events have missed."""

from __future__ import annotations

import json

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import Reconciliation

from ..templates import Template, environment, heard_by, rules_of


def test_reconciliation_runs_on_a_schedule(minimal: Template) -> None:
    assert "rate(2 minutes)" in heard_by(minimal, "reconcile_demand")
    given = environment(minimal, "reconcile_demand")
    assert given["RECONCILE_GRACE_SECONDS"] == "60"
    assert given["RERUN_LOST_JOBS"] == "off"
    assert json.loads(given["GITHUB_PERMISSIONS"])["actions"] == "read"


def test_reconciliation_can_be_set(everything: Template) -> None:
    assert "rate(5 minutes)" in heard_by(everything, "reconcile_demand")
    given = environment(everything, "reconcile_demand")
    assert given["RECONCILE_GRACE_SECONDS"] == "30"
    assert given["RERUN_LOST_JOBS"] == "on"
    assert json.loads(given["GITHUB_PERMISSIONS"])["actions"] == "write"


def test_reconciliation_hears_of_executions_that_ended_badly(minimal: Template) -> None:
    [rule] = rules_of(minimal, "reconcile_demand")
    assert rule["EventPattern"]["source"] == ["aws.states"]
    assert rule["EventPattern"]["detail"]["status"] == ["ABORTED", "TIMED_OUT"]


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"every": cdk.Duration.seconds(90)}, "is 90 seconds, .* have whole minutes"),
        ({"every": cdk.Duration.seconds(0)}, "whole minutes"),
        ({"grace": cdk.Duration.seconds(0)}, "is 0 seconds, use at least 1"),
    ],
)
def test_a_look_that_cannot_be_is_refused_with_the_remedy(
    props: dict[str, cdk.Duration], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Reconciliation(**props)
