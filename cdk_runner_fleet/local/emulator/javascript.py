"""Values as JavaScript writes them, and its regular expressions: what JSONata is made of."""

from __future__ import annotations

import decimal
import json
import math
import re
from collections.abc import Callable
from typing import Any

from jsonata.regex_engine import CompiledPattern, RegexFlags
from jsonata.utils import Utils

EXPONENT_FROM = 1e21
"""Numbers have an exponent from here on."""
LARGEST_EXACT = 2**53
"""Integers beyond it are rounded."""

_FIFTEEN_DIGITS = decimal.Context(prec=15, rounding=decimal.ROUND_HALF_UP)


def json_text(
    value: Any,
    *,
    number: Callable[[float], float] = float,
    indent: str = "",
    before: str = "",
) -> str:
    """Write a value as JavaScript's ``JSON.stringify`` does.

    Args:
        value: As the evaluator holds it.
        number: What is made of each number.
        indent: Of one level; empty for one line.
        before: The indent of this level.
    """
    if value is None or value is Utils.NULL_VALUE:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number_text(number(value)) if math.isfinite(value) else "null"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    inner = before + indent

    def write(part: Any) -> str:
        return json_text(part, number=number, indent=indent, before=inner)

    if isinstance(value, dict):
        colon = ": " if indent else ":"
        parts = [f"{write(key)}{colon}{write(part)}" for key, part in value.items()]
        opening, closing = "{}"
    elif isinstance(value, (list, tuple, range)):
        parts = [write(part) for part in value]
        opening, closing = "[]"
    else:
        return '""'  # a function
    if not indent or not parts:
        return opening + ",".join(parts) + closing
    return f"{opening}\n{inner}" + f",\n{inner}".join(parts) + f"\n{before}{closing}"


def _number_text(value: float) -> str:
    """Write a number as JavaScript does: no exponent from 1e-6 to below 1e21."""
    if value == 0:
        return "0"
    sign, digits, exponent = decimal.Decimal(repr(value)).normalize().as_tuple()
    figures = "".join(map(str, digits))
    point = len(figures) + int(exponent)
    if 0 < point <= 21:
        text = figures[:point].ljust(point, "0") + (figures[point:] and f".{figures[point:]}")
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{figures}"
    else:
        text = figures[0] + (figures[1:] and f".{figures[1:]}") + f"e{point - 1:+d}"
    return f"-{text}" if sign else text


_REGEX_PART = re.compile(
    r"\\(?P<escape>k<\w+>|.)|(?P<set>\[\^?(?:\\.|[^\]\\])*\])|(?P<group>\(\?(?:<[=!]|.))|[.^$]"
)
_LINE_ENDS = r"\n\r\u2028\u2029"
_SPACES = r"\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_GROUPS = {each: each for each in ("(?:", "(?=", "(?!", "(?<=", "(?<!")} | {"(?<": "(?P<"}


def regex(pattern: str, flags: RegexFlags) -> CompiledPattern:
    """Compile a regular expression of JavaScript's for Python's ``re``.

    ASCII alone, as JavaScript's classes are; so a letter beyond it has one case with the flag i.

    Raises:
        ValueError: it is none of JavaScript's.
        re.error: it is none at all.
    """

    def python(part: re.Match[str]) -> str:
        if escape := part["escape"]:
            return _escape(escape)
        if members := part["set"]:
            if members in ("[]", "[^]"):
                return "(?!)" if members == "[]" else r"[\s\S]"
            inside = re.sub(r"\\(.)|\[", _member, members[1:-1], flags=re.DOTALL)
            return f"[{inside}]"
        if group := part["group"]:
            if group not in _GROUPS:
                raise ValueError(f"S0302: invalid group {group!r} in the regular expression")
            return _GROUPS[group]
        multiline = flags.multiline
        return {
            ".": f"[^{_LINE_ENDS}]",
            "^": f"(?:(?<![\\s\\S])|(?<=[{_LINE_ENDS}]))" if multiline else "^",
            "$": f"(?=[{_LINE_ENDS}]|\\Z)" if multiline else r"\Z",
        }[part[0]]

    ignoring = re.IGNORECASE if flags.case_insensitive else re.NOFLAG
    return re.compile(_REGEX_PART.sub(python, pattern), re.ASCII | ignoring)


def _escape(letter: str) -> str:
    if letter.startswith("k<"):
        return f"(?P={letter[2:-1]})"
    if letter in "sS":
        return f"[{'^' if letter == 'S' else ''}{_SPACES}]"
    # of other letters JavaScript makes the letter, and Python something or an error
    return letter if letter.isalpha() and letter not in "bBdDwWfnrtvux" else f"\\{letter}"


def _member(part: re.Match[str]) -> str:
    """What stands in a set of characters."""
    if part[0] == "[":
        return r"\["
    letter = part[1]
    if letter == "s":
        return _SPACES
    return letter if letter.isalpha() and letter not in "bdDSwWfnrtvux" else f"\\{letter}"


def rounded(value: float) -> float:
    """A number with 15 digits, as ``toPrecision`` gives them."""
    return float(_FIFTEEN_DIGITS.create_decimal(decimal.Decimal(value)))


def whole(value: float) -> float:
    """What JSON writes for a whole number: as many digits as tell it from the next."""
    return int(decimal.Decimal(repr(value))) if abs(value) < EXPONENT_FROM else value
