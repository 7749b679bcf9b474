"""Laws that hold over the shipped file, whatever its states are."""

from __future__ import annotations

import copy
import json
import random
import re
import runpy
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser

from cdk_runner_fleet.local.emulator.expressions import evaluate
from tests.local.emulator.test_jsonata_law import VALUES
from tests.reference_jsonata import ENVIRONMENT, Case, differences, refusals

State = dict[str, Any]
ROOT = Path(__file__).parents[2]
STOP_BRANCH = ["StopFailedTask", "DeregisterRunner", "RecordFailed", "FailRunner"]


def tasks(machine: State) -> Iterator[tuple[str, State]]:
    return ((n, s) for n, s in machine["States"].items() if s["Type"] == "Task")


def targets(state: State) -> set[str]:
    found = {state[key] for key in ("Next", "Default") if key in state}
    return found | {rule["Next"] for key in ("Choices", "Catch") for rule in state.get(key, [])}


def reachable(machine: State, start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(targets(machine["States"][name]))
    return seen


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)
    elif isinstance(value, str):
        yield value


def test_every_state_is_a_verb_phrase_with_a_comment(machine: State) -> None:
    for name, state in machine["States"].items():
        assert re.fullmatch(r"(?:[A-Z][a-z]+){2,}", name), name
        assert len(state["Comment"]) > 20, name


def test_every_task_has_a_timeout(machine: State) -> None:
    assert {name for name, state in tasks(machine) if "TimeoutSeconds" not in state} == set()


def test_every_task_catches_everything(machine: State) -> None:
    for name, state in tasks(machine):
        assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], name


def test_every_catch_reaches_an_end(machine: State) -> None:
    ends = {"FailRunner", "RecordOffline", "EndQuietly"}
    for name, state in tasks(machine):
        for catch in state["Catch"]:
            assert reachable(machine, catch["Next"]) & ends, (name, catch)


def test_whatever_goes_wrong_reaches_the_stop_branch(machine: State) -> None:
    without_a_task = {"LaunchTask", "AwaitCapacity", "FindImage", "StartBuild", "AwaitBuild"}
    for name, state in tasks(machine):
        if name in {"RecordRunner", *STOP_BRANCH}:
            continue
        end = reachable(machine, state["Catch"][-1]["Next"])
        assert ("DeregisterRunner" if name in without_a_task else "StopFailedTask") in end, name


def test_the_stop_branch_goes_on_whatever_fails_in_it(machine: State) -> None:
    for name, following in pairwise(STOP_BRANCH):
        state = machine["States"][name]
        assert state["Next"] == following
        assert state["Catch"][-1]["Next"] == following


def test_every_state_is_reachable_and_every_target_exists(machine: State) -> None:
    assert reachable(machine, machine["StartAt"]) == set(machine["States"])


def test_every_token_wait_is_one_conditional_write_that_stores_the_token(machine: State) -> None:
    waits = {n: s for n, s in tasks(machine) if s["Resource"].endswith(".waitForTaskToken")}
    assert set(waits) == {"AwaitCapacity", "AwaitBuild", "WaitForRunner", "WaitForJob", "RunJob"}
    for name, state in waits.items():
        arguments = state["Arguments"]
        assert "task_token = :token" in arguments["UpdateExpression"], name
        token = arguments["ExpressionAttributeValues"][":token"]
        assert token == {"S": "{% $states.context.Task.Token %}"}, name
        assert "ConditionExpression" in arguments, name
        assert "DynamoDb.ConditionalCheckFailedException" in state["Catch"][0]["ErrorEquals"]


def test_calls_of_one_kind_retry_alike(machine: State) -> None:
    kinds: dict[str, dict[str, str]] = {}
    for name, state in tasks(machine):
        if name != "StopFailedTask":  # the last stop, which retries whatever happens
            kinds.setdefault(_kind(state), {})[name] = json.dumps(_service_retry(state))
    assert set(kinds) == {"dynamodb", "lambda:invoke", "ecs:runTask", "ecs:stopTask"}
    for rules in kinds.values():
        assert len(set(rules.values())) == 1, rules


