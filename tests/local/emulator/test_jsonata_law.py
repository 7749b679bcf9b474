"""What an expression gives is what npm's jsonata 2.0.6 makes of it, or stands in a list here."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.reference_jsonata import Case, differences

NUMBERS = [
    *(0, 1, -1, 7, 0.5, 1e-7, 0.000001, 123456.789, 0.1 + 0.2, 1e15, -1234567890123456),
    *(1234567890123445, 1234567890123455, 2**53 - 1, 2**53 + 1, 12345678901234567890, 1e21),
]
TEXTS = [
    *("", "a", "abc", " 12", "12", "-3.5e2", "0b11", "0x1F", "0o17", "1e400", "NaN", "é", "漢"),
    *("a\nb", "a\rb", "a\r\nb\u2028c", "a\n", "\u017ftop", "\u212a", "  sp\u00a0 ", "\ufeffx"),
    *("CannotPullContainerError: a\rnot found", "INSUFFICIENT", "insu\ufb03cient"),
    *(
        "2026-11-29T19:26:56Z",
        "2026-11-29 19:26:56Z",
        "2026-02-30",
        "2026-13-01",
        "2026",
        "2026-11",
    ),
    *("2026-11-29T19:26:56.123456+00:00", "2026-11-29T19:26:56+0130", "2026-11-29T19:26:56"),
    *('{"a":[1,null]}', "[NaN]", "[1e400]", "null", '"x"', "6Q==", "w6k", "YWJj"),
]
VALUES: list[Any] = [
    *(None, True, False, *NUMBERS, *TEXTS, [], [None], [1], [1, 2, 3], ["a", "b"], ["a", None]),
    *([[]], [{"a": 1}, {"a": None}, {}], [True, 1, "1"], {}, {"a": None}, {"a": 1, "b": "é"}),
    *({"a": {"b": [1, None, {"c": 1e-7}]}}, {"n": 1234567890123456}),
]
"""What a variable may hold."""

OF_ONE = [
    *("$contains($a, /(?<=a)b/)", "$contains($a, /(?<!a)b/)", "$contains($a, /(?!a)./)"),
    *("$a", "[$a]", "{'k': $a}", "$exists($a)", "$count($a)", "$type($a)", "$boolean($a)"),
    *("$not($a)", "$string($a)", "$string($a, true)", "'<' & $a & '>'", "$number($a)"),
    *("$length($a)", "$keys($a)", "$sum($a)", "$max($a)", "$min($a)", "$average($a)", "$floor($a)"),
    *("$ceil($a)", "$round($a)", "$abs($a)", "$sqrt($a)", "$power($a, 2)", "-$a", "$a + 1"),
    *("$a * $a", "$a / 3", "$a % 7", "$a - 0.1", "$a = $a", "$a != ''", "$a = null", "$a > 0"),
    *("$a <= 1", "$a and true", "$a or false", "$a ? 1 : 2", "$a ~> $string()", "$uppercase($a)"),
    *("$lowercase($a)", "$trim($a)", "$substring($a, 0, 2)", "$substring($a, -1)"),
    *("$substringBefore($a, 'b')", "$pad($a, -5, '-')", "$substringAfter($a, 'a')"),
    *("$contains($a, 'a')", "$contains($a, /a.b/)", "$contains($a, /S/i)", "$contains($a, /x/)"),
    *("$contains($a, /^$/)", "$contains($a, /b$/)", "$contains($a, /^b/m)", "$contains($a, /a$/m)"),
    *("$contains($a, /\\d\\D/)", "$contains($a, /[\\s,]/)", "$contains($a, /\\S/)"),
    *("$contains($a, /\\w/)", "$contains($a, /(?<n>a)b/)", "$contains($a, /[^a]/)"),
    *("$contains($a, /\\z/)", "$contains($a, /cannotpull.*not.?found|insufficient/i)"),
    *("$contains($a, /k/i)", "$match($a, /b/)", "$split($a, ',')", "$split($a, '')"),
    *("$split($a, /b/)", "$replace($a, 'a', 'X$0')", "$replace($a, /(a)/, '<$1>')"),
    *("$replace($a, /./, '-')", "$join($a, ',')", "$max([2, $a])", "$join(['E', $a], ': ')"),
    *("$append($a, 1)", "$reverse($a)", "$sort($a)", "$distinct($a)", "$merge($a)", "$spread($a)"),
    *("$map($a, $string)", "$filter($a, function($v) { $v != null })"),
    *("$reduce($a, function($x, $y) { $x & $y })", "$zip($a, $a)", "$lookup($a, 'a')", "$a.a"),
    *("$a.a.b", "$a[0]", "$a[-1]", "$a[a = 1]", "$a.*", "$a in [1, 'a', true, null]", "true in $a"),
    *("$toMillis($a)", "$parse($a)", "$hash($a, 'SHA-256')", "$base64encode($a)"),
    *("$base64decode($a)", "$encodeUrlComponent($a)", "$error($a)", "$assert($a, 'x')", "$a^(a)"),
    *("$millis() - $a", "$exists($a.a)", "$string($a.a)", "$count($a.a)", "[1..$a]"),
    *("$random() + $count($a)"),
]  # fmt: skip
OF_TWO = [
    *("$a + $b", "$a & $b", "$a = $b", "$a != $b", "$a < $b", "$a >= $b", "$a in $b", "$a * $b"),
    *("$append($a, $b)", "[$a, $b]", "$join([$a, $b], ',')", "$a and $b", "$max([$a, $b])"),
    *("$contains($a, $b)", "$split($a, $b)", "{'x': $a, 'y': $b}"),
]
PAIRS = 40

KNOWN = {
    "a character beyond U+FFFF is two for JavaScript, and one here": [
        Case("$split($a, '')", {"a": "\U0001f600"}),
        Case("$replace($a, /./, '-')", {"a": "\U0001f600"}),
        Case("$contains($a, /^.$/)", {"a": "\U0001f600"}),
    ],
    "a letter beyond ASCII has one case in a regular expression with the flag i": [
        Case("$contains($a, /É/i)", {"a": "é"}),
    ],
    "$round and the format functions take no numbers with more digits than 28": [
        Case("$round($a, 6)", {"a": 1.5e300}),
        Case("$formatBase($a, 16)", {"a": 1.5e300}),
    ],
    "$fromMillis ends with the year 9999": [
        Case("$fromMillis($a)", {"a": 1e15}),
    ],
    "$eval is in jsonata, and not in Step Functions": [
        Case("$eval('1')", {}),
    ],
}
"""The differences that stay, by their reason; docs/architecture.md names them too."""


def cases() -> list[Case]:
    found = [Case(text, {}) for text in OF_ONE]
    found += [Case(text, {"a": value}) for text in OF_ONE for value in VALUES]
    chance = random.Random(1)
    found += [
        Case(text, {"a": chance.choice(VALUES), "b": chance.choice(VALUES)})
        for text in OF_TWO
        for _ in range(PAIRS)
    ]
    return found


def test_an_expression_gives_what_jsonata_2_0_6_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    assert differences(cases(), monkeypatch) == []


@pytest.mark.parametrize("why", KNOWN)
def test_what_is_known_to_differ_does(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    assert [case for case, *_ in differences(KNOWN[why], monkeypatch)] == KNOWN[why]
