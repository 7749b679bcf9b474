"""The tables: what is kept, for how long, and what an index costs."""

from __future__ import annotations

from typing import Any

import pytest

from cdk_runner_fleet.rooms.registry import LINE_INDEX, LIVE_INDEX, WAITING_INDEX
from tests.fleet_tables import TABLES

from ..templates import Template, of_type


def table(template: Template, key: str) -> dict[str, Any]:
    [found] = [
        each
        for each in of_type(template, "AWS::DynamoDB::GlobalTable")
        if each["KeySchema"] == [{"AttributeName": key, "KeyType": "HASH"}]
    ]
    return found


@pytest.mark.parametrize(
    ("index", "keys"),
    [
        (WAITING_INDEX, ["waiting_labels"]),
        (LIVE_INDEX, ["live", "queued_at"]),
        (LINE_INDEX, ["live", "place"]),
    ],
)
def test_runners_are_found_by_what_they_wait_for_by_their_age_and_by_their_place(
    index: str, keys: list[str], minimal: Template
) -> None:
    indexes = {
        each["IndexName"]: [key["AttributeName"] for key in each["KeySchema"]]
        for each in table(minimal, "runner_id")["GlobalSecondaryIndexes"]
    }
    assert indexes[index] == keys


@pytest.mark.parametrize("index", [WAITING_INDEX, LIVE_INDEX])
def test_an_index_of_those_who_are_there_is_written_when_one_comes_or_goes_alone(
    index: str, minimal: Template
) -> None:
    [projection] = [
        each["Projection"]
        for each in table(minimal, "runner_id")["GlobalSecondaryIndexes"]
        if each["IndexName"] == index
    ]
    assert projection == {"ProjectionType": "KEYS_ONLY"}


@pytest.mark.parametrize(
    ("key", "ends"), [("runner_id", True), ("entry", True), ("image_tag", False)]
)
def test_rows_go_by_themselves_where_things_do(key: str, ends: bool, minimal: Template) -> None:
    lifetime = table(minimal, key).get("TimeToLiveSpecification", {})
    assert lifetime == ({"AttributeName": "expires_at", "Enabled": True} if ends else {})


@pytest.mark.parametrize("key", ["runner_id", "image_tag", "entry"])
def test_a_table_can_be_put_back_as_it_was(key: str, minimal: Template) -> None:
    [replica] = table(minimal, key)["Replicas"]
    assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@pytest.mark.parametrize("name", TABLES)
def test_functions_are_tested_on_the_tables_that_are_made(name: str, minimal: Template) -> None:
    schema = TABLES[name]
    made = table(minimal, schema["KeySchema"][0]["AttributeName"])
    assert {key: made.get(key) for key in schema} == schema
    assert ("GlobalSecondaryIndexes" in made) == ("GlobalSecondaryIndexes" in schema)