def test_beyond_its_service_a_call_retries_what_the_fleet_raises(machine: State) -> None:
    for name, state in tasks(machine):
        for rule in state["Retry"][1:]:
            own = all("." not in error for error in rule["ErrorEquals"])
            assert own or name == "StopFailedTask", name


def _kind(state: State) -> str:
    service, action = state["Resource"].split(":::")[1].removeprefix("aws-sdk:").split(":")
    return "dynamodb" if service == "dynamodb" else f"{service}:{action}"


def _service_retry(state: State) -> State:
    """How the errors of the service itself are retried, named as DynamoDB's SDK names them."""
    rule: State = state["Retry"][0]
    if "aws-sdk" in state["Resource"]:
        return rule
    names = {"DynamoDB.AmazonDynamoDBException": "DynamoDb.DynamoDbException"}
    renamed = [names.get(e, re.sub("^DynamoDB", "DynamoDb", e)) for e in rule["ErrorEquals"]]
    return rule | {"ErrorEquals": renamed}


def test_errors_are_named_as_the_integration_names_them(machine: State) -> None:
    """An SDK integration says DynamoDb where the optimized one says DynamoDB."""
    for name, state in tasks(machine):
        if _kind(state) == "dynamodb":
            other = "DynamoDB." if "aws-sdk" in state["Resource"] else "DynamoDb."
            for rule in (*state["Retry"], *state["Catch"]):
                assert not [e for e in rule["ErrorEquals"] if e.startswith(other)], name


def test_retries_have_jitter_and_a_ceiling(machine: State) -> None:
    for name, state in tasks(machine):
        assert state["Retry"], name
        for retry in state["Retry"]:
            assert retry["MaxAttempts"] <= 10, name
            if retry["MaxAttempts"]:
                assert retry["JitterStrategy"] == "FULL", name
                assert retry["MaxDelaySeconds"] <= 300, name


def test_only_the_last_stop_retries_whatever_happens(machine: State) -> None:
    broad = [n for n, s in tasks(machine) for r in s["Retry"] if "States.ALL" in r["ErrorEquals"]]
    assert broad == ["StopFailedTask"]


def test_what_the_runner_signals_is_never_retried(machine: State) -> None:
    for name, state in tasks(machine):
        for retry in state["Retry"]:
            assert not {e for e in retry["ErrorEquals"] if e.startswith(("Runner.", "Image."))}, (
                name
            )


def test_no_cause_of_a_failure_is_taken_for_granted(machine: State) -> None:
    """A time-out may come without a Cause, and reading an undefined field fails the state."""
    for state in machine["States"].values():
        open_rules = [r for r in state.get("Choices", []) if not _asks_first(r["Condition"])]
        for text in strings({**state, "Choices": open_rules}):
            if re.search(r"\$(states\.errorOutput|failure)\.Cause", text):
                assert _asks_first(text) or "$join([" in text, text


def _asks_first(expression: str) -> bool:
    return bool(re.search(r"\$exists\(\$(states\.errorOutput|failure)\.Cause\)", expression))


def test_every_sdk_call_exists_with_these_parameters(machine: State) -> None:
    session = botocore.session.get_session()
    special = {
        "dynamodb:getItem": ("dynamodb", "GetItem"),
        "dynamodb:updateItem": ("dynamodb", "UpdateItem"),
        "lambda:invoke": ("lambda", "Invoke"),
    }
    checked = set()
    for name, state in tasks(machine):
        call = state["Resource"].split(":::")[1].removesuffix(".waitForTaskToken")
        if call.startswith("aws-sdk:"):
            _, service, action = call.split(":")
            operation = action[0].upper() + action[1:]
        else:
            service, operation = special[call]
        model = session.get_service_model(service).operation_model(operation)
        for problem in _unknown(state["Arguments"], model.input_shape, f"{name}.Arguments"):
            raise AssertionError(problem)
        missing = set(model.input_shape.required_members) - {
            _camel(key, model.input_shape) for key in state["Arguments"]
        }
        assert not missing, (name, missing)
        checked.add(call)
    assert len(checked) >= 6


