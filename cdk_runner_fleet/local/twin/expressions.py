"""GitHub's expression language, as far as a job's own keys use it.

The twin has to decide for itself whether a job runs (`if`), where (`runs-on`), how often
(`strategy.matrix`) and under which name. Whatever stands inside steps is left to act.

Grammar and coercions: docs.github.com, "Evaluate expressions in workflows and actions".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ExpressionError", "Scope", "condition", "interpolate"]

Value = Any  # a JSON value

STATUS_FUNCTIONS = frozenset({"success", "failure", "always", "cancelled"})

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?(?:0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))
    | '(?P<string>(?:[^']|'')*)'
    | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
    | (?P<operator>==|!=|<=|>=|&&|\|\||[<>!().,\[\]*])
    )""",
    re.VERBOSE,
)
_EMBEDDED = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


class ExpressionError(ValueError):
    """An expression the twin cannot read or does not support; says which and why."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What an expression can see.

    Args:
        contexts: context name (`github`, `needs`, `matrix` …) to its value.
        status: `success`, `failure` or `cancelled`: how the jobs needed so far went.
    """

    contexts: Mapping[str, Value] = field(default_factory=dict)
    status: str = "success"


def condition(text: object, scope: Scope) -> bool:
    """Whether a job's `if` lets it run; `success()` is implied unless a status is asked for."""
    if text is None:
        return scope.status == "success"
    source = _bare(text) if isinstance(text, str) else json.dumps(text)
    parser = _Parser(source, scope)
    wanted = truthy(parser.value())
    return wanted and (parser.asked_status or scope.status == "success")


