"""Logs, metrics and traces of every function but ``receive_webhook``, which has no time for them.

The only Powertools objects. Nothing that is logged here may hold a credential: tokens and JIT
configurations are never arguments of a log call, and a trace captures no response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from fleet_runtime import environment

Handler = Callable[[Mapping[str, Any], Any], Any]


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Names that logs and metrics carry.

    Attributes:
        service_name: The function's. Not by the name that Powertools knows: it would be a dimension
            of every metric then, which no accessor of the fleet's asks for.
        powertools_metrics_namespace: The metrics'.
        fleet_name: Whose the metrics are: an account may have several fleets.
        tracing: Whether X-Ray gets traces.
        aws_xray_daemon_address: Where it does. Lambda names it to every function, traced or not.
    """

    service_name: str = "cdk-runner-fleet"
    powertools_metrics_namespace: str = "RunnerFleet"
    fleet_name: str = "fleet"
    tracing: bool = False
    aws_xray_daemon_address: str = ""


_TELEMETRY = environment.read(Telemetry)

logger = Logger(service=_TELEMETRY.service_name)


def count(name: str) -> None:
    """Add one to a metric of the fleet's, written as one EMF line, whichever function counts."""
    gauge(name, 1)


def gauge(name: str, value: float, *, who: str | None = None) -> None:
    """Write what a metric stands at, as one EMF line.

    Args:
        name: The metric.
        value: A count.
        who: Whose it is in the fleet, a dimension beside the fleet's name. Default: the fleet's.
    """
    with single_metric(
        name=name,
        unit=MetricUnit.Count,
        value=value,
        namespace=_TELEMETRY.powertools_metrics_namespace,
    ) as metric:
        metric.add_dimension(name="fleet", value=_TELEMETRY.fleet_name)
        if who is not None:
            metric.add_dimension(name="who", value=who)


def observed(handler: Handler) -> Handler:
    """Give a handler its context in the logs and, if that is on and X-Ray listens, a trace."""
    with_context: Handler = logger.inject_lambda_context(handler, clear_state=True)
    if not (_TELEMETRY.tracing and _TELEMETRY.aws_xray_daemon_address):
        return with_context
    # only here: it loads the X-Ray SDK, which is heavy and comes with the layer alone
    tracer = Tracer(service=_TELEMETRY.service_name, auto_patch=False)
    traced: Handler = tracer.capture_lambda_handler(with_context, capture_response=False)
    return traced
