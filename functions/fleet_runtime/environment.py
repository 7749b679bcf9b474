"""What a deployment has set for a function, read into its settings. The only ``os.environ``.

Settings are a class with a field for each variable, named like it in small letters. A field that
has a default may be missing, or empty. How a text is read follows from the field's type:

    str, int, float         as it stands; numbers are whole or decimal, and not negative
    bool                    ``on`` or ``off``
    tuple, frozenset        a JSON list
    Mapping                 a JSON object of texts
    a class with ``parse``  by that
    another class           settings too: a group of variables that belong together; one that may
                            be None is, where none of them is set
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")

_MISSING = object()


class SettingError(Exception):
    """An environment variable is missing or cannot be read."""


def read(settings: type[Settings]) -> Settings:
    """Fill settings from the environment.

    Args:
        settings: Their class, which takes its fields by name.

    Raises:
        SettingError: naming the variable that is missing or cannot be read.
    """
    values: dict[str, Any] = {}
    for name, kind in get_type_hints(settings).items():
        kinds = [each for each in get_args(kind) if each is not NoneType]
        single = kinds[0] if NoneType in get_args(kind) else kind
        if is_group(single):
            is_left_out = NoneType in get_args(kind) and not _is_given(single)
            values[name] = None if is_left_out else read(single)
            continue
        key = name.upper()
        text = os.environ.get(key, "")
        if text:
            values[name] = _read(single, text, key=key)
        elif getattr(settings, name, _MISSING) is _MISSING:
            raise SettingError(f"environment variable {key} is not set: deploy the stack again")
    try:
        return settings(**values)
    except ValueError as error:
        raise SettingError(f"environment variables do not go together: {error}") from error


def _is_given(group: type) -> bool:
    return any(os.environ.get(name.upper()) for name in get_type_hints(group))


def is_group(kind: Any) -> bool:
    """Whether a field of this type is settings itself, not one variable."""
    return (
        isinstance(kind, type)
        and get_origin(kind) is None
        and kind not in (str, int, float, bool)
        and not hasattr(kind, "parse")
    )


def _read(kind: Any, text: str, *, key: str) -> Any:
    try:
        return kind.parse(text) if hasattr(kind, "parse") else _value(kind, text)
    except (ValueError, TypeError) as error:
        raise SettingError(f"environment variable {key} is {text!r}: {error}") from error


def _value(kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if kind is bool:
        return _switch(text)
    if kind is int:
        return _whole(text)
    if kind is float:
        return _amount(text)
    return _collection(kind, text)


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("use on or off")
    return text == "on"


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("it must be a whole number")
    return int(text)


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise ValueError("it must be a number, and not below 0")
    return amount


def _collection(kind: Any, text: str) -> Any:
    container, part = get_origin(kind), get_args(kind)[0]
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if container is Mapping:
        if isinstance(found, dict) and all(isinstance(each, str) for each in found.values()):
            return found
        raise ValueError("it must be a JSON object of texts")
    if part is str:
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return container(found)
        raise ValueError("it must be a JSON list of texts")
    if isinstance(found, list) and all(isinstance(each, dict) for each in found):
        return container(part(**each) for each in found)
    raise ValueError("it must be a JSON list of objects")