@pytest.mark.parametrize("class_name", ["small", "Huge"])
def test_what_an_expression_makes_of_a_launch_are_parameters_of_run_task(
    machine: State, class_name: str
) -> None:
    """What a class does not have must not be there, so they are expressions."""
    session = botocore.session.get_session()
    model = session.get_service_model("ecs").operation_model("RunTask")
    given = launched(machine, class_name=class_name)
    assert list(_unknown(given, model.input_shape, "LaunchTask")) == []


def test_a_class_without_anything_of_its_own_is_launched_as_all_are(machine: State) -> None:
    given = launched(machine, class_name="small", task_definition="runner-1-python")
    assert given["TaskDefinition"] == "runner-1-python"
    assert given["Overrides"].keys() == {"Cpu", "Memory", "ContainerOverrides"}
    [container] = given["Overrides"]["ContainerOverrides"]
    assert len(container["Environment"]) == 5
    assert [tag["Key"] for tag in given["Tags"]] == [
        "runner-fleet:class",
        "runner-fleet:repository",
    ]
    network = given["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["Subnets"] == ["subnet-1", "subnet-2"]
    assert network["SecurityGroups"] == ["sg-1"]


def test_a_class_is_launched_with_what_it_was_deployed_with(machine: State) -> None:
    """However the catalog spells it."""
    given = launched(
        machine, class_name="Huge", ephemeral_storage=21, task_definition="runner-1-python"
    )
    assert given["TaskDefinition"] == "runner-1-python-mounts-7"
    overrides = given["Overrides"]
    assert overrides["TaskRoleArn"] == "arn:aws:iam::123456789012:role/huge"
    assert overrides["EphemeralStorage"] == {"SizeInGiB": 21}
    [container] = overrides["ContainerOverrides"]
    assert container["Environment"][5:] == [{"Name": "SAY", "Value": 'it\'s "x"'}]
    assert given["Tags"][2:] == [{"Key": "team", "Value": "a"}]
    network = given["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert (network["Subnets"], network["SecurityGroups"]) == (["subnet-7"], ["sg-1", "sg-7"])


def launched(machine: State, **entries: Any) -> State:
    """What a task is launched with, of an input with some entries of its own."""
    entry = dict.fromkeys(re.findall(r"\$states\.input\.(\w+)", json.dumps(machine)), "")
    states = {
        "input": entry | {"ephemeral_storage": 20, "timeouts": {}, "capacity": ["F"]} | entries,
        "context": {"Execution": {"Id": "arn"}},
    }

    def evaluated(value: Any, variables: State) -> Any:
        if isinstance(value, dict):
            return {key: evaluated(part, variables) for key, part in value.items()}
        if isinstance(value, list):
            return [evaluated(part, variables) for part in value]
        if isinstance(value, str) and value.startswith("{%"):
            return evaluate(value[2:-2].strip(), variables)
        return value

    variables = {
        "states": states,
        **evaluated(machine["States"][machine["StartAt"]]["Assign"], {"states": states}),
    }
    arguments: State = evaluated(machine["States"]["LaunchTask"]["Arguments"], variables)
    return arguments


def _camel(key: str, shape: Any) -> str:
    return next((m for m in shape.members if m.lower() == key.lower()), key)


def _unknown(value: Any, shape: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, part in value.items():
            member = shape.members.get(_camel(key, shape))
            if member is None:
                yield f"{path}.{key} is no parameter of {shape.name}"
            else:
                yield from _unknown(part, member, f"{path}.{key}")
    elif shape.type_name == "list" and isinstance(value, list):
        for part in value:
            yield from _unknown(part, shape.member, f"{path}[]")
    elif shape.type_name == "map" and isinstance(value, dict):
        for key, part in value.items():
            yield from _unknown(part, shape.value, f"{path}.{key}")


def test_sdk_integrations_use_no_type_that_they_spell_otherwise(machine: State) -> None:
    """They take the SDK for Java's names: Ss and Bool where DynamoDB itself has SS and BOOL."""
    for name, state in tasks(machine):
        if "aws-sdk:dynamodb" in state["Resource"]:
            text = json.dumps(state)
            assert not re.search(r'"(SS|NS|BS|BOOL|NULL)"|\.(SS|NS|BS|BOOL|NULL)\b', text), name


def expressions(machine: State) -> list[str]:
    return sorted({text[2:-2].strip() for text in strings(machine) if text.startswith("{%")})


def test_every_expression_is_one_of_jsonata_2_0_6(machine: State) -> None:
    """Step Functions implements that version, and refuses a definition that it cannot read."""
    found = expressions(machine)
    assert len(found) > 50
    answers = zip(found, refusals(found), strict=True)
    assert [(text, why) for text, why in answers if why] == []


_PATH = re.compile(r"\$([a-z_]+(?:(?:\[\d\])?\.\w+)*)(?!\w*\()")
_CASES = 12
_TOLD = [
    "READY",
    "FAILED",
    "RESOURCE:CPU",
    "ClientException: Unable to retrieve",
    "a: b\rnot found",
]


def bindings(expression: str, chance: random.Random) -> dict[str, Any]:
    """Something, or nothing, in every place that an expression reads."""
    found: dict[str, Any] = {}
    for path in sorted(set(_PATH.findall(expression)), key=len):
        *folders, name = re.sub(r"\[\d\]", "", path).split(".")
        place = found
        for folder in folders:
            if not isinstance(place.get(folder), dict):
                place[folder] = {}
            place = place[folder]
        if chance.random() < 0.95:
            place[name] = copy.deepcopy(chance.choice([*VALUES, *_TOLD]))
    return found


def test_every_expression_gives_what_jsonata_2_0_6_gives(
    machine: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)
    cases = [
        Case(text, bindings(text, chance)) for text in expressions(machine) for _ in range(_CASES)
    ]
    assert differences(cases, monkeypatch) == []


def test_every_variable_is_assigned_before_it_can_be_read(machine: State) -> None:
    """RecordRunner assigns every variable, so no path can meet an undefined one."""
    first = machine["States"][machine["StartAt"]]
    assigned = set(first["Assign"])
    builtin = {"states"}
    read = {
        name
        for state in machine["States"].values()
        for text in strings(state)
        if text.startswith("{%")
        for name in re.findall(r"\$([a-z_]+)\b(?!\()", text)
    }
    assert read - builtin <= assigned


def test_the_antlr_parser_accepts_it(deployed: str) -> None:
    AmazonStateLanguageParser.parse(deployed)


def test_the_antlr_parser_would_refuse_a_broken_one(deployed: str) -> None:
    broken = deployed.replace('"TimeoutSeconds": 60', '"TimeoutSecond": 60', 1)
    with pytest.raises(Exception, match="TimeoutSecond"):
        AmazonStateLanguageParser.parse(broken)


def test_asl_validator_accepts_it_and_refuses_a_dangling_target(
    deployed: str, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.asl.json", tmp_path / "bad.asl.json"
    good.write_text(deployed)
    bad.write_text(deployed.replace('"Next": "RunJob"', '"Next": "RunJobs"', 1))
    command = [ENVIRONMENT / "node" / "node", ENVIRONMENT / "node_modules/.bin/asl-validator"]
    accepted = subprocess.run(
        [*command, "--json-path", good], capture_output=True, text=True, check=False
    )
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    refused = subprocess.run(
        [*command, "--json-path", bad], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "RunJobs" in refused.stdout + refused.stderr


def test_the_file_is_in_its_house_format(source: str) -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "format_lifecycle.py"))
    assert source == tool["formatted"](json.loads(source)), "python tools/format_lifecycle.py"
