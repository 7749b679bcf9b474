"""The functions of an expression: Step Functions' own, and JSONata's as version 2.0.6 has them.

The evaluator underneath differs from that version in what is replaced here; ``Base`` is its own.
tests/local/emulator/test_jsonata_law.py holds the rest to it, and lists what differs still.

Step Functions' own functions: https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import math
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from jsonata.functions import Functions
from jsonata.jsonata import Jsonata
from jsonata.signature import Signature
from jsonata.utils import Utils

from . import javascript, upstream

_ALGORITHMS = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}
_MOST_RANGE_ITEMS = 1000  # quota of $range, as of States.ArrayRange


def held(value: Any) -> Any:
    """A copy the evaluator may keep: JSON values only (moto holds start times as datetimes).

    Null is the evaluator's own, for it takes Python's for a value that is missing. Numbers are
    JavaScript's.
    """
    if value is None:
        return Utils.NULL_VALUE
    if isinstance(value, int) and abs(value) > javascript.LARGEST_EXACT:
        return int(float(value))
    if isinstance(value, Mapping):
        return {key: held(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [held(item) for item in value]
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    return value


def _symbol(self: Signature, value: Any) -> str:
    """What an argument is to a signature: null is itself, not a missing one."""
    return "l" if value is Utils.NULL_VALUE else str(_symbol_of_later(self, value))


def _text(arg: Any, prettify: bool) -> str:
    """Base ``$string`` of anything but a string, with 15 digits of every number."""
    if isinstance(arg, float) and not math.isfinite(arg):
        raise ValueError(f"D3001: attempting to invoke string function on {arg}")
    indent = "  " if prettify else ""
    return javascript.json_text(arg, number=javascript.rounded, indent=indent)


def _numeric(self: Jsonata, lhs: Any, rhs: Any, op: str) -> Any:
    """Base arithmetic, in which ``%`` keeps the fraction."""
    if op == "%" and all(each is not None and Utils.is_numeric(each) for each in (lhs, rhs)):
        return Utils.convert_number(math.fmod(lhs, rhs))
    return _numeric_of_later(self, lhs, rhs, op)


def _includes(self: Jsonata, lhs: Any, rhs: Any) -> bool:
    """Base ``in``, to which true and 1 are two values."""
    del self  # upstream's signature
    if lhs is None or rhs is None:
        return False
    is_whole = isinstance(lhs, (dict, list))
    return any(
        each is lhs or (not is_whole and Utils.is_deep_equal(each, lhs))
        for each in (rhs if isinstance(rhs, list) else [rhs])
    )


# not in an install(): whoever evaluates an expression here gets this version's language
_symbol_of_later = upstream.replace(Signature, "get_symbol", _symbol, takes=("self", "value"))
upstream.replace(Functions, "_string", _text, takes=("arg", "prettify"))
_numeric_of_later = upstream.replace(
    Jsonata, "evaluate_numeric_expression", _numeric, takes=("self", "lhs", "rhs", "op")
)
upstream.replace(Jsonata, "evaluate_includes_expression", _includes, takes=("self", "lhs", "rhs"))


def _partition(array: Any, size: Any) -> list[list[Any]]:
    if not isinstance(array, list):
        raise ValueError(f"$partition takes an array, got {array!r}")
    width = math.floor(size)
    if width <= 0:
        raise ValueError(f"$partition takes a chunk size above 0, got {size!r}")
    return [list(array[at : at + width]) for at in range(0, len(array), width)]


def _range(first: Any, last: Any, step: Any) -> list[int]:
    start, end, delta = math.floor(first), math.floor(last), math.floor(step)
    if delta == 0:
        raise ValueError("$range takes a step other than 0")
    values = range(start, end + (1 if delta > 0 else -1), delta)
    if len(values) > _MOST_RANGE_ITEMS:
        raise ValueError(f"$range gives at most {_MOST_RANGE_ITEMS} items, got {len(values)}")
    return list(values)


def _hash(source: Any, algorithm: Any) -> str | None:
    if source is None:
        return None
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"$hash takes one of {', '.join(_ALGORITHMS)}, got {algorithm!r}")
    text = source if isinstance(source, str) else javascript.json_text(source)
    return hashlib.new(_ALGORITHMS[algorithm], text.encode()).hexdigest()


def _random(seed: Any = None) -> float:
    source = random if seed is None else random.Random(math.floor(seed))  # noqa: S311 - as specified
    return source.random()


def _uuid() -> str:
    return str(uuid.uuid4())


def _parse(text: Any) -> Any:
    def refuse(word: str) -> Any:
        raise ValueError(f"$parse takes JSON, and {word} is none")

    def number(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits)

    if text is None:
        return None
    return held(json.loads(text, parse_constant=refuse, parse_float=number))


def _number(arg: Any = None) -> Any:
    """Base ``$number``, of what JavaScript takes for a number."""
    if not isinstance(arg, str):
        return Functions.number(arg)
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([Ee][-+]?[0-9]+)?", arg, re.ASCII):
        value = float(arg)
        if math.isfinite(value):
            return value
    elif re.fullmatch(r"0([xX][0-9A-Fa-f]+|[oO][0-7]+|[bB][01]+)", arg):
        return float(int(arg, 0))
    raise ValueError(f"D3030: Unable to cast value to a number: {arg!r}")


def _to_millis(timestamp: Any = None, picture: Any = None) -> Any:
    """Base ``$toMillis``, which takes the times that JavaScript does where no picture says."""
    if timestamp is None or picture is not None:
        return Functions.datetime_to_millis(timestamp, picture)
    found = _TIME.fullmatch(timestamp)
    if found is None:
        raise ValueError(f"D3110: not an ISO 8601 timestamp: {timestamp!r}")
    year, month, day, hour, minute, second = (int(each or 0) for each in found.groups()[:6])
    fraction, zone = found["fraction"] or "", (found["zone"] or "Z").replace(":", "")
    offset = 0 if zone == "Z" else int(zone[1:3]) * 60 + int(zone[3:])
    first = datetime.datetime(year, month or 1, 1, tzinfo=datetime.UTC)
    after = datetime.timedelta(
        days=(day or 1) - 1,
        hours=hour,
        minutes=minute + (offset if zone[0] == "-" else -offset),
        seconds=second,
        milliseconds=int(fraction[:3].ljust(3, "0")),
    )
    return (first + after - _EPOCH) // datetime.timedelta(milliseconds=1)


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_TIME = re.compile(
    r"(\d{4})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01]))?)?"
    r"(?:T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(?P<fraction>\d+))?(?P<zone>[+-]\d{2}:?\d{2}|Z)?)?",
    re.ASCII,
)


def _base64encode(text: Any = None) -> str | None:
    """Base ``$base64encode``, of one byte a character (the lower one)."""
    if text is None:
        return None
    return base64.b64encode(text.encode("utf-16-le", "surrogatepass")[::2]).decode()


def _base64decode(text: Any = None) -> str | None:
    """Base ``$base64decode``, to one character a byte; what is none of base64's is left out."""
    if text is None:
        return None
    known = re.sub(r"[^A-Za-z0-9+/]", "", text.partition("=")[0].translate(_URL_SAFE))
    if len(known) % 4 == 1:
        known = known[:-1]
    return base64.b64decode(known + "=" * (-len(known) % 4)).decode("latin-1")


