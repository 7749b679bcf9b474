"""GitHub's expression language, against what its documentation says."""

from __future__ import annotations

import pytest

from cdk_runner_fleet.local.twin.expressions import (
    ExpressionError,
    Scope,
    condition,
    interpolate,
)

SCOPE = Scope(
    contexts={
        "github": {"ref": "refs/heads/main", "event_name": "push", "run_number": "7"},
        "matrix": {"os": "linux", "python": 3.1, "n": 2},
        "needs": {
            "a": {"result": "success", "outputs": {"v": "1.0", "list": '["x", "y"]'}},
            "b": {"result": "skipped", "outputs": {}},
        },
    }
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1", 1),
        ("-2.5", -2.5),
        ("0xff", 255),
        ("'it''s'", "it's"),
        ("true && 'yes' || 'no'", "yes"),
        ("false && 'yes' || 'no'", "no"),
        ("'' || 'default'", "default"),
        ("!false", True),
        ("!(1 == 1)", False),
        ("'ABC' == 'abc'", True),
        ("null == 0", True),
        ("'x' == 0", False),
        ("true == 1", True),
        ("1 < 2 && 2 <= 2 && 3 > 2 && 2 >= 2", True),
        ("'b' > 'A'", True),
        ("github.ref == 'refs/heads/main'", True),
        ("github['event_name']", "push"),
        ("GitHub.Ref", "refs/heads/main"),
        ("github.nothing.at_all", None),
        ("needs.*.result", ["success", "skipped"]),
        ("contains(needs.*.result, 'skipped')", True),
        ("contains('Hello', 'ELL')", True),
        ("startsWith(github.ref, 'REFS/')", True),
        ("endsWith(github.ref, 'main')", True),
        ("format('{0}-{1}-{{}}', matrix.os, 2)", "linux-2-{}"),
        ("join(fromJSON(needs.a.outputs.list), '-')", "x-y"),
        ("fromJSON(needs.a.outputs.list)[1]", "y"),
        ("toJSON(matrix.n)", "2"),
    ],
)
def test_an_expression_has_its_value(expression: str, value: object) -> None:
    assert interpolate("${{ " + expression + " }}", SCOPE) == value


def test_text_around_expressions_stays() -> None:
    assert interpolate("v${{ needs.a.outputs.v }} on ${{matrix.os}}!", SCOPE) == "v1.0 on linux!"
    assert interpolate("${{ null }}-${{ true }}-${{ 2.0 }}", SCOPE) == "-true-2"
    assert interpolate({"k": ["${{ matrix.n }}"]}, SCOPE) == {"k": [2]}


@pytest.mark.parametrize(
    ("status", "expression", "runs"),
    [
        ("success", None, True),
        ("failure", None, False),
        ("skipped", None, False),
        ("success", "github.ref == 'refs/heads/main'", True),
        ("failure", "github.ref == 'refs/heads/main'", False),
        ("success", "${{ false }}", False),
        ("success", False, False),
        ("failure", "always()", True),
        ("failure", "failure()", True),
        ("success", "failure()", False),
        ("skipped", "!cancelled()", True),
        ("cancelled", "!cancelled()", False),
        ("failure", "always() && github.event_name == 'pull_request'", False),
    ],
)
def test_a_condition_implies_success(status: str, expression: object, runs: bool) -> None:
    assert condition(expression, Scope(contexts=SCOPE.contexts, status=status)) is runs


@pytest.mark.parametrize(
    "expression", ["1 ==", "(1", "nosuch(1)", "1 2", "'open", "github.", "startsWith('x')", "a $ b"]
)
def test_what_cannot_be_read_is_said(expression: str) -> None:
    with pytest.raises(ExpressionError, match=r"cannot evaluate"):
        interpolate("${{ " + expression + " }}", SCOPE)


def test_json_that_is_none_is_said() -> None:
    with pytest.raises(ExpressionError, match=r"fromJSON.*'nope'"):
        interpolate("${{ fromJSON('nope') }}", SCOPE)
