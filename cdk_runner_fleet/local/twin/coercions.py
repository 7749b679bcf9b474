"""How GitHub's expression language turns values into text, numbers and truth, and compares them.

Numbers are 64-bit floats, written into text with 15 digits and into JSON as JavaScript writes
them. One that is whole is an `int` here, so that JSON and the file for act have it without a
decimal point.

Sources: docs.github.com, "Evaluate expressions in workflows and actions"; where that is silent,
npm @actions/expressions 0.3.61, which tests/local/twin compares with, and for the digits of
numbers actions/runner, src/Sdk/Expressions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

__all__ = [
    "Value",
    "as_json",
    "as_number",
    "as_text",
    "is_simple",
    "less",
    "members",
    "number",
    "same",
    "truthy",
    "upper",
]

Value = Any  # a JSON value

_BLANK = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BASES = {"0x": (16, re.compile(r"[0-9a-f]+")), "0o": (8, re.compile(r"[0-7]+"))}
_BASES["0b"] = (2, re.compile(r"[01]+"))
_INFINITY = re.compile(r"[+-]?Infinity")
_DOTLESS = "\N{LATIN SMALL LETTER DOTLESS I}"
_EXACT = 2**53
_WRITTEN_OUT = range(-6, 21)
"""The exponents of numbers that JavaScript writes without one."""
_WITHOUT_EXPONENT = range(-4, 15)
"""The same for `G15`."""


def is_simple(value: Value) -> bool:
    """Whether it is neither a mapping nor a list."""
    return not isinstance(value, Mapping | list)


def truthy(value: Value) -> bool:
    """GitHub's falsy values: false, 0, -0, "", null, NaN."""
    if not is_simple(value):
        return True
    return bool(value) and not (isinstance(value, float) and math.isnan(value))


def number(value: float) -> int | float:
    """A whole number as an `int`, as far as a float holds it exactly."""
    return int(value) if abs(value) < _EXACT and value.is_integer() else value


def as_number(value: Value) -> float:
    """What a value is in arithmetic; NaN if it is none."""
    if value is None:
        return 0.0
    if isinstance(value, str):
        return _read_number(value.strip(_BLANK))
    return float(value) if isinstance(value, bool | int | float) else math.nan


def as_text(value: Value) -> str:
    """How GitHub writes a value into a string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _general(float(value))
    if isinstance(value, Mapping):
        return "Object"
    return "Array" if isinstance(value, list) else str(value)


def as_json(value: Value, *, indent: str = "") -> str:
    """`toJSON()`: indented by two spaces; a number that JSON has not is null."""
    if isinstance(value, Mapping):
        pairs = [
            f"{json.dumps(str(name), ensure_ascii=False)}: {as_json(item, indent=indent + '  ')}"
            for name, item in members(value).items()
        ]
        return _block("{", pairs, "}", indent)
    if isinstance(value, list):
        return _block("[", [as_json(item, indent=indent + "  ") for item in value], "]", indent)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_text(float(value)) if math.isfinite(value) else "null"
    return json.dumps(value, ensure_ascii=False)


def members(value: Mapping[str, Value]) -> dict[str, Value]:
    """A mapping's members: of names that differ in case alone the first."""
    found: dict[str, tuple[str, Value]] = {}
    for name, item in value.items():
        found.setdefault(name.lower(), (name, item))
    return dict(found.values())


def same(left: Value, right: Value) -> bool:
    """`==`: text without regard to case, mappings and lists only if they are the same one."""
    if isinstance(left, str) and isinstance(right, str):
        return upper(left) == upper(right)
    if not is_simple(left) or not is_simple(right):
        return left is right
    return as_number(left) == as_number(right)


def less(left: Value, right: Value) -> bool:
    """`<`: text in upper case by its UTF-16 units, everything else by number."""
    if isinstance(left, str) and isinstance(right, str):
        return _units(upper(left)) < _units(upper(right))
    return as_number(left) < as_number(right)


def upper(text: str) -> str:
    """Upper case, but for the dotless i, which is no I."""
    return _DOTLESS.join(part.upper() for part in text.split(_DOTLESS))


def _read_number(text: str) -> float:
    if not text:
        return 0.0
    base, digits = _BASES.get(text[:2].lower(), (0, None))
    if digits:
        found = text[2:].lower()
        return float(Decimal(int(found, base))) if digits.fullmatch(found) else math.nan
    if _INFINITY.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return float(text) if _DECIMAL.fullmatch(text) else math.nan


def _general(value: float) -> str:
    """As .NET's format `G15` does it."""
    if value == 0 or not math.isfinite(value):
        return _number_text(value)
    digits, _, power = f"{value:.14e}".partition("e")
    if int(power) in _WITHOUT_EXPONENT:
        return format(Decimal(f"{value:.15g}").normalize(), "f")
    return f"{digits.rstrip('0').rstrip('.')}E{int(power):+03d}"


def _number_text(value: float) -> str:
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    shortest = Decimal(repr(value)).normalize()
    if shortest.adjusted() in _WRITTEN_OUT:
        return format(shortest, "f")
    sign, digits, _ = shortest.as_tuple()
    head, tail = str(digits[0]), "".join(map(str, digits[1:]))
    return f"{'-' * sign}{head}{'.' * bool(tail)}{tail}e{shortest.adjusted():+d}"


def _block(opening: str, items: list[str], closing: str, indent: str) -> str:
    if not items:
        return opening + closing
    inner = f",\n{indent}  ".join(items)
    return f"{opening}\n{indent}  {inner}\n{indent}{closing}"


def _units(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")
