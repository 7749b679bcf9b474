"""Which jobs are a fleet's: what can be given."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest

from cdk_runner_fleet import GitHub, RunnerFleet
from cdk_runner_fleet.values.labels import LabelRules


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"required_labels": ["class:x"]}, "label 'class:x' of required_labels cannot be had"),
        ({"required_labels": ["a,b"]}, "label 'a,b' of required_labels is none that a job"),
        ({"single_labels": {"a b,": "small"}}, "label 'a b,' of single_labels is none"),
        ({"single_labels": {"Self-Hosted": "small"}}, "names self-hosted, which is every job's"),
    ],
)
def test_labels_that_no_job_could_have_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelRules(**given)


def test_labels_of_another_kind_are_refused() -> None:
    given: Any = "prod"
    with pytest.raises(TypeError, match="required_labels is a str, give a list, each a str"):
        LabelRules(required_labels=given)


def test_a_single_label_stands_for_a_class_that_there_is(stack: cdk.Stack) -> None:
    with pytest.raises(ValueError, match=r"'dependabot' the class 'huge', which is none of"):
        github = GitHub.repository("o/r", single_labels={"dependabot": "huge"})
        RunnerFleet(stack, "F", github=github)
