"""GitHub's expression language: what stands between `${{` and `}}`.

The twin reads every expression of a workflow file, to refuse what GitHub refuses, and evaluates
those of a job's own keys: whether it runs, where, how often and under which name. Those inside
steps are left to act.

Source: docs.github.com, "Evaluate expressions in workflows and actions"; where that is silent,
npm @actions/expressions 0.3.61, which tests/local/twin compares with. What that leaves out, the
memory and which arguments are evaluated at all, is as in src/Sdk/Expressions of actions/runner.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Literal

from cdk_runner_fleet.local.twin.coercions import (
    Value,
    as_json,
    as_number,
    as_text,
    is_simple,
    less,
    members,
    number,
    same,
    truthy,
    upper,
)

__all__ = [
    "MAX_LENGTH",
    "STATUS_FUNCTIONS",
    "Expression",
    "ExpressionError",
    "Scope",
    "item_of",
    "parse",
    "together",
]

MAX_LENGTH = 21_000
MAX_DEPTH = 50
MAX_JSON_DEPTH = 99
MAX_MEMORY = 10 * 2**20
"""Bytes: what GitHub gives an expression of a workflow file."""
_BYTES_OF_CHARACTER = 2
_BYTES_OF_TEXT = 26
_BYTES_OF_OTHERS = 24

Node = Callable[["_Evaluation"], Value]
_Argument = Callable[[], Value]
"""Evaluated when a function asks for it: what it does not ask for may be wrong."""
_Kind = Literal["lexing", "parsing", "evaluation"]


class ExpressionError(ValueError):
    """An expression GitHub would refuse; says which and why.

    Args:
        message: GitHub's message.
        kind: whether a symbol is none, the order of symbols is wrong, or it has no value.
    """

    def __init__(self, message: str, *, kind: _Kind = "evaluation") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What an expression can see.

    Args:
        contexts: context name (`github`, `needs`, `matrix` …) to its value; one that is not
            there is null.
        status: `success`, `failure`, `cancelled` or `skipped`: how the jobs before went.
        cancelled: whether the run is cancelled.
        memory: bytes that the values of one expression may take at a time.
    """

    contexts: Mapping[str, Value] = field(default_factory=dict)
    status: str = "success"
    cancelled: bool = False
    memory: int = MAX_MEMORY


@dataclass(frozen=True, kw_only=True)
class Expression:
    """An expression that was read.

    Args:
        source: as written.
        value: what it comes to; raises ExpressionError.
        asks_status: whether it calls `success()`, `failure()`, `always()` or `cancelled()`.
        is_text: whether it is a text in quotes and nothing else.
    """

    source: str
    value: Callable[[Scope], Value]
    asks_status: bool
    is_text: bool


def parse(source: str, *, contexts: Collection[str], functions: Collection[str] = ()) -> Expression:
    """Reads an expression.

    Args:
        source: without `${{` and `}}`; nothing is null.
        contexts: names that may be used where it stands.
        functions: functions that may be used there besides those that may be used everywhere;
            `name()` is one that takes no arguments there.

    Raises:
        ExpressionError: it is none; `kind` is lexing or parsing.
    """
    return _Parser(source, contexts, functions).expression()


def together(pieces: Iterable[str]) -> str:
    """Pieces as one text.

    Raises:
        ExpressionError: it would be more than `MAX_MEMORY`. A format string of a few kilobytes
            can name a text of megabytes thousands of times.
    """
    kept: list[str] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece) * _BYTES_OF_CHARACTER
        if size > MAX_MEMORY:
            raise _too_large()
    return "".join(kept)


def _too_large() -> ExpressionError:
    return ExpressionError("The maximum allowed memory size was exceeded")


# Functions


def _contains(where: _Argument, item: _Argument) -> bool:
    found = where()
    if isinstance(found, list):
        return bool(found) and any(map(partial(same, item()), found))
    if not is_simple(found):
        return False
    wanted = item()
    return is_simple(wanted) and as_text(wanted).lower() in as_text(found).lower()


