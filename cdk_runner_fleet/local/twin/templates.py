"""Texts of a workflow file with `${{ }}` in them, and the `if` of jobs and steps.

Source: docs.github.com, "Evaluate expressions in workflows and actions"; where that is silent,
npm @actions/workflow-parser 0.3.61, which tests/local/twin compares with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cdk_runner_fleet.local.twin.coercions import Value, as_text, truthy
from cdk_runner_fleet.local.twin.expressions import (
    MAX_LENGTH,
    STATUS_FUNCTIONS,
    Expression,
    ExpressionError,
    Scope,
    parse,
    together,
)

__all__ = [
    "INSERT",
    "JOB_CONTEXTS",
    "Condition",
    "Template",
    "condition",
    "interpolate",
    "read_condition",
    "read_template",
]

JOB_CONTEXTS = ("github", "inputs", "vars", "needs", "strategy", "matrix")
"""What may be used in a job's own keys; its `if` has neither `strategy` nor `matrix`."""
INSERT = "insert"
"""`${{ insert }}` as a key: the members of its value take its place."""
_OPENING, _CLOSING = "${{", "}}"


@dataclass(frozen=True)
class Template:
    """A text, in pieces.

    Args:
        pieces: literal text and expressions, in their order.
    """

    pieces: tuple[str | Expression, ...]

    @property
    def whole(self) -> Expression | None:
        """The expression that is all of it."""
        only = self.pieces[0] if len(self.pieces) == 1 else None
        return only if isinstance(only, Expression) else None

    @property
    def has_expressions(self) -> bool:
        """Whether there is one in it."""
        return any(isinstance(piece, Expression) for piece in self.pieces)

    def value(self, scope: Scope) -> Value:
        """What it comes to: text, unless one expression is all of it."""
        if self.whole:
            return self.whole.value(scope)
        return together(
            piece if isinstance(piece, str) else as_text(piece.value(scope))
            for piece in self.pieces
        )


@dataclass(frozen=True, kw_only=True)
class Condition:
    """An `if`.

    Args:
        template: what decides.
        asks_status: whether it asks how the jobs before went; else they have to have succeeded.
        is_trap: whether it is text with an expression in it: GitHub takes that for true always.
    """

    template: Template
    asks_status: bool
    is_trap: bool

    def holds(self, scope: Scope) -> bool:
        """Whether it lets the job run; raises ExpressionError."""
        if not self.asks_status and (scope.status != "success" or scope.cancelled):
            return False
        return truthy(self.template.value(scope))


def read_template(
    text: str, *, contexts: Collection[str], functions: Collection[str] = ()
) -> Template:
    """Reads a text.

    Args:
        text: as YAML has it.
        contexts: names that its expressions may use.
        functions: functions that they may use besides those allowed everywhere.

    Raises:
        ExpressionError: an expression is not closed, or is none.
    """
    pieces: list[str | Expression] = []
    at = 0
    while (start := text.find(_OPENING, at)) >= 0:
        if start > at:
            pieces.append(text[at:start])
        end = _end(text, start + len(_OPENING))
        source = text[start + len(_OPENING) : end - len(_CLOSING)].strip()
        pieces.append(_piece(source, contexts, functions, alone=(start, end) == (0, len(text))))
        at = end
    if at < len(text) or not pieces:
        pieces.append(text[at:])
    if len(pieces) > 1 and sum(map(_length, pieces)) + len("format('')") > MAX_LENGTH:
        raise ExpressionError(f"Exceeded max expression length {MAX_LENGTH}", kind="lexing")
    return Template(tuple(pieces))


def read_condition(
    text: str, *, contexts: Collection[str], functions: Collection[str] = tuple(STATUS_FUNCTIONS)
) -> Condition:
    """Reads an `if`, with or without `${{ }}` around it; nothing is `success()`.

    Raises:
        ExpressionError: it is none.
    """
    template = read_template(text, contexts=contexts, functions=functions)
    whole = template.whole
    if whole and whole.is_text:  # `${{ 'a == b' }}` is no more than its text
        text, whole = whole.value(Scope()), None
        template = Template((text,))
    if not template.has_expressions:
        source = text.strip() or "success()"
        whole = parse(source, contexts=contexts, functions=functions)
        template = Template((whole,))
    expressions = [piece for piece in template.pieces if isinstance(piece, Expression)]
    return Condition(
        template=template,
        asks_status=any(each.asks_status for each in expressions),
        is_trap=whole is None,
    )


def condition(text: str | None, scope: Scope) -> bool:
    """Whether a job's `if` lets it run; raises ExpressionError."""
    contexts = ("github", "inputs", "vars", "needs")
    return read_condition(text or "", contexts=contexts).holds(scope)


def interpolate(value: Value, scope: Scope) -> Value:
    """Evaluates every `${{ }}` of a job's own key; raises ExpressionError."""
    if isinstance(value, str):
        return read_template(value, contexts=JOB_CONTEXTS).value(scope)
    if isinstance(value, Mapping):
        found: dict[str, Value] = {}
        for name, item in value.items():
            template = read_template(name, contexts=JOB_CONTEXTS)
            inner = interpolate(item, scope)
            if not template.whole or template.whole.source != INSERT:
                found[as_text(template.value(scope))] = inner
            elif isinstance(inner, Mapping):
                found |= inner
            else:
                raise ExpressionError("A mapping was expected")
        return found
    return [interpolate(item, scope) for item in value] if isinstance(value, list) else value


def _end(text: str, at: int) -> int:
    """Where an expression ends that begins at a position; quotes hide what would close it."""
    in_quotes = False
    for index in range(at, len(text)):
        if text[index] == "'":
            in_quotes = not in_quotes
        elif not in_quotes and text[index - 1 : index + 1] == _CLOSING and index > at:
            return index + 1
    raise ExpressionError(
        f"The expression is not closed. An unescaped {_OPENING} sequence was found, but the "
        f"closing {_CLOSING} sequence was not found.",
        kind="lexing",
    )


def _length(piece: str | Expression) -> int:
    """Of a piece in the one expression, a `format()`, that GitHub makes of a text with some."""
    if isinstance(piece, Expression):
        return len(piece.source) + len("{0}, ")
    return len(piece) + sum(map(piece.count, "'{}"))


def _piece(
    source: str, contexts: Collection[str], functions: Collection[str], *, alone: bool
) -> Expression:
    if not source:
        raise ExpressionError("An expression was expected", kind="parsing")
    if source != INSERT:
        return parse(source, contexts=contexts, functions=functions)
    if not alone:
        raise ExpressionError(
            f"The directive '{INSERT}' is not allowed in this context. Directives are not "
            "supported for expressions that are embedded within a string. Directives are only "
            "supported when the entire value is an expression.",
            kind="parsing",
        )
    return Expression(source=INSERT, value=lambda _: None, asks_status=False, is_text=False)
