"""The one door to the packages underneath: exact versions, and hooks that notice when they move.

ministack and moto are changed at run time, so a new release of either could silently undo a
change. Each hook therefore states the parameters it expects of what it replaces, and anything
else is an error at start-up rather than a difference in behaviour later.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from enum import Enum
from importlib.metadata import version
from types import ModuleType
from typing import Any

PINNED = {
    "ministack": "1.5.33",
    "moto": "5.2.5",
    "jsonata-python": "0.7.1",
    "awslambdaric": "4.2.2",
}


class UpstreamMovedError(RuntimeError):
    """A package underneath is not the one the hooks were written for."""


def check_versions(pinned: dict[str, str] = PINNED) -> None:
    """Compare the installed packages with the pinned ones.

    Raises:
        UpstreamMovedError: a version differs; names all that do and what to install.
    """
    found = {name: version(name) for name in pinned}
    moved = [
        f"{name} {found[name]} (needs {pinned[name]})"
        for name in pinned
        if found[name] != pinned[name]
    ]
    if moved:
        wanted = " ".join(f"{name}=={number}" for name, number in pinned.items())
        raise UpstreamMovedError(
            f"the emulator's hooks fit other versions: {', '.join(moved)}; install {wanted}"
        )


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """The parameter names of a function, in order."""
    return tuple(inspect.signature(function).parameters)


def replace(
    owner: ModuleType | type, name: str, new: Callable[..., Any], *, takes: tuple[str, ...]
) -> Callable[..., Any]:
    """Put ``new`` in the place of ``owner.name`` and return what stood there.

    Dictionaries of the same module that hold the old function (ministack's dispatch tables) and
    moto modules that imported it by name are rewritten too.

    Args:
        owner: the module or class that holds the function.
        name: its name there.
        new: what to call instead.
        takes: the parameter names the old function must have.

    Raises:
        UpstreamMovedError: there is no such function, or its parameters are others.
    """
    old = inspect.getattr_static(owner, name, None)
    if old is None:
        raise UpstreamMovedError(f"{owner.__name__}.{name} is gone; the emulator replaces it")
    plain = old.__func__ if isinstance(old, staticmethod) else old
    if parameters(plain) != takes:
        raise UpstreamMovedError(
            f"{owner.__name__}.{name} takes {parameters(plain)}; the emulator expects {takes}"
        )
    setattr(owner, name, staticmethod(new) if isinstance(old, staticmethod) else new)
    if isinstance(owner, ModuleType):
        for table in [value for value in vars(owner).values() if isinstance(value, dict)]:
            for key in [key for key, value in table.items() if value is plain]:
                table[key] = new
    # inspect cannot tell that a function is what was found here; the parameters were compared.
    previous: Callable[..., Any] = plain
    return previous


def rebind(package: str, name: str, new: Callable[..., Any], *, modules: dict[str, Any]) -> int:
    """Point every ``from x import name`` inside ``package`` at ``new``; returns how many.

    Raises:
        UpstreamMovedError: no module of the package knows the name.
    """
    holders = [
        module
        for path, module in modules.items()
        if path.startswith(package) and hasattr(module, name)
    ]
    if not holders:
        raise UpstreamMovedError(f"no module of {package} holds {name}; the emulator replaces it")
    for module in holders:
        setattr(module, name, new)
    return len(holders)


def replace_in_handlers(
    table: dict[str, Any], resource_type: str, operation: str, new: Callable[..., Any]
) -> Callable[..., Any]:
    """Replace one operation of a CloudFormation resource type; returns the old one.

    Raises:
        UpstreamMovedError: the resource type or the operation is not there.
    """
    if operation not in table.get(resource_type, {}):
        raise UpstreamMovedError(f"ministack has no {operation} of {resource_type} any more")
    old: Callable[..., Any] = table[resource_type][operation]
    table[resource_type][operation] = new
    return old


def leave_out_batch() -> None:
    """Spare 120 MB and 0.8 s: moto's engine imports all of EC2 for one enum of AWS Batch.

    To be called before moto's engine is imported. A state of the Batch integration then fails.
    """
    utils = ModuleType("moto.batch.utils")
    # A module is a namespace; the attribute is what the importing statement asks for.
    vars(utils)["JobStatus"] = Enum("JobStatus", ["SUCCEEDED", "FAILED"])
    sys.modules.setdefault("moto.batch", ModuleType("moto.batch"))
    sys.modules.setdefault("moto.batch.utils", utils)
