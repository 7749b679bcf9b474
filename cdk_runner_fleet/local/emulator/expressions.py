"""JSONata as Step Functions evaluates it.

moto writes the state's data into the *source text* of the expression before it is evaluated, so a
quote in a job's label could become code. Here values are bound as variables and an expression is
parsed once, from the state machine's file alone: nothing that data holds is ever parsed.

Step Functions implements JSONata 2.0.6. The parser underneath is of a later version: what that one
reads and 2.0.6 does not is refused here too. So is a bare name: a state's expression is evaluated
over no document, so ``row.status`` for ``$row.status`` would quietly be nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from jsonata.jsonata import Jsonata
from jsonata.tokenizer import Tokenizer
from jsonata.utils import Utils

from . import javascript, upstream
from .jsonata_functions import FUNCTIONS, clock, held

_LATER_OPERATORS = ("??", "?:")  # of JSONata 2.1.0


class ParseError(Exception):
    """Step Functions refuses a definition with this expression (InvalidDefinition)."""


class EvaluationError(Exception):
    """The expression failed or gave nothing that JSON can hold (States.QueryEvaluationError)."""


def _next_token(self: Tokenizer, prefix: bool) -> Tokenizer.Token | None:
    """The next token of JSONata 2.0.6, in which ``??`` and ``?:`` are two tokens each."""
    token = _next_token_of_later(self, prefix)
    if token is not None and token.type == "operator" and token.value in _LATER_OPERATORS:
        self.position -= 1
        return self.create("operator", "?")
    return token


# not in an install(): whoever evaluates an expression here gets this version's parser
_next_token_of_later = upstream.replace(Tokenizer, "next", _next_token, takes=("self", "prefix"))


# where a part of an expression has the same context as the whole; a predicate, a later step of a
# path and a lambda's body have another one
_SAME_CONTEXT = (
    "lhs", "rhs", "expression", "expressions", "condition", "then", "_else", "arguments",
    "lhs_object",
)  # fmt: skip


def _bare_name(node: Any) -> str | None:
    """The first name that an expression reads from its context."""
    if isinstance(node, list | tuple):
        parts = list(node)
    elif node.type == "name":
        return str(node.value)
    elif node.type == "path":
        parts = node.steps[:1]
    else:
        parts = [getattr(node, field, None) for field in _SAME_CONTEXT]
    return next((name for part in parts if part is not None and (name := _bare_name(part))), None)


@functools.lru_cache(maxsize=4096)
def _compiled(expression: str) -> Jsonata:
    try:
        compiled = Jsonata(expression, javascript.regex)
    except Exception as error:
        raise ParseError(f"{_said(error)}, in {expression!r}") from error
    name = _bare_name(compiled.ast)
    if name is not None:
        raise ParseError(
            f"Reference to {name!r} at the top level is not supported, in {expression!r}"
        )
    for name, function in FUNCTIONS.items():
        compiled.register_function(name, function)
    # undefined and null are two things in Step Functions: the first is an error.
    compiled.set_output_convert_nulls(False)
    return compiled


def _plain_output(value: Any, expression: str) -> Any:
    if value is Utils.NULL_VALUE:
        return None
    if isinstance(value, dict):
        return {key: _plain_output(item, expression) for key, item in value.items()}
    if isinstance(value, range):
        return list(value)
    if isinstance(value, (list, tuple)):
        return [_plain_output(item, expression) for item in value]
    if isinstance(value, float):
        # JSON has one kind of number; JSONata writes 2 for 4/2.
        return javascript.whole(value) if value.is_integer() else value
    if isinstance(value, int) and abs(value) > javascript.LARGEST_EXACT:
        return javascript.whole(float(value))
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise EvaluationError(
        f"The JSONata expression '{expression}' returned an unsupported result type."
    )


def _said(error: Exception) -> str:
    code = getattr(error, "error", None)
    return f"{code}: {error}" if isinstance(code, str) else str(error)


def parse(expression: str) -> None:
    """Look whether Step Functions takes an expression, without its ``{% %}``.

    Raises:
        ParseError: JSONata 2.0.6 cannot read it, or it reads a bare name.
    """
    _compiled(expression)


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """Evaluate an expression, without its ``{% %}``, over variables named without their ``$``.

    Raises:
        ParseError: Step Functions would not take it.
        EvaluationError: it fails, is undefined, or gives a function.
    """
    compiled = _compiled(expression)
    try:
        given = {name: held(value) for name, value in variables.items()}
        result = compiled.evaluate(None, clock() | given)
    except EvaluationError:
        raise
    except Exception as error:
        raise EvaluationError(_said(error)) from error
    if result is None:
        raise EvaluationError(
            f"The JSONata expression '{expression}' returned nothing (undefined)."
        )
    return _plain_output(result, expression)
