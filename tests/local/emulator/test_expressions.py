"""JSONata: Step Functions' own functions, and that data is never code."""

from __future__ import annotations

import datetime
import re
import threading
import time

import pytest

from cdk_runner_fleet.local.emulator.expressions import (
    EvaluationError,
    ParseError,
    evaluate,
    parse,
)
from tests.reference_jsonata import refusals
from tests.waiting import until

HOSTILE = (
    "{% $states.context %}",
    '"; $x := 1; "',
    "' & $string($secret) & '",
    "\\",
    'a\\"b',
    "line\nbreak\ttab\u2028",
    "$secret",
    "`secret`",
    "/*",
    "é 漢 \U0001f600",
)


@pytest.mark.parametrize("value", HOSTILE)
def test_data_comes_back_as_it_is(value: str) -> None:
    variables = {"label": value, "states": {"input": {"labels": [value, value]}}, "secret": "s"}
    assert evaluate("$label", variables) == value
    assert evaluate("$states.input.labels", variables) == [value, value]
    assert evaluate("$join([$label, $label], ',')", variables) == f"{value},{value}"
    assert evaluate("{ 'a': $label }", variables) == {"a": value}


def test_eval_is_not_available() -> None:
    with pytest.raises(EvaluationError, match=r"\$eval is not available"):
        evaluate("$eval($label)", {"label": "1 + 1"})


def test_uuid_is_new_each_time() -> None:
    first, second = evaluate("[$uuid(), $uuid()]", {})
    assert first != second
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$hash('abc', 'SHA-256')",
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("$hash('abc', 'MD5')", "900150983cd24fb0d6963f7d28e17f72"),
        ("$partition([1,2,3,4,5], 2)", [[1, 2], [3, 4], [5]]),
        ("$partition([], 3)", []),
        ("$range(1, 7, 3)", [1, 4, 7]),
        ("$range(3, 1, -1)", [3, 2, 1]),
        ("$range(2, 1, 1)", []),
        ("$parse('{\"a\": [1, null]}')", {"a": [1, None]}),
        ("$random(7) = $random(7)", True),
        ("$random() < 1 and $random() >= 0", True),
        ("4 / 2", 2),
        ("[1..3]", [1, 2, 3]),
        ("null", None),
        ("$exists(null)", True),
        ("[$split('a,b', ',')]", ["a", "b"]),
    ],
)  # fmt: skip
def test_value(expression: str, expected: object) -> None:
    result = evaluate(expression, {})
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    "expression",
    ["$missing", "$states.nothing", "$sum('a')", "$hash('a', 'CRC')", "$partition([1], 0)",
     "$range(0, 1, 0)", "$range(0, 5000, 1)", "function($x){$x}", "$parse('nope')",
     "$replace('a', /x*/, 'b')"],
)  # fmt: skip
def test_failure(expression: str) -> None:
    with pytest.raises(EvaluationError):
        evaluate(expression, {"states": {}})


READABLE = [
    "$a ? $b : $c", "function($x)<s?:s>{$x}('a')", "$f(?, 1)", "'??' & '?:'",
    "/a??b?:/", "$a.`b ?: c`", "/* ?? */ 1", "$a ~> $f", "λ($x){$x}", "[1..3]", "$a^(>b)",
    "$a.b.%.c",
]  # fmt: skip
UNREADABLE = [
    "$a ?? 1", "$a ?: 1", "$a??1", "[$a ?: 1]", "$f(??)", "$a ? ?", "$a ?\n: $c",
    "1 +", "'a", "`a", "/a", "$f(", "{'a': }", "a[1", "1 2", "$a := ", "", "/* ", "//", "$x ! 1",
]  # fmt: skip


@pytest.mark.parametrize("expression", READABLE)
def test_what_jsonata_2_0_6_reads_is_read(expression: str) -> None:
    parse(expression)


@pytest.mark.parametrize("expression", UNREADABLE)
def test_what_jsonata_2_0_6_refuses_is_refused(expression: str) -> None:
    with pytest.raises(ParseError, match=re.escape(repr(expression))):
        parse(expression)
    with pytest.raises(ParseError):
        evaluate(expression, {})


def test_the_measure_is_jsonata_2_0_6_itself() -> None:
    assert [text for text, why in zip(READABLE, refusals(READABLE), strict=True) if why] == []
    assert all(refusals(UNREADABLE))


