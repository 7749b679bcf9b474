"""GitHub's expression language, against what its documentation says."""

from __future__ import annotations

import pytest

from cdk_runner_fleet.local.twin.coercions import as_text
from cdk_runner_fleet.local.twin.expressions import ExpressionError, Scope, parse
from cdk_runner_fleet.local.twin.templates import condition, interpolate, read_condition

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
        ("needs.*.nothing", []),
        ("needs.*.outputs.v", ["1.0"]),
        ("needs[*].outputs[*]", ["1.0", '["x", "y"]']),
        ("github.ref.*", []),
        ("fromJSON('[[1,2],[3]]').*[0]", [1, 3]),
        ("fromJSON('[[1,2],[3]]').*.*", [1, 2, 3]),
        ("case(false, 1, true, 2, 3)", 2),
        ("'_' < 'a'", False),
        ("'Z' > '_'", False),
        ("'  ' == 0", True),
        ("' 0xff ' == 255 && '0o17' == 15 && '+1' == 1", True),
        ("'1_0' == 10", False),
        ("-Infinity < Infinity && NaN != NaN", True),
        ("toJSON('é')", '"é"'),
        ("toJSON(3.0)", "3"),
        ("format('{0}', 1e21)", "1E+21"),
        ("format('{0}', 12345678901234567890)", "1.23456789012346E+19"),
        ("format('{0}', 0.000001)", "1E-06"),
        ("format('{0}', 1e-7)", "1E-07"),
        ("join(fromJSON('{}'))", ""),
        ("fromJSON('1e400') == Infinity", True),
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
        ("success", "false", False),
        ("failure", "always()", True),
        ("failure", "failure()", True),
        ("success", "failure()", False),
        ("skipped", "!cancelled()", True),
        ("cancelled", "!cancelled()", True),
        ("failure", "always() && github.event_name == 'pull_request'", False),
        ("failure", "success('a')", True),
        ("success", "success('a', 'b')", False),
        ("success", "", True),
        ("success", "${{ 'false' }}", False),
    ],
)
def test_a_condition_implies_success(status: str, expression: str | None, runs: bool) -> None:
    assert condition(expression, Scope(contexts=SCOPE.contexts, status=status)) is runs


def test_cancelled_is_a_run_that_was_cancelled() -> None:
    scope = Scope(status="success", cancelled=True)
    assert condition("cancelled()", scope)
    assert not condition("success()", scope)
    assert not condition(None, scope)
    assert condition("always()", scope)


@pytest.mark.parametrize(
    "text", ["${{ false }}\n", " ${{ false }}", "${{ false }} && true", "x ${{ 'a}}b' }} y"]
)
def test_a_condition_with_text_around_its_expression_always_holds(text: str) -> None:
    assert read_condition(text, contexts=()).is_trap
    assert condition(text, SCOPE)
    assert not read_condition("${{ false }}", contexts=()).is_trap


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 ==", "Unexpected end of expression: '=='. Located at position 3"),
        ("(1", "Unexpected end of expression: '1'"),
        ("nosuch(1)", "Unrecognized function: 'nosuch'. Located at position 1"),
        ("false && nosuch(1)", "Unrecognized function: 'nosuch'. Located at position 10"),
        ("runner.os", "Unrecognized named-value: 'runner'. Located at position 1"),
        ("1 2", "Unexpected symbol: '2'. Located at position 3 within expression: 1 2"),
        ("'open", "Unexpected symbol: ''open'. Located at position 1"),
        ("github.", "Unexpected end of expression: '.'"),
        ("startsWith('x')", "Too few parameters supplied: 'startsWith'"),
        ("toJSON(1, 2)", "Too many parameters supplied: 'toJSON'"),
        ("case(true, 1, 2, 3)", "Even number of parameters supplied"),
        ("github $ b", "Unexpected symbol: '$'. Located at position 8"),
        ("success()", "Unrecognized function: 'success'"),
        ("-0xFF", "Unexpected symbol: '-0xFF'"),
        ("!" * 50 + "true", "Exceeded max expression depth 50"),
        ("fromJSON('NaN')", "NaN is not JSON"),
        ("format('{0')", "The following format string is invalid: {0"),
        ("format('{0:x}', 1)", "The format specifiers 'x' are not valid"),
        ("format('{0 }', 1)", "The following format string is invalid: {0 }"),
        ("format('{" + "9" * 5000 + "}', 1)", "The following format string is invalid"),
        ("format('{0}{', fromJSON('nope'))", "The following format string is invalid"),
        ("toJSON(fromJSON('" + "[" * 500 + "]" * 500 + "'))", "nested deeper than 99"),
        ("format('{1}', 1)", "references more arguments than were supplied: {1}"),
        ("case(1, 2, 3)", "case predicate must evaluate to a boolean value"),
        ("insert", "Unrecognized named-value: 'insert'"),
    ],
)
def test_what_cannot_be_read_or_evaluated_is_said(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse(expression, contexts=SCOPE.contexts).value(SCOPE)
    assert message in str(raised.value)


def test_nothing_is_null_and_in_a_file_an_expression_is_expected() -> None:
    assert parse(" ", contexts=()).value(Scope()) is None
    for text in ("${{ }}", "a ${{}}"):
        with pytest.raises(ExpressionError, match="An expression was expected"):
            interpolate(text, SCOPE)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("case(true, 1, {wrong})", 1),
        ("case(true, 1, {wrong}, 2, 3)", 1),
        ("case(false, {wrong}, 2)", 2),
        ("contains(fromJSON('[]'), {wrong})", False),
        ("contains(needs, {wrong})", False),
        ("startsWith(needs, {wrong})", False),
        ("endsWith(needs, {wrong})", False),
        ("format('a{{{{', {wrong})", "a{"),
        ("join(fromJSON('[1]'), {wrong})", "1"),
        ("join('a', {wrong})", "a"),
        ("github.ref[{wrong}]", None),
        ("true || {wrong}", True),
    ],
)
def test_what_no_function_asks_for_is_not_evaluated(expression: str, value: object) -> None:
    source = expression.format(wrong="fromJSON('nope')")
    assert parse(source, contexts=SCOPE.contexts).value(SCOPE) == value


