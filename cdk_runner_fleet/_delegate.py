"""Methods of a room that the fleet has too."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def of(room: str, method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """``method`` of a room as one of the fleet's, with its signature and its docstring."""

    @wraps(method)
    def call(fleet: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(getattr(fleet, room), *args, **kwargs)

    return call
