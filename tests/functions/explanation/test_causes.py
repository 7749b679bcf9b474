"""Every error that a row can have has its meaning and remedy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fleet_runtime.explanation.causes import CAUSES, cause_of, is_permanent

ROOT = Path(__file__).parents[3]
MACHINE = json.loads((ROOT / "statemachines" / "runner_lifecycle.asl.json").read_text())
SOURCES = [
    *(ROOT / "functions").rglob("*.py"),
    *(ROOT / "cdk_runner_fleet" / "cli").glob("*.py"),
    ROOT / "statemachines" / "runner_lifecycle.asl.json",
]
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
RESERVED = {
    "States.DataLimitExceeded",
    "States.HeartbeatTimeout",
    "States.NoChoiceMatched",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.Runtime",
    "States.TaskFailed",
    "States.Timeout",
}


def written() -> set[str]:
    """Names of errors in every source that writes one."""
    found = {
        name
        for path in SOURCES
        if path.name != "causes.py"
        for name in re.findall(
            r"""["']((?:Runner|Image|Job)\.[A-Z][A-Za-z]+)["']""", path.read_text()
        )
    }
    assert {"Job.CannotBeServed", "Runner.LaunchFailed", "Image.BuildFailed"} <= found
    return found


def test_every_error_that_is_written_is_in_the_table() -> None:
    assert written() <= set(CAUSES)


def test_the_table_has_no_error_that_nothing_writes() -> None:
    passed_on = {name.replace("States.", "Runner.") for name in RESERVED}
    assert set(CAUSES) == written() | passed_on


def test_the_machine_passes_the_reserved_errors_on_by_these_names() -> None:
    text = json.dumps(MACHINE)
    renamed = "$replace($failure.Error, 'States.', 'Runner.')"
    assert text.count(renamed) == text.count("$failure.Error") > 0
    # a map or a parallel state would have errors that the table does not know
    assert {state["Type"] for state in MACHINE["States"].values()} <= {
        "Task",
        "Choice",
        "Wait",
        "Succeed",
        "Fail",
        "Pass",
    }


def test_each_says_what_happened_and_what_to_do() -> None:
    for name, cause in CAUSES.items():
        assert not cause.title.endswith("."), name
        assert cause.remedy.startswith(("Author: ", "Operator: ", "Nothing: ")), name
        assert cause.remedy.endswith("."), name


def test_what_another_runner_would_meet_again_is_permanent() -> None:
    assert {name for name in CAUSES if is_permanent(name)} == {
        "Job.CannotBeServed",
        "Runner.LaunchFailed",
        "Runner.RegistrationRefused",
        "Runner.CapabilityMissing",
        "Runner.VersionRetired",
        "Image.BuildFailed",
        "Image.TooMany",
        "Image.BuildNotStarted",
        "Image.BuildTimeout",
    }


@pytest.mark.parametrize("name", ["DynamoDb.DynamoDbException", "Ecs.EcsException", "Lambda.Any"])
def test_a_services_own_error_passes(name: str) -> None:
    assert "AWS" in cause_of(name).title
    assert not is_permanent(name)


@pytest.mark.parametrize("name", ["", "Exotic", "Runner.NeverHeardOf"])
def test_an_unknown_error_is_said_to_be_so(name: str) -> None:
    assert "does not know" in cause_of(name).title
    assert not is_permanent(name)


def services() -> set[str]:
    """The services whose errors a state of the machine can end with."""
    tasks: list[dict[str, Any]] = [
        state for state in MACHINE["States"].values() if state["Type"] == "Task"
    ]
    caught = {
        name.partition(".")[0]
        for state in tasks
        for rule in (*state.get("Retry", []), *state.get("Catch", []))
        for name in rule["ErrorEquals"]
        if "Exception" in name
    }
    assert caught
    return caught


def test_every_service_that_the_machine_calls_is_known() -> None:
    for service in services():
        assert "AWS" in cause_of(f"{service}.SomeException").title, service