def test_an_argument_is_evaluated_once_however_often_a_text_names_it() -> None:
    asked: list[str] = []

    class Contexts(dict[str, str]):
        def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
            asked.append(name)
            return super().get(name, default)

    scope = Scope(contexts=Contexts(github="x"))
    expression = parse("format('{0}{0}{1}{0}', github, 1)", contexts=("github",))
    assert (expression.value(scope), asked) == ("xx1x", ["github"])


def test_values_that_are_held_at_the_same_time_are_counted_together() -> None:
    """Two bytes a character: one such text fits into 1 KiB, and two do not."""
    text = f"format('{{0}}', '{'x' * 300}')"
    scope = Scope(memory=1024)
    assert parse(f"startsWith({text}, 'x')", contexts=()).value(scope) is True
    assert parse(f"startsWith({text}, 'x') && endsWith({text}, 'x')", contexts=()).value(scope)
    with pytest.raises(ExpressionError, match="The maximum allowed memory size was exceeded"):
        parse(f"startsWith({text}, {text})", contexts=()).value(scope)


@pytest.mark.parametrize(
    "text",
    [
        "${{ format('" + "{0}" * 4000 + "', github.megabyte) }}",
        "${{ join(fromJSON('[" + "0," * 4000 + "0]'), github.megabyte) }}",
        "x" + "${{ github.megabyte }}" * 700,
    ],
)
def test_a_text_that_names_a_long_one_thousands_of_times_is_ended(text: str) -> None:
    with pytest.raises(ExpressionError, match="The maximum allowed memory size was exceeded"):
        interpolate(text, Scope(contexts={"github": {"megabyte": "x" * 2**20}}))


def test_an_expression_that_would_fill_the_memory_is_ended() -> None:
    """As GitHub does it: a text that doubles at each step takes the machine with it."""
    expression = "'xxxxxxxx'"
    for _ in range(40):
        expression = f"format('{{0}}{{0}}', {expression})"
    with pytest.raises(ExpressionError, match="The maximum allowed memory size was exceeded"):
        parse(expression, contexts=()).value(Scope())


def test_an_expression_that_is_not_closed_is_said() -> None:
    with pytest.raises(ExpressionError, match="The expression is not closed"):
        interpolate("a ${{ 'b }}", SCOPE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (3.0, "3"),
        (3.1, "3.1"),
        (-0.0, "0"),
        (1e21, "1E+21"),
        (1.5e-7, "1.5E-07"),
        (2**-16, "1.52587890625E-05"),
        (2**-13, "0.0001220703125"),
        (0.1 + 0.2, "0.3"),
        (10**15 - 1, "999999999999999"),
        (10**15, "1E+15"),
        (999_999_999_999_999.9, "1E+15"),
        (-(10**17), "-1E+17"),
        (float("inf"), "Infinity"),
        ({}, "Object"),
        ([], "Array"),
    ],
)
def test_a_value_in_a_text(value: object, text: str) -> None:
    assert as_text(value) == text


def test_json_that_is_none_is_said() -> None:
    with pytest.raises(ExpressionError, match=r"fromJSON.*'nope'"):
        interpolate("${{ fromJSON('nope') }}", SCOPE)
