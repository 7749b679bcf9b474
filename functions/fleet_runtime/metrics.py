"""Every metric that the functions write, with its unit and what tells it apart. Pure.

Needs nothing but the standard library and imports nothing of the fleet: the constructs read this
very file, so what an accessor names is what is written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

NAMESPACE = "RunnerFleet"
"""CloudWatch namespace of them all."""

FLEET = "fleet"
"""The dimension that all of them have: an account may have several fleets."""


class Metric(NamedTuple):
    """What a metric's values are.

    Attributes:
        unit: CloudWatch's name of it.
        by: The dimension beside the fleet; empty if it has none. CloudWatch bills each value of it
            as a metric of its own, so there is a known and small number of them.
    """

    unit: str = "Count"
    by: str = ""


COUNT = Metric()
SECONDS = Metric(unit="Seconds")
USD = Metric(unit="None")
"""US dollars, of which CloudWatch has no unit."""

METRICS: Mapping[str, Metric] = {
    # jobs
    "ForeignJobOnImage": COUNT,
    "JobEnded": Metric(by="conclusion"),
    "JobInLine": COUNT,
    "JobLost": COUNT,
    "JobRefused": COUNT,
    "JobRerun": COUNT,
    "JobUnserved": COUNT,
    "JobsQueued": COUNT,
    "LongestWaitSeconds": SECONDS,
    "QueueSeconds": SECONDS,
    # classes
    "CatalogRefused": COUNT,
    # runners
    "AdmissionSeconds": SECONDS,
    "AssignmentSeconds": SECONDS,
    "BootSeconds": SECONDS,
    "CapabilityMissing": COUNT,
    "ClaimRepeated": COUNT,
    "HeartbeatLost": COUNT,
    "LaunchSeconds": SECONDS,
    "RegistrationRefused": COUNT,
    "RunnerFailed": Metric(by="error"),
    "RunnerReplaced": COUNT,
    "RunnersHeld": COUNT,
    "RunnersIdle": COUNT,
    "RunnersRunning": COUNT,
    "RunnersStarting": COUNT,
    "RunnersWaiting": COUNT,
    "SignalTooLate": COUNT,
    # money
    "BudgetSpentUsd": USD,
    "IdleSeconds": SECONDS,
    "IdleUsd": USD,
    "RunnerUsd": USD,
    # images
    "BuildsWaiting": COUNT,
    "ImageBuildFailed": COUNT,
    "ImageBuildStarted": COUNT,
    "ImageRebuildFailed": COUNT,
    "ImageRebuilt": COUNT,
    "RunnerVersionDaysLeft": COUNT,
    # GitHub
    "ExplainRefused": COUNT,
    "GitHubQuotaLeft": Metric(by="who"),
    "GitHubUnavailable": COUNT,
    "ScopeNotFound": COUNT,
    # deliveries, and what reconciliation makes up for
    "DeliveriesRedelivered": COUNT,
    "DeliveriesRefused": COUNT,
    "DemandMissing": COUNT,
    "EventRepaired": COUNT,
    "HookNetworksRefused": COUNT,
    "ListingIncomplete": COUNT,
    "ReconcileStepFailed": COUNT,
    "RunnersSwept": COUNT,
    "SurplusReleased": COUNT,
    "WebhookRejected": COUNT,
}


def fields(values: Mapping[str, float], *, of: Mapping[str, str]) -> dict[str, Any]:
    """What a line of a log says so that CloudWatch takes metrics out of it.

    That is the embedded metric format (Amazon CloudWatch User Guide, "Specification: Embedded
    metric format"), a JSON object, which may have any other members too. It costs what the line
    does, and no call.

    Args:
        values: What the metrics stand at, by their names.
        of: The values of their dimensions.
    """
    named: dict[str, list[dict[str, str]]] = {}
    for name in values:
        metric = METRICS[name]
        named.setdefault(metric.by, []).append({"Name": name, "Unit": metric.unit})
    directives = [
        {
            "Namespace": NAMESPACE,
            "Dimensions": [[FLEET, by] if by else [FLEET]],
            "Metrics": metrics,
        }
        for by, metrics in named.items()
    ]
    head = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": directives}
    return {"_aws": head, **of, **values}