@pytest.mark.parametrize(
    "expression",
    ["phase = 'job'", "row.status", "$a ? b : $c", "$string(a)", "[$a, b]", "{'a': b}", "-a",
     "($x := a; $x)", "a[0]", "$a ~> $f(b)", "`a b`", "$f($a, [{'b': [c]}])", "(a).b"],
)  # fmt: skip
def test_a_bare_name_is_refused(expression: str) -> None:
    with pytest.raises(ParseError, match=r"Reference to '[a-z ]+' at the top level"):
        parse(expression)


@pytest.mark.parametrize(
    "expression",
    ["$a.b", "$a[b = 1]", "$a.(b + c)", "$a.{'b': c}", "$map($a, function($x) { $x.b })", "$a^(b)",
     "$a{b: c}", "($x := $a; $x.b)", "{'a': 'b'}", "'a' in ['a']", "$a.'b'", "true", "null"],
)  # fmt: skip
def test_a_name_within_something_is_read(expression: str) -> None:
    parse(expression)


def test_null_in_data_is_not_undefined() -> None:
    variables = {"row": {"a": None, "b": [None, 1]}}
    assert evaluate("$exists($row.a)", variables) is True
    assert evaluate("$row", variables) == {"a": None, "b": [None, 1]}
    assert evaluate("$row.b[0]", variables) is None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$exists($a)", True), ("$a != ''", True), ("[$a]", [None]), ("{'k': $a}", {"k": None}),
        ("$count($a)", 1), ("$string($a)", "null"), ("$a", None), ("$count($row.a)", 1),
    ],
)  # fmt: skip
def test_a_variable_that_is_null_is_null(expression: str, expected: object) -> None:
    assert evaluate(expression, {"a": None, "row": {"a": None}}) == expected


@pytest.mark.parametrize(
    "expression",
    ["$max([2, $a])", "$join(['E', $a], ': ')", "$a > 0", "$contains($a, /x/)", "$number($a)",
     "$contains($row.a, /x/)", "$length($row.a)"],
)  # fmt: skip
def test_what_takes_no_null_fails(expression: str) -> None:
    with pytest.raises(EvaluationError):
        evaluate(expression, {"a": None, "row": {"a": None}})


@pytest.mark.parametrize(
    ("number", "text"),
    [(1234567890123456, "1234567890123460"), (2**53 - 1, "9007199254740990"),
     (10**15, "1" + "0" * 15), (12345678901, "12345678901"), (1e21, "1e+21"),
     (1e-7, "1e-7"), (0.00001, "0.00001")],
)  # fmt: skip
def test_a_number_has_fifteen_digits_in_a_text(number: float, text: str) -> None:
    assert evaluate("$string($n)", {"n": number}) == text
    assert evaluate("$string({'n': $n})", {"n": number}) == f'{{"n":{text}}}'


@pytest.mark.parametrize("pattern", ["(?i)a", "(?P<n>a)", "(?>a)", "(", "a)"])
def test_a_pattern_that_is_none_of_javascripts_is_refused(pattern: str) -> None:
    with pytest.raises(ParseError):
        parse(f"$contains($a, /{pattern}/)")


def test_times_of_the_context_are_text() -> None:
    start = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    assert evaluate("$states.context.t", {"states": {"context": {"t": start}}}) == start.isoformat()


def test_one_expression_in_many_threads() -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(100):
            found = evaluate("$map($list, function($i) { $i + $n })", {"list": [1, 2], "n": number})
            if found != [1 + number, 2 + number]:
                wrong.append((number, found))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_now_and_millis_are_one_moment() -> None:
    # of JSONata: the time at which the evaluation began, however often it is asked for
    spread = "$map([1..2000], function($i) { $millis() })"
    assert evaluate(f"$count($distinct({spread}))", {}) == 1
    assert evaluate("$toMillis($now()) = $millis()", {}) is True
    assert evaluate("$now('[Y0001]') = $fromMillis($millis(), '[Y0001]')", {}) is True


def test_now_does_not_stand_still_in_a_thread() -> None:
    seen: list[str] = []

    def look() -> None:
        for _ in range(2):
            seen.append(evaluate("$now()", {}))
            until(lambda: evaluate("$now()", {}) != seen[-1])

    other = threading.Thread(target=look)
    other.start()
    other.join()
    assert seen[0] < seen[1]


def test_millis_is_the_time_of_this_evaluation_in_every_thread() -> None:
    seen: list[tuple[int, int, int]] = []

    def now() -> int:
        return time.time_ns() // 1_000_000

    def look() -> None:
        for _ in range(2):
            began = now()
            seen.append((began, evaluate("$millis() + 0", {}), now()))
            until(lambda: now() > seen[-1][2])

    evaluate("$millis() + 0", {})
    other = threading.Thread(target=look)
    other.start()
    other.join()
    assert [before <= told <= after for before, told, after in seen] == [True, True]
