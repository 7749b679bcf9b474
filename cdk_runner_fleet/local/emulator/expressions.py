"""JSONata as Step Functions evaluates it.

moto writes the state's data into the *source text* of the expression before it is evaluated, so a
quote in a job's label could become code. Here values are bound as variables and an expression is
parsed once, from the state machine's file alone: nothing that data holds is ever parsed.

Step Functions implements JSONata 2.0.6. The parser underneath is of a later version: what that one
reads and 2.0.6 does not is refused here too. So is a bare name: a state's expression is evaluated
over no document, so ``row.status`` for ``$row.status`` would quietly be nothing.

Step Functions' own functions: https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import math
import random
import time
import uuid
from collections.abc import Mapping
from typing import Any

from jsonata import functions as jsonata_functions
from jsonata.jsonata import Jsonata
from jsonata.tokenizer import Tokenizer
from jsonata.utils import Utils

from . import upstream

_ALGORITHMS = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}
_MOST_RANGE_ITEMS = 1000  # quota of $range, as of States.ArrayRange
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


def _partition(array: Any, size: Any) -> list[list[Any]]:
    if not isinstance(array, list):
        raise EvaluationError(f"$partition takes an array, got {array!r}")
    width = math.floor(size)
    if width <= 0:
        raise EvaluationError(f"$partition takes a chunk size above 0, got {size!r}")
    return [list(array[at : at + width]) for at in range(0, len(array), width)]


def _range(first: Any, last: Any, step: Any) -> list[int]:
    start, end, delta = math.floor(first), math.floor(last), math.floor(step)
    if delta == 0:
        raise EvaluationError("$range takes a step other than 0")
    values = range(start, end + (1 if delta > 0 else -1), delta)
    if len(values) > _MOST_RANGE_ITEMS:
        raise EvaluationError(f"$range gives at most {_MOST_RANGE_ITEMS} items, got {len(values)}")
    return list(values)


def _hash(source: Any, algorithm: Any) -> str:
    if algorithm not in _ALGORITHMS:
        raise EvaluationError(f"$hash takes one of {', '.join(_ALGORITHMS)}, got {algorithm!r}")
    text = source if isinstance(source, str) else json.dumps(source, separators=(",", ":"))
    return hashlib.new(_ALGORITHMS[algorithm], text.encode()).hexdigest()


def _random(seed: Any = None) -> float:
    source = random if seed is None else random.Random(math.floor(seed))  # noqa: S311 - as specified
    return source.random()


def _uuid() -> str:
    return str(uuid.uuid4())


def _millis() -> int:
    """Base ``$millis``, which here tells when this thread evaluated the expression before."""
    return time.time_ns() // 1_000_000


def _parse(text: Any) -> Any:
    return json.loads(text)


def _replace(text: Any = None, pattern: Any = None, new: Any = None, limit: Any = None) -> Any:
    """Base ``$replace``, but a pattern that matches nothing fails (D1004) instead of hanging."""
    if hasattr(pattern, "search") and (found := pattern.search("")) and found.group() == "":
        raise EvaluationError("D1004: regular expression matches zero length string")
    return jsonata_functions.Functions.replace(text, pattern, new, limit)


def _no_eval(*_: Any) -> Any:
    raise EvaluationError("$eval is not available in Step Functions; use $parse")


_FUNCTIONS = {
    "partition": _partition,
    "range": _range,
    "hash": _hash,
    "random": _random,
    "uuid": _uuid,
    "millis": _millis,
    "parse": _parse,
    "replace": _replace,
    "eval": _no_eval,
}


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
        compiled = Jsonata(expression)
    except Exception as error:
        raise ParseError(f"{_said(error)}, in {expression!r}") from error
    name = _bare_name(compiled.ast)
    if name is not None:
        raise ParseError(
            f"Reference to {name!r} at the top level is not supported, in {expression!r}"
        )
    for name, function in _FUNCTIONS.items():
        compiled.register_lambda(name, function)
    # undefined and null are two things in Step Functions: the first is an error.
    compiled.set_output_convert_nulls(False)
    return compiled


def _plain_input(value: Any) -> Any:
    """A copy the evaluator may keep: JSON values only (moto holds start times as datetimes)."""
    if isinstance(value, Mapping):
        return {key: _plain_input(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_input(item) for item in value]
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    return value


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
        return int(value) if value.is_integer() else value
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
        result = compiled.evaluate(None, {name: _plain_input(v) for name, v in variables.items()})
    except EvaluationError:
        raise
    except Exception as error:
        raise EvaluationError(_said(error)) from error
    if result is None:
        raise EvaluationError(
            f"The JSONata expression '{expression}' returned nothing (undefined)."
        )
    return _plain_output(result, expression)


def state_variables(states_data: Mapping[str, Any]) -> dict[str, Any]:
    """The value of ``$states``: ``result`` and ``errorOutput`` only where they exist."""
    optional = ("result", "errorOutput")
    return {
        key: value for key, value in states_data.items() if key not in optional or value is not None
    }
