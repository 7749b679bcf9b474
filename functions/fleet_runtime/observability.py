"""Logs, metrics and traces of every function but ``receive_webhook``, which has no time for them.

The only Powertools objects. Nothing that is logged here may hold a credential: tokens and JIT
configurations are never arguments of a log call, and a trace captures no response.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools import Logger, Tracer

from fleet_runtime import environment, metrics

Handler = Callable[[Mapping[str, Any], Any], Any]


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Names that logs and metrics carry.

    Attributes:
        service_name: The function's.
        fleet_name: Whose the metrics are: an account may have several fleets.
        tracing: Whether X-Ray gets traces.
        aws_xray_daemon_address: Where it does. Lambda names it to every function, traced or not.
    """

    service_name: str = "cdk-runner-fleet"
    fleet_name: str = "fleet"
    tracing: bool = False
    aws_xray_daemon_address: str = ""


_TELEMETRY = environment.read(Telemetry)

logger = Logger(service=_TELEMETRY.service_name)


def count(name: str) -> None:
    """Add one to a metric of the fleet's, whichever function counts."""
    measure({name: 1})


def measure(
    values: Mapping[str, float | None], *, by: Mapping[str, str] | None = None, **said: object
) -> None:
    """Write what metrics of the fleet's stand at, in one line of the log.

    Args:
        values: By the names in ``metrics``. None is not written.
        by: The values of the dimensions that they have beside the fleet.
        said: What else the line says, for who asks the log.
    """
    known = {name: value for name, value in values.items() if value is not None}
    used = {metrics.METRICS[name].by for name in known}
    of = {key: value for key, value in (by or {}).items() if key in used}
    of[metrics.FLEET] = _TELEMETRY.fleet_name
    line = {"level": "INFO", "service": _TELEMETRY.service_name, **said}
    sys.stdout.write(json.dumps(line | metrics.fields(known, of=of)) + "\n")


def observed(handler: Handler) -> Handler:
    """Give a handler its context in the logs and, if that is on and X-Ray listens, a trace."""
    with_context: Handler = logger.inject_lambda_context(handler, clear_state=True)
    if not (_TELEMETRY.tracing and _TELEMETRY.aws_xray_daemon_address):
        return with_context
    # only here: it loads the X-Ray SDK, which is heavy and comes with the layer alone
    tracer = Tracer(service=_TELEMETRY.service_name, auto_patch=False)
    traced: Handler = tracer.capture_lambda_handler(with_context, capture_response=False)
    return traced
