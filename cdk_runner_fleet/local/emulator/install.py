"""All hooks, in the order they depend on each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cdk_runner_fleet.local.emulator.buildah import RunnerImages

from . import (
    access,
    builds,
    cloudformation,
    engine,
    faults,
    front,
    functions,
    integrations,
    tasks,
    upstream,
    usage,
)
from .options import Options


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """The parts that hold processes or answer requests."""

    engine: engine.Engine
    faults: faults.Faults
    front: front.Front
    functions: functions.Functions
    tasks: tasks.Tasks


def everything(options: Options) -> Emulator:
    """Change ministack and moto into the emulator.

    Raises:
        upstream.UpstreamMovedError: one of them is not what the hooks were written for.
    """
    upstream.check_versions()
    table = faults.Faults()
    states = engine.install()
    integrations.install(options.endpoint)
    access.install(states.tokens)
    lambdas = functions.install(options, table)
    images = (
        RunnerImages(options.tasks_dir / "images", workspace=Path.cwd())
        if options.images == "buildah"
        else None
    )
    containers = tasks.install(options, table, images=images)
    builds.install(options, table, images=images)
    cloudformation.install(options.endpoint, table)
    return Emulator(
        engine=states,
        faults=table,
        front=front.install(
            options,
            engine=states,
            functions=lambdas,
            tasks=containers,
            faults=table,
            usage=usage.install(),
        ),
        functions=lambdas,
        tasks=containers,
    )
