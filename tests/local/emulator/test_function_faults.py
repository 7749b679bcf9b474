"""A function that ends in the middle: killed at one of its calls, or out of time."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from dataclasses import dataclass
from typing import Any

import pytest

from tests.local.emulator.harness import ALLOW_ALL, Emulator, eventually

# Writes one item a step; the answers it has seen are in the items themselves.
_CODE = """
import os
import boto3

def handler(event, context):
    table = boto3.client("dynamodb")
    seen = 0
    for step in range(event["steps"]):
        item = {"id": {"S": f"{event['run']}/{step}"}, "seen": {"N": str(seen)}}
        table.put_item(TableName=os.environ["TABLE"], Item=item)
        seen += 1
    return {"seen": seen}
"""


@dataclass
class Stepper:
    """A function whose steps are its calls."""

    emulator: Emulator
    name: str
    table: str

    def run(self, *, steps: int = 3) -> tuple[str, dict[str, Any]]:
        """An invocation's name and answer."""
        run = uuid.uuid4().hex
        payload = json.dumps({"run": run, "steps": steps})
        reply = self.emulator.client("lambda").invoke(FunctionName=self.name, Payload=payload)
        return run, json.loads(reply["Payload"].read())

    def done(self, run: str) -> int:
        """Steps of an invocation that were applied."""
        items = self.emulator.client("dynamodb").scan(TableName=self.table)["Items"]
        return sum(item["id"]["S"].startswith(run) for item in items)

    def fault(self, **rule: Any) -> int:
        whole = {"on": "function", "match": self.name, **rule}
        return self.emulator.fleet("POST", "faults", whole)[0]


@pytest.fixture
def stepper(emulator: Emulator) -> Stepper:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("stepper.py", _CODE)
    name, table = f"stepper-{uuid.uuid4().hex[:8]}", emulator.table()
    emulator.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.14",
        Role=emulator.role(ALLOW_ALL, service="lambda"),
        Handler="stepper.handler",
        Code={"ZipFile": package.getvalue()},
        Timeout=20,
        Environment={"Variables": {"TABLE": table}},
    )
    return Stepper(emulator, name, table)


@pytest.mark.parametrize(
    ("outcome", "calls", "applied"),
    [
        ("crash_after", 0, 0),
        ("crash_after", 1, 1),
        ("crash_after", 2, 2),
        ("crash_after", 3, 3),
        ("crash_before", 1, 0),
        ("crash_before", 3, 2),
    ],
)
def test_killed_at_a_call(stepper: Stepper, outcome: str, calls: int, applied: int) -> None:
    stepper.fault(outcome=outcome, calls=calls)
    run, answer = stepper.run()
    assert answer["errorType"] == "Runtime.ExitError"
    assert answer["errorMessage"].endswith("signal: killed")
    assert stepper.done(run) == applied
    # once, and the next has a process of its own
    run, answer = stepper.run()
    assert answer == {"seen": 3}
    assert stepper.done(run) == 3


def test_a_call_it_never_makes_kills_nobody(stepper: Stepper) -> None:
    stepper.fault(outcome="crash_after", calls=4)
    assert stepper.run()[1] == {"seen": 3}
    _, listing = stepper.emulator.fleet("GET", "faults")
    assert [rule["used"] for rule in listing["faults"]] == [0]
    assert "errorType" in stepper.run(steps=4)[1]


def test_calls_are_those_of_one_invocation(stepper: Stepper) -> None:
    stepper.run(steps=2)
    stepper.fault(outcome="crash_after", calls=3)
    assert stepper.run(steps=2)[1] == {"seen": 2}
    assert "errorType" in stepper.run(steps=3)[1]


def test_out_of_time_when_all_is_done(stepper: Stepper) -> None:
    stepper.fault(outcome="times_out")
    run, answer = stepper.run()
    assert answer["errorType"] == "Sandbox.Timedout"
    assert "timed out after 20.00 seconds" in answer["errorMessage"]
    assert stepper.done(run) == 3
    (rule,) = stepper.emulator.fleet("GET", "faults")[1]["faults"]
    assert (rule["used"], rule["calls_made"]) == (1, 3)
    assert stepper.run()[1] == {"seen": 3}


def test_a_fault_meets_only_its_event(stepper: Stepper) -> None:
    stepper.fault(outcome="times_out", event=['"steps":2', '"run":"'], times=None)
    assert stepper.run(steps=3)[1] == {"seen": 3}
    assert "errorType" in stepper.run(steps=2)[1]
    assert "errorType" in stepper.run(steps=2)[1]


def test_an_asynchronous_call_is_made_again(stepper: Stepper) -> None:
    stepper.fault(outcome="crash_after", calls=2)
    run = uuid.uuid4().hex
    stepper.emulator.client("lambda").invoke(
        FunctionName=stepper.name,
        InvocationType="Event",
        Payload=json.dumps({"run": run, "steps": 3}),
    )
    eventually(lambda: stepper.done(run) == 3)


def test_calls_are_counted(stepper: Stepper) -> None:
    stepper.run(steps=3)
    stepper.run(steps=2)
    _, stats = stepper.emulator.fleet("GET", "stats")
    assert stats["function_api_calls"][stepper.name] == 5


@pytest.mark.parametrize(
    "rule",
    [
        {"outcome": "explodes"},
        {"outcome": "crash_before"},
        {"outcome": "crash_after", "calls": -1},
        {"outcome": "times_out", "calls": 2},
        {"outcome": "times_out", "event": "a text is no list"},
        {"on": "task", "outcome": "never_boots", "calls": 1},
        {"on": "build", "outcome": "FAILED", "event": ["x"]},
    ],
)
def test_a_rule_without_effect_is_refused(stepper: Stepper, rule: dict[str, Any]) -> None:
    assert stepper.fault(**rule) == 400
