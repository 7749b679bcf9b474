"""What a fleet is composed of: each part in a room of its own, made by the fleet alone.

A room is loaded when it is first used, with the modules of aws-cdk-lib that it is made of: who
imports the library to say what a fleet is does not wait for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from cdk_runner_fleet.rooms import (
        admission,
        api,
        bus,
        catalog,
        classes,
        cluster,
        connection,
        dispatch,
        explanation,
        functions,
        image_pipeline,
        images,
        intake,
        lifecycle,
        network,
        reconciliation,
        registration,
        registry,
    )

__all__ = [
    "admission",
    "api",
    "bus",
    "catalog",
    "classes",
    "cluster",
    "connection",
    "dispatch",
    "explanation",
    "functions",
    "image_pipeline",
    "images",
    "intake",
    "lifecycle",
    "network",
    "reconciliation",
    "registration",
    "registry",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
