"""GitHub Actions jobs on ephemeral ECS Fargate runners, as CDK constructs.

Names are loaded when they are first used: the command line and the local fleet live in this
package too and must not pay for importing aws-cdk-lib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdk_runner_fleet.alarms import FleetAlarms
    from cdk_runner_fleet.context import FleetSettings
    from cdk_runner_fleet.dashboard import FleetDashboard
    from cdk_runner_fleet.fleet import RunnerFleet
    from cdk_runner_fleet.log_queries import FleetLogQueries
    from cdk_runner_fleet.metrics import IRunnerFleet, JobConclusion, MetricOptions
    from cdk_runner_fleet.platform import RunnerPlatform
    from cdk_runner_fleet.rooms.classes import ClassRunners
    from cdk_runner_fleet.stack import RunnerFleetStack
    from cdk_runner_fleet.values.functions import FunctionOptions
    from cdk_runner_fleet.values.github import GitHub, GitHubApp, RegisterFor
    from cdk_runner_fleet.values.limits import RunnerLimits
    from cdk_runner_fleet.values.mounts import EfsMount
    from cdk_runner_fleet.values.reconciliation import Reconciliation
    from cdk_runner_fleet.values.runner_class import Architecture, CapacityProvider, RunnerClass
    from cdk_runner_fleet.values.runner_image import ImageBuilds, ImageVariant, RunnerImage
    from cdk_runner_fleet.values.timeouts import LifecycleTimeouts
    from cdk_runner_fleet.values.webhook import Webhook

__all__ = [
    "Architecture",
    "CapacityProvider",
    "ClassRunners",
    "EfsMount",
    "FleetAlarms",
    "FleetDashboard",
    "FleetLogQueries",
    "FleetSettings",
    "FunctionOptions",
    "GitHub",
    "GitHubApp",
    "IRunnerFleet",
    "ImageBuilds",
    "ImageVariant",
    "JobConclusion",
    "LifecycleTimeouts",
    "MetricOptions",
    "Reconciliation",
    "RegisterFor",
    "RunnerClass",
    "RunnerFleet",
    "RunnerFleetStack",
    "RunnerImage",
    "RunnerLimits",
    "RunnerPlatform",
    "Webhook",
]

_HOMES = {
    "Architecture": "cdk_runner_fleet.values.runner_class",
    "CapacityProvider": "cdk_runner_fleet.values.runner_class",
    "ClassRunners": "cdk_runner_fleet.rooms.classes",
    "EfsMount": "cdk_runner_fleet.values.mounts",
    "FleetAlarms": "cdk_runner_fleet.alarms",
    "FleetDashboard": "cdk_runner_fleet.dashboard",
    "FleetLogQueries": "cdk_runner_fleet.log_queries",
    "FleetSettings": "cdk_runner_fleet.context",
    "FunctionOptions": "cdk_runner_fleet.values.functions",
    "GitHub": "cdk_runner_fleet.values.github",
    "GitHubApp": "cdk_runner_fleet.values.github",
    "ImageBuilds": "cdk_runner_fleet.values.runner_image",
    "ImageVariant": "cdk_runner_fleet.values.runner_image",
    "IRunnerFleet": "cdk_runner_fleet.metrics",
    "JobConclusion": "cdk_runner_fleet.metrics",
    "LifecycleTimeouts": "cdk_runner_fleet.values.timeouts",
    "MetricOptions": "cdk_runner_fleet.metrics",
    "Reconciliation": "cdk_runner_fleet.values.reconciliation",
    "RegisterFor": "cdk_runner_fleet.values.github",
    "RunnerClass": "cdk_runner_fleet.values.runner_class",
    "RunnerFleet": "cdk_runner_fleet.fleet",
    "RunnerFleetStack": "cdk_runner_fleet.stack",
    "RunnerImage": "cdk_runner_fleet.values.runner_image",
    "RunnerLimits": "cdk_runner_fleet.values.limits",
    "RunnerPlatform": "cdk_runner_fleet.platform",
    "Webhook": "cdk_runner_fleet.values.webhook",
}


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