def _starts_with(text: _Argument, start: _Argument) -> bool:
    whole = text()
    if not is_simple(whole):
        return False
    part = start()
    return is_simple(part) and upper(as_text(whole)).startswith(upper(as_text(part)))


def _ends_with(text: _Argument, end: _Argument) -> bool:
    whole = text()
    if not is_simple(whole):
        return False
    part = end()
    return is_simple(part) and upper(as_text(whole)).endswith(upper(as_text(part)))


_FIELD = re.compile(r"\{\{|\}\}|\{(0*[0-9]{1,3})(?::((?:[^}]|\}\})*+))?\}|[{}]")


def _format(template: _Argument, *values: _Argument) -> str:
    text = as_text(template())
    fields = list(_FIELD.finditer(text))
    for found in fields:
        if found[0] in ("{", "}"):
            raise ExpressionError(f"The following format string is invalid: {text}")
        if found[1] and int(found[1]) >= len(values):
            raise ExpressionError(
                f"The following format string references more arguments than were supplied: {text}"
            )
        if found[2]:
            raise ExpressionError(f"The format specifiers '{found[2]}' are not valid: {text}")

    @cache
    def argument(index: int) -> str:
        return as_text(values[index]())

    def pieces() -> Iterator[str]:
        at = 0
        for found in fields:
            yield text[at : found.start()]
            yield argument(int(found[1])) if found[1] else found[0][0]
            at = found.end()
        yield text[at:]

    return together(pieces())


def _from_json(value: _Argument) -> Value:
    text = as_text(value())
    try:
        return _shallow(
            json.loads(
                text,
                parse_int=lambda digits: number(float(digits)),
                parse_float=lambda digits: number(float(digits)),
                parse_constant=_no_constant,
                object_pairs_hook=lambda pairs: members(dict(pairs)),
            )
        )
    except (ValueError, RecursionError) as error:
        raise ExpressionError(f"fromJSON() was given {text[:80]!r}: {error}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _shallow(value: Value) -> Value:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_JSON_DEPTH}")
        level = [inner for item in level for inner in _items(item)]
    return value


def _join(items: _Argument, separator: _Argument = lambda: ",") -> str:
    found = items()
    if not isinstance(found, list):
        return as_text(found) if is_simple(found) else ""
    between = separator() if len(found) > 1 else ""
    text = as_text(between) if is_simple(between) else ","
    return together(
        piece
        for index, item in enumerate(found)
        for piece in (text if index else "", as_text(item))
    )


def _case(*arguments: _Argument) -> Value:
    for predicate, value in zip(arguments[:-1:2], arguments[1::2], strict=True):
        holds = predicate()
        if not isinstance(holds, bool):
            raise ExpressionError("case predicate must evaluate to a boolean value")
        if holds:
            return value()
    return arguments[-1]()


@dataclass(frozen=True)
class _Function:
    least: int
    most: float
    call: Callable[..., Value]


def _results(scope: Scope, keys: tuple[Value, ...]) -> list[Value]:
    """How the jobs went that are named; one that was not needed went nowhere."""
    needs = scope.contexts.get("needs") or {}
    return [item_of(item_of(needs, key), "result") for key in keys]


def _success(scope: Scope, *keys: Value) -> bool:
    if keys:
        return all(result == "success" for result in _results(scope, keys))
    return scope.status == "success" and not scope.cancelled


def _failure(scope: Scope, *keys: Value) -> bool:
    if keys:
        return "failure" in _results(scope, keys)
    return scope.status == "failure"


_EVERYWHERE: Mapping[str, _Function] = {
    "case": _Function(3, math.inf, _case),
    "contains": _Function(2, 2, _contains),
    "endswith": _Function(2, 2, _ends_with),
    "format": _Function(1, 255, _format),
    "fromjson": _Function(1, 1, _from_json),
    "join": _Function(1, 2, _join),
    "startswith": _Function(2, 2, _starts_with),
    "tojson": _Function(1, 1, lambda value: as_json(value())),
}
STATUS_FUNCTIONS: Mapping[str, _Function] = {
    "always": _Function(0, 0, lambda _: True),
    "cancelled": _Function(0, 0, lambda scope: scope.cancelled),
    "failure": _Function(0, math.inf, _failure),
    "success": _Function(0, math.inf, _success),
}
# Whether they may be called is for the place to say; what hashFiles() comes to, for act.
_SOMEWHERE: Mapping[str, _Function] = {
    **STATUS_FUNCTIONS,
    "hashfiles": _Function(1, 255, lambda _, *__: None),
}