_URL_SAFE = str.maketrans("-_", "+/")


def _replace(text: Any = None, pattern: Any = None, new: Any = None, limit: Any = None) -> Any:
    """Base ``$replace``, but a pattern that matches nothing fails (D1004) instead of hanging.

    And ``$`` in what replaces a plain text is itself.
    """
    if text and pattern and isinstance(pattern, str) and isinstance(new, str):
        if limit is not None and limit < 0:
            raise ValueError(f"D3011: fourth argument of replace must not be below 0: {limit}")
        return text.replace(pattern, new, -1 if limit is None else math.ceil(limit))
    if hasattr(pattern, "search") and (found := pattern.search("")) and found.group() == "":
        raise ValueError("D1004: regular expression matches zero length string")
    return Functions.replace(text, pattern, new, limit)


def _lowercase(text: Any = None) -> Any:
    return None if text is None else text.lower()


def _distinct(values: Any = None) -> Any:
    """Base ``$distinct``, to which true and 1 are two values."""
    if not isinstance(values, list) or len(values) <= 1:
        return values
    found = Utils.create_sequence() if isinstance(values, Utils.JList) else []
    for value in values:
        if not any(Utils.is_deep_equal(value, each) for each in found):
            found.append(value)
    return found


def _sort(values: Any = None, comparator: Any = None) -> Any:
    """Base ``$sort``, which by itself sorts numbers or texts."""
    if comparator is None and isinstance(values, list) and len(values) > 1:
        texts = [isinstance(value, str) for value in values]
        if not (all(texts) or (not any(texts) and all(map(Utils.is_numeric, values)))):
            raise ValueError("D3070: $sort takes numbers or texts, unless a function is given")
    return Functions.sort(values, comparator)


def _no_eval(*_: Any) -> Any:
    raise ValueError("$eval is not available in Step Functions; use $parse")


def _function(implementation: Callable[..., Any], signature: str) -> Jsonata.JFunction:
    return Jsonata.JFunction(Jsonata.JLambda(implementation), signature)


FUNCTIONS = {
    "partition": Jsonata.JLambda(_partition),
    "range": Jsonata.JLambda(_range),
    "hash": Jsonata.JLambda(_hash),
    "random": Jsonata.JLambda(_random),
    "uuid": Jsonata.JLambda(_uuid),
    "parse": _function(_parse, "<s-:x>"),
    "eval": Jsonata.JLambda(_no_eval),
    "replace": _function(_replace, "<s-(sf)(sf)n?:s>"),
    "lowercase": _function(_lowercase, "<s-:s>"),
    "distinct": _function(_distinct, "<x:x>"),
    "sort": _function(_sort, "<af?:a>"),
    "number": _function(_number, "<(nsb)-:n>"),
    "toMillis": _function(_to_millis, "<s-s?:n>"),
    "base64encode": _function(_base64encode, "<s-:s>"),
    "base64decode": _function(_base64decode, "<s-:s>"),
}


def clock() -> dict[str, Any]:
    """``$millis`` and ``$now``: of one moment, that of this evaluation.

    The evaluator's own tell when this thread evaluated the expression that it read last.
    """
    millis = time.time_ns() // 1_000_000

    def now(picture: Any = None, timezone: Any = None) -> Any:
        return Functions.datetime_from_millis(millis, picture, timezone)

    return {"millis": _function(lambda: millis, "<:n>"), "now": _function(now, "<s?s?:s>")}
