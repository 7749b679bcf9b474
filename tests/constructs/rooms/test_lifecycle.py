"""The shipped state machine as it is deployed."""

from __future__ import annotations

import re

from ..templates import Template, of_type, statements_by_role


def test_execution_data_stays_out_of_the_log(minimal: Template) -> None:
    [machine] = of_type(minimal, "AWS::StepFunctions::StateMachine")
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False
    assert machine["LoggingConfiguration"]["Level"] == "ALL"


def test_every_placeholder_is_substituted_and_every_substitution_used(minimal: Template) -> None:
    [machine] = of_type(minimal, "AWS::StepFunctions::StateMachine")
    placeholders = set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"]))
    assert placeholders == set(machine["DefinitionSubstitutions"])


def test_job_time_defaults_to_githubs_own(minimal: Template) -> None:
    [machine] = of_type(minimal, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["RunnerTtlSeconds"] == str(6 * 3600)


def test_nothing_is_looked_for_where_nothing_is_built(organization: Template) -> None:
    [machine] = of_type(organization, "AWS::StepFunctions::StateMachine")
    assert machine["DefinitionSubstitutions"]["Building"] == "off"


def test_those_who_hear_of_a_runner_may_end_its_waits(minimal: Template) -> None:
    ending = {
        name: statement
        for name, statement in statements_by_role(minimal)
        if "states:SendTaskSuccess" in statement["Action"]
    }
    assert ending.keys() == {"DispatchEvent", "ReconcileDemand", "RunnerApi", "BuildImage"}
    for statement in ending.values():
        assert {a.partition(":Send")[0] for a in statement["Action"]} == {"states"}
        assert "LifecycleStateMachine" in statement["Resource"]["Ref"]
