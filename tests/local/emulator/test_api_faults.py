"""Faults of API calls: those that fit all of a rule's texts, answered with an error or held."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.emulator.harness import Emulator
from tests.waiting import until

PUT = "ssm:PutParameter"


@pytest.fixture
def emulator(emulator: Emulator) -> Iterator[Emulator]:
    yield emulator
    emulator.fleet("DELETE", "faults")


def put(emulator: Emulator, name: str, value: str) -> Any:
    return emulator.client("ssm").put_parameter(
        Name=name, Value=value, Type="String", Overwrite=True
    )


def used(emulator: Emulator) -> list[int]:
    return [rule["used"] for rule in emulator.fleet("GET", "faults")[1]["faults"]]


def test_a_rule_is_for_calls_that_have_all_of_its_texts(emulator: Emulator) -> None:
    rule = {"on": PUT, "outcome": "error", "code": "TooMany", "status": 400, "match": ["/a", "one"]}
    emulator.fleet("POST", "faults", rule)
    put(emulator, "/a", "two")
    put(emulator, "/b", "one")
    with pytest.raises(ClientError, match="TooMany"):
        put(emulator, "/a", "one")


def test_a_call_is_held_until_its_rule_is_taken_away(emulator: Emulator) -> None:
    for name in ("/held", "/other"):
        emulator.fleet("POST", "faults", {"on": PUT, "outcome": "held", "match": [name]})
    put(emulator, "/free", "passes")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(put, emulator, "/held", "late")
        until(lambda: used(emulator) == [1, 0], "the call has come")
        names = emulator.client("ssm").describe_parameters()["Parameters"]
        assert "/held" not in {one["Name"] for one in names}
        assert not call.done()
        emulator.fleet("DELETE", "faults", {"match": ["/held"]})
        assert call.result()["Version"] == 1
    assert used(emulator) == [0], "the other rule is there still"
