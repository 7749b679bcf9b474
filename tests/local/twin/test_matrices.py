"""The legs of a matrix and their names, by the rules of GitHub's MatrixBuilder."""

from __future__ import annotations

from typing import Any

import pytest

from cdk_runner_fleet.local.twin.expressions import ExpressionError
from cdk_runner_fleet.local.twin.matrices import combinations, leg_name


def values(matrix: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(each.values) for each in combinations(matrix)]


def names(matrix: dict[str, Any]) -> list[str]:
    return [leg_name("j", each.named) for each in combinations(matrix)]


@pytest.mark.parametrize(
    ("vector", "pattern", "left"),
    [
        (["a", "b"], "A", ["b"]),
        (["3", 3, 4], 3, [4]),
        ([0, False, None, "", 1], None, [1]),
        ([{"n": 1, "m": 2}, {"n": 2}], {"n": 1}, [{"n": 2}]),
        ([{"N": "x"}, {"n": "y"}], {"n": "X"}, [{"n": "y"}]),
        ([[1, 2], [3]], [1], [[3]]),
        ([{"n": 1}], 1, [{"n": 1}]),
    ],
)
def test_exclude_compares_as_an_expression_does(
    vector: list[object], pattern: object, left: list[object]
) -> None:
    found = values({"v": vector, "exclude": [{"V": pattern}]})
    assert [each["v"] for each in found] == left


def test_include_extends_what_its_values_of_vectors_equal() -> None:
    assert values({"os": ["linux", "win"], "include": [{"OS": "LINUX", "x": 1}]}) == [
        {"os": "linux", "x": 1},
        {"os": "win"},
    ]
    assert values({"v": ["1"], "include": [{"v": 1, "x": 1}]}) == [{"v": "1", "x": 1}]


def test_include_adds_what_equals_no_combination() -> None:
    assert values({"a": [1], "include": [{"b": 2, "a": 3}, {"a": 1, "b": 4}]}) == [
        {"a": 1, "b": 4},
        {"a": 3, "b": 2},
    ]
    assert values({"include": [{"a": 1}, {"a": 2}]}) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("matrix", "found"),
    [
        ({"a": ["x"], "include": [{"a": "x", "b": True}]}, ["j (x)"]),
        ({"a": ["x"], "include": [{"b": "y", "a": "z"}]}, ["j (x)", "j (z, y)"]),
        ({"a": ["", None], "b": ["y"]}, ["j (y)", "j (y)"]),
        ({"a": [""], "b": [None]}, ["j"]),
        ({"a": [False], "b": [3.0], "c": [{"k": ["v", {"l": "w"}]}]}, ["j (false, 3, v, w)"]),
        ({"a": ["z" * 150]}, ["j (" + "z" * 94 + "..."]),
    ],
)
def test_a_leg_is_named_before_include_adds_to_it(matrix: dict[str, Any], found: list[str]) -> None:
    assert names(matrix) == found
    assert max(map(len, found)) <= 100


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        ("x", "A mapping was expected"),
        ({"a": "b"}, "A sequence was expected for the matrix vector 'a'"),
        ({"a": []}, "Matrix vector 'a' does not contain any values"),
        ({"a": [1], "include": ["x"]}, "A mapping was expected in the matrix include"),
        ({"a": [1], "include": "x"}, "A sequence was expected for the matrix include"),
        ({"a": [1], "exclude": [{"z": 1}]}, "Matrix exclude key 'z' does not match any key"),
        ({"a": [1], "exclude": [{}]}, "Matrix exclude filter must not be empty"),
        ({"a": [1], "exclude": [{"a": 1}]}, "has 0 combinations; allowed: 1-256"),
        ({"a": list(range(257))}, "has 257 combinations"),
        ({}, "Matrix must define at least one vector"),
    ],
)
def test_a_matrix_that_is_none_is_said(matrix: Any, why: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        combinations(matrix)
    assert why in str(raised.value)