# Reading

_SPACES = " \r\t\n"
_BOUNDARY = r"\s()\[\],.!<>=&|"
_TOKEN = re.compile(
    rf"""[{_SPACES}]*(?:
      (?P<operator>==|!=|<=|>=|&&|\|\||[<>!(),\[\]*])
    | '(?P<text>(?:[^']|'')*)'
    | (?P<number>[0-9+-](?:[^{_BOUNDARY}]|\.)*)
    | (?P<word>[^.'{_SPACES}][^{_BOUNDARY}]*)
    )""",
    re.VERBOSE,
)
_POINT = re.compile(rf"[{_SPACES}]*(\.(?:[^{_BOUNDARY}]|\.)*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_CONSTANTS: Mapping[str, Value] = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": math.nan,
    "Infinity": math.inf,
}


class _Filtered(list[Value]):
    """What `.*` leaves: an index looks into each of its items."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int
    value: Value = None

    @property
    def written(self) -> str:
        return f"'{self.text}'" if self.kind == "text" else self.text


class _Parser:
    """Recursive descent into closures."""

    def __init__(self, source: str, contexts: Collection[str], functions: Collection[str]) -> None:
        self._source = source
        self._contexts = {name.lower() for name in contexts}
        self._functions = dict(_EVERYWHERE)
        for name in functions:
            bare = name.lower().removesuffix("()")
            found = _SOMEWHERE[bare]
            self._functions[bare] = found if bare == name.lower() else replace(found, most=0)
        self._asks_status = False
        self._depth = 0
        self._position = 0
        self._tokens = self._read_tokens()

    def expression(self) -> Expression:
        value = self._whole() if self._tokens else _constant(None)
        if self._position < len(self._tokens):
            raise self._unexpected()
        return Expression(
            source=self._source,
            value=lambda scope: value(_Evaluation(scope)),
            asks_status=self._asks_status,
            is_text=len(self._tokens) == 1 and self._tokens[0].kind == "text",
        )

    # Tokens

    def _read_tokens(self) -> list[_Token]:
        if len(self._source) > MAX_LENGTH:
            raise ExpressionError(f"Exceeded max expression length {MAX_LENGTH}", kind="lexing")
        tokens: list[_Token] = []
        at, end = 0, len(self._source.rstrip(_SPACES))
        while at < end:
            found, at = self._read_token(at, tokens[-1] if tokens else None)
            tokens.append(found)
        return tokens

    def _read_token(self, at: int, before: _Token | None) -> tuple[_Token, int]:
        point = _POINT.match(self._source, at)
        if point:
            start = point.start(1)
            # after a value it leads to a property, elsewhere a number begins with it
            if before and (before.kind == "name" or before.text in ("]", ")", "*")):
                return _Token("operator", ".", start), start + 1
            return self._number(point[1], start), point.end()
        match = _TOKEN.match(self._source, at)
        if match is None:  # a quote that is not closed
            rest = self._source[at:].lstrip(_SPACES)
            raise self._symbol(rest, len(self._source) - len(rest))
        kind = match.lastgroup or ""
        text, start = match[kind], match.start(kind)
        if kind == "text":
            return _Token(kind, text, start - 1, text.replace("''", "'")), match.end()
        if kind == "number":
            return self._number(text, start), match.end()
        if kind == "operator":
            return _Token(kind, text, start), match.end()
        if not _NAME.fullmatch(text):
            raise self._symbol(text, start)
        is_property = before is not None and before.text == "." and before.kind == "operator"
        if text in _CONSTANTS and not is_property:
            return _Token("constant", text, start, _CONSTANTS[text]), match.end()
        return _Token("name", text, start), match.end()

    def _number(self, text: str, start: int) -> _Token:
        value = as_number(text)
        if math.isnan(value):
            raise self._symbol(text, start)
        return _Token("constant", text, start, number(value))

    # Errors

    def _symbol(self, text: str, at: int) -> ExpressionError:
        return self._error(f"Unexpected symbol: '{text}'", at, "lexing")

    def _unexpected(self) -> ExpressionError:
        if self._position >= len(self._tokens):
            last = self._tokens[-1]
            return self._error(f"Unexpected end of expression: '{last.written}'", last.at)
        token = self._tokens[self._position]
        return self._error(f"Unexpected symbol: '{token.written}'", token.at)

    def _error(self, reason: str, at: int, kind: _Kind = "parsing") -> ExpressionError:
        return ExpressionError(
            f"{reason}. Located at position {at + 1} within expression: {self._source}", kind=kind
        )

    # Grammar

    def _take(self, *operators: str) -> str | None:
        if self._position < len(self._tokens):
            token = self._tokens[self._position]
            if token.kind == "operator" and token.text in operators:
                self._position += 1
                return token.text
        return None

    def _expect(self, operator: str) -> None:
        if self._take(operator) is None:
            raise self._unexpected()

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"Exceeded max expression depth {MAX_DEPTH}", kind="parsing")

    def _whole(self) -> Node:
        self._deeper()
        node = self._either()
        self._depth -= 1
        return node

    def _either(self) -> Node:
        return self._logical("||", self._both, stops=truthy)

    def _both(self) -> Node:
        return self._logical("&&", self._equality, stops=lambda value: not truthy(value))

    def _logical(
        self, operator: str, operand: Callable[[], Node], *, stops: Callable[[Value], bool]
    ) -> Node:
        nodes = [operand()]
        if self._take(operator):
            self._deeper()
            nodes.append(operand())
            while self._take(operator):
                nodes.append(operand())
            self._depth -= 1
        *first, last = nodes

        def value(evaluation: _Evaluation) -> Value:
            for node in first:
                found = node(evaluation)
                if stops(found):
                    return found
            return last(evaluation)

        return _counted(value) if first else last

    def _equality(self) -> Node:
        node = self._comparison()
        while operator := self._take("==", "!="):
            node = _compared(node, operator, self._comparison())
        return node

    def _comparison(self) -> Node:
        node = self._unary()
        while operator := self._take("<", "<=", ">", ">="):
            node = _compared(node, operator, self._unary())
        return node

    def _unary(self) -> Node:
        if self._take("!"):
            self._deeper()
            node = self._unary()
            self._depth -= 1
            return _counted(lambda evaluation: not truthy(node(evaluation)))
        return self._indexed()

    def _indexed(self) -> Node:
        node, takes_index = self._primary()
        depth = self._depth
        while takes_index and (operator := self._take(".", "[")):
            if operator == "[":
                index = None if self._take("*") else self._whole()
                self._expect("]")
                self._deeper()
            else:
                self._deeper()
                index = None if self._take("*") else self._property()
            node = _looked_up(node, index)
        self._depth = depth
        return node

    def _property(self) -> Node:
        if self._position >= len(self._tokens) or self._tokens[self._position].kind != "name":
            raise self._unexpected()
        name = self._tokens[self._position].text
        self._position += 1
        return _constant(name)

    def _primary(self) -> tuple[Node, bool]:
        """A value, and whether an index may follow it."""
        if self._take("("):
            node = self._whole()
            self._expect(")")
            return node, True
        if self._position >= len(self._tokens):
            raise self._unexpected()
        token = self._tokens[self._position]
        if token.kind == "operator":
            raise self._unexpected()
        self._position += 1
        if token.kind == "name":
            return self._call(token) if self._take("(") else self._named(token), True
        return _constant(token.value), False

    def _named(self, token: _Token) -> Node:
        name = token.text.lower()
        if name not in self._contexts:
            raise self._error(f"Unrecognized named-value: '{token.text}'", token.at)
        return _counted(lambda evaluation: evaluation.scope.contexts.get(name))

    def _call(self, token: _Token) -> Node:
        arguments: list[Node] = []
        if not self._take(")"):
            arguments.append(self._whole())
            while self._take(","):
                arguments.append(self._whole())
            self._expect(")")
        name = token.text.lower()
        if name not in self._functions:
            raise self._error(f"Unrecognized function: '{token.text}'", token.at)
        function = self._functions[name]
        if len(arguments) < function.least:
            raise self._error(f"Too few parameters supplied: '{token.text}'", token.at)
        if len(arguments) > function.most:
            raise self._error(f"Too many parameters supplied: '{token.text}'", token.at)
        if name == "case" and len(arguments) % 2 == 0:
            raise self._error(
                "Even number of parameters supplied, requires an odd number of parameters: "
                f"'{token.text}'",
                token.at,
            )
        call = function.call
        if name in _EVERYWHERE:
            return _counted(
                lambda evaluation: call(*[partial(each, evaluation) for each in arguments])
            )
        self._asks_status |= name in STATUS_FUNCTIONS
        return _counted(
            lambda evaluation: call(evaluation.scope, *[each(evaluation) for each in arguments])
        )


# Evaluating


@dataclass
class _Evaluation:
    """One evaluation of an expression.

    Args:
        scope: what it sees.
        held: bytes that its values take now.
    """

    scope: Scope
    held: int = 0


def _counted(node: Node) -> Node:
    """A node whose value is counted; one that is simple lets go of what it was made from."""

    def value(evaluation: _Evaluation) -> Value:
        before = evaluation.held
        found = node(evaluation)
        if is_simple(found):
            evaluation.held = before
        if isinstance(found, str):
            evaluation.held += _BYTES_OF_TEXT + len(found) * _BYTES_OF_CHARACTER
        else:
            evaluation.held += _BYTES_OF_OTHERS
        if evaluation.held > evaluation.scope.memory:
            raise _too_large()
        return found

    return value


def _constant(value: Value) -> Node:
    return _counted(lambda _: value)


def _compared(left: Node, operator: str, right: Node) -> Node:
    holds = _COMPARISONS[operator]
    return _counted(lambda evaluation: holds(left(evaluation), right(evaluation)))


_COMPARISONS: Mapping[str, Callable[[Value, Value], bool]] = {
    "==": same,
    "!=": lambda left, right: not same(left, right),
    "<": less,
    "<=": lambda left, right: same(left, right) or less(left, right),
    ">": lambda left, right: less(right, left),
    ">=": lambda left, right: same(left, right) or less(right, left),
}


def _looked_up(node: Node, index: Node | None) -> Node:
    if index is None:
        return _counted(lambda evaluation: _Filtered(_items(node(evaluation))))

    def value(evaluation: _Evaluation) -> Value:
        found = node(evaluation)
        if is_simple(found):
            return None
        key = index(evaluation)
        if isinstance(found, _Filtered):
            each = (item_of(item, key, _MISSING) for item in found)
            return _Filtered(item for item in each if item is not _MISSING)
        return item_of(found, key)

    return _counted(value)


_MISSING = object()


def _items(value: Value) -> list[Value]:
    """What `.*` takes out of a value."""
    if isinstance(value, _Filtered):
        return [inner for item in value for inner in _items(item)]
    if isinstance(value, Mapping):
        return list(members(value).values())
    return value if isinstance(value, list) else []


def item_of(value: Value, key: Value, missing: Value = None) -> Value:
    """`value[key]`; names are looked up without regard to case."""
    if isinstance(value, list):
        index = as_number(key)
        if not 0 <= index < len(value):  # nor NaN
            return missing
        return value[math.floor(index)]
    if isinstance(value, Mapping) and is_simple(key):
        wanted = as_text(key).lower()
        return next((item for name, item in value.items() if name.lower() == wanted), missing)
    return missing
