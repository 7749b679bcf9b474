"""GitHub's webhook: verify, trim, and put one event onto the fleet's bus.

The hot path: a cold start has to be over well within GitHub's 10 s, so it imports neither an SDK
nor Powertools. It answers 2xx only after the event is kept; anything else shows as failed in
GitHub's delivery log and can be redelivered.
"""

from __future__ import annotations

import gc

gc.disable()  # imports leave no garbage, and looking for it is a tenth of a cold start

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.aws.http_api import header
from fleet_runtime.aws.light_client import EventBus
from fleet_runtime.github.intake import Intake, Settings, log

gc.freeze()  # nor will there be any later in what they made
gc.enable()


@cache
def _intake() -> Intake:
    settings = environment.read(Settings)
    return Intake(settings=settings, bus=EventBus(access=settings.aws))


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Lambda's entry point for ``POST /webhook``."""
    intake = _intake()
    reply = intake.receive(event)
    measured = intake.measured(reply)
    delivery = header(event, "x-github-delivery")
    log("INFO", delivery, status=reply["statusCode"], answer=reply["body"], **measured)
    return reply
