"""Estimated cost of Fargate and CodeBuild. Pure.

Prices are those of us-east-1, Linux, per hour (https://aws.amazon.com/fargate/pricing/, read
2026-11). Other regions cost up to twice as much. Spot prices move: AWS says "up to 70 %"
less, so 30 % of the On-Demand price is an estimate and the lower bound.
"""

from __future__ import annotations

import math

_USD_PER_VCPU_HOUR = {"X86_64": 0.04048, "ARM64": 0.03238}
_USD_PER_GB_HOUR = {"X86_64": 0.004445, "ARM64": 0.00356}
_FREE_STORAGE_GB = 20
_USD_PER_STORAGE_GB_HOUR = 0.000111
"""Of either architecture. Spot's prices are of vCPU and memory alone, so storage has its own."""
_SHARE_OF_ON_DEMAND = {"FARGATE": 1.0, "FARGATE_SPOT": 0.3}
_USD_PER_BUILD_MINUTE = 0.005
"""The size of the fleet's projects, general1.small, us-east-1, Linux on x86
(https://aws.amazon.com/codebuild/pricing/, read 2026-11). One on Arm costs a little less, and free
minutes are not counted: the estimate is the upper bound."""


def usd_per_second(
    *, cpu: int, memory: int, storage: int, architecture: str, capacity: str
) -> float:
    """Estimate what a task costs per second.

    Args:
        cpu: CPU units, 1024 a vCPU.
        memory: MiB.
        storage: Ephemeral storage, GiB.
        architecture: ``X86_64`` or ``ARM64``.
        capacity: ``FARGATE`` or ``FARGATE_SPOT``.
    """
    per_hour = (
        cpu / 1024 * _USD_PER_VCPU_HOUR[architecture]
        + memory / 1024 * _USD_PER_GB_HOUR[architecture]
    )
    per_hour *= _SHARE_OF_ON_DEMAND[capacity]
    per_hour += max(0, storage - _FREE_STORAGE_GB) * _USD_PER_STORAGE_GB_HOUR
    return round(per_hour / 3600, 10)


def usd_of_build(*, seconds: float) -> float:
    """Estimate what the build of an image costs: CodeBuild bills each minute that was begun.

    Args:
        seconds: How long it took.
    """
    return round(max(1, math.ceil(seconds / 60)) * _USD_PER_BUILD_MINUTE, 6)