def interpolate(value: Value, scope: Scope) -> Value:
    """Evaluates every `${{ }}` in a JSON value; a string that is one expression keeps its type."""
    if isinstance(value, str):
        whole = _EMBEDDED.fullmatch(value.strip())
        if whole and "${{" not in whole[1]:
            return _Parser(whole[1], scope).value()
        return _EMBEDDED.sub(lambda match: as_text(_Parser(match[1], scope).value()), value)
    if isinstance(value, Mapping):
        return {key: interpolate(item, scope) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [interpolate(item, scope) for item in value]
    return value


def truthy(value: Value) -> bool:
    """GitHub's falsy values: false, 0, -0, "", null, NaN."""
    if isinstance(value, Mapping | list):
        return True
    return bool(value) and not (isinstance(value, float) and math.isnan(value))


def as_text(value: Value) -> str:
    """How GitHub writes a value into a string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping):
        return "Object"
    return "Array" if isinstance(value, list) else str(value)


def _bare(text: str) -> str:
    whole = _EMBEDDED.fullmatch(text.strip())
    return whole[1] if whole else text


def _number(value: Value) -> float:
    if value is None or value == "":
        return 0.0
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(int(value, 16)) if value.lower().startswith("0x") else float(value)
        except ValueError:
            return math.nan
    return math.nan


def _same(left: Value, right: Value) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.casefold() == right.casefold()
    if isinstance(left, Mapping | list) or isinstance(right, Mapping | list):
        return left is right
    if left is None and right is None:
        return True
    return _number(left) == _number(right)


def _less(left: Value, right: Value) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.casefold() < right.casefold()
    return _number(left) < _number(right)


def _contains(where: Value, item: Value) -> bool:
    if isinstance(where, list):
        return any(_same(candidate, item) for candidate in where)
    return as_text(item).casefold() in as_text(where).casefold()


def _format(template: Value, *values: Value) -> str:
    def piece(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if int(match[1]) >= len(values):
            raise ExpressionError(f"format() has no argument for {match[0]}")
        return as_text(values[int(match[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}", piece, as_text(template))


def _from_json(text: Value) -> Value:
    try:
        return json.loads(as_text(text))
    except ValueError as error:
        raise ExpressionError(f"fromJSON() was given {as_text(text)[:80]!r}: {error}") from error


def _join(items: Value, separator: Value = ",") -> str:
    return as_text(separator).join(map(as_text, items if isinstance(items, list) else [items]))


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "contains": _contains,
    "startswith": lambda text, start: (
        as_text(text).casefold().startswith(as_text(start).casefold())
    ),
    "endswith": lambda text, end: as_text(text).casefold().endswith(as_text(end).casefold()),
    "format": _format,
    "join": _join,
    "tojson": lambda value: json.dumps(value, indent=2),
    "fromjson": _from_json,
}


class _Parser:
    """Recursive descent that evaluates as it reads; expressions are one line long."""

    def __init__(self, source: str, scope: Scope) -> None:
        self.source = source
        self.scope = scope
        self.asked_status = False
        self.tokens = self._tokens()
        self.position = 0

    def value(self) -> Value:
        result = self._or()
        if self.position < len(self.tokens):
            raise self._error(f"unexpected {self.tokens[self.position][1]!r}")
        return result

    def _tokens(self) -> list[tuple[str, str]]:
        tokens, at, end = [], 0, len(self.source.rstrip())
        while at < end:
            match = _TOKEN.match(self.source, at)
            if match is None:
                raise self._error(f"unexpected {self.source[at : at + 20]!r}")
            kind = match.lastgroup or ""
            tokens.append((kind, match[kind]))
            at = match.end()
        return tokens

    def _error(self, reason: str) -> ExpressionError:
        return ExpressionError(f"cannot evaluate the expression {self.source.strip()!r}: {reason}")

    def _take(self, *operators: str) -> str | None:
        if self.position < len(self.tokens):
            kind, text = self.tokens[self.position]
            if kind == "operator" and text in operators:
                self.position += 1
                return text
        return None

    def _expect(self, operator: str) -> None:
        if self._take(operator) is None:
            raise self._error(f"{operator!r} is missing")

    def _or(self) -> Value:
        left = self._and()
        while self._take("||"):
            right = self._and()
            left = left if truthy(left) else right
        return left

    def _and(self) -> Value:
        left = self._equality()
        while self._take("&&"):
            right = self._equality()
            left = right if truthy(left) else left
        return left

    def _equality(self) -> Value:
        left = self._comparison()
        while operator := self._take("==", "!="):
            left = _same(left, self._comparison()) == (operator == "==")
        return left

    def _comparison(self) -> Value:
        left = self._unary()
        while operator := self._take("<", "<=", ">", ">="):
            right = self._unary()
            if operator in ("<", "<="):
                left = _less(left, right) or (operator == "<=" and _same(left, right))
            else:
                left = _less(right, left) or (operator == ">=" and _same(left, right))
        return left

    def _unary(self) -> Value:
        if self._take("!"):
            return not truthy(self._unary())
        return self._dereferenced(self._primary())

    def _primary(self) -> Value:
        if self._take("("):
            result = self._or()
            self._expect(")")
            return result
        if self.position >= len(self.tokens):
            raise self._error("it ends too early")
        kind, text = self.tokens[self.position]
        self.position += 1
        if kind == "string":
            return text.replace("''", "'")
        if kind == "number":
            number = _number(text)
            return int(number) if number.is_integer() else number
        if kind == "name":
            return self._call(text) if self._take("(") else self._named(text)
        raise self._error(f"unexpected {text!r}")

    def _named(self, name: str) -> Value:
        constants: dict[str, Value] = {"true": True, "false": False, "null": None}
        if name.lower() in constants:
            return constants[name.lower()]
        return self.scope.contexts.get(name.lower())

    def _call(self, name: str) -> Value:
        arguments: list[Value] = []
        if not self._take(")"):
            arguments.append(self._or())
            while self._take(","):
                arguments.append(self._or())
            self._expect(")")
        function = name.lower()
        if function in STATUS_FUNCTIONS:
            self.asked_status = True
            return function in ("always", self.scope.status)
        if function not in _FUNCTIONS:
            raise self._error(f"the twin has no {name}(); it has {', '.join(sorted(_FUNCTIONS))}")
        try:
            return _FUNCTIONS[function](*arguments)
        except TypeError as error:
            raise self._error(f"{name}() does not take {len(arguments)} arguments") from error

    def _dereferenced(self, value: Value) -> Value:
        while operator := self._take(".", "["):
            if operator == ".":
                value = self._property(value)
            else:
                value = _item(value, self._or())
                self._expect("]")
        return value

    def _property(self, value: Value) -> Value:
        if self._take("*"):
            return list(value.values()) if isinstance(value, Mapping) else value
        if self.position >= len(self.tokens) or self.tokens[self.position][0] != "name":
            raise self._error("a property name is missing after '.'")
        name = self.tokens[self.position][1]
        self.position += 1
        if isinstance(value, list):  # what `.*` left: the property of each
            return [_item(each, name) for each in value]
        return _item(value, name)


def _item(value: Value, key: Value) -> Value:
    """`value[key]`; null where there is none. Names are looked up without regard to case."""
    if isinstance(value, list):
        index = _number(key)
        return value[int(index)] if 0 <= index < len(value) else None
    if isinstance(value, Mapping):
        wanted = as_text(key).casefold()
        return next((item for name, item in value.items() if name.casefold() == wanted), None)
    return None
