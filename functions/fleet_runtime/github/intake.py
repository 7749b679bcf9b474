"""Where GitHub's deliveries come in: verified, trimmed, and put onto the fleet's bus.

GitHub waits ten seconds, so nothing is imported here that a delivery does not need, and what is
logged is a JSON line by the standard library.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.aws.http_api import (
    BodyTooLargeError,
    UnreadableBodyError,
    answer,
    check_size,
    header,
    raw_body,
    source_address,
)
from fleet_runtime.aws.light_client import AwsAccess, AwsError, EventBus
from fleet_runtime.aws.secret_field import SecretFieldError, read_value
from fleet_runtime.github.networks import Networks
from fleet_runtime.github.signature import is_signed
from fleet_runtime.job import webhook
from fleet_runtime.job.label_rules import LabelRules
from fleet_runtime.job.scope import Scope

_LARGEST_BODY = 1024 * 1024
"""Bytes; real ``workflow_job`` payloads have 7 to 12 KB. GitHub's own cap, for all events, is 25 MB
("Webhook events and payloads"), of which API Gateway lets 10 through."""
_SECRET_SECONDS = 300
"""A secret that matches is read again after this: who has replaced it waits no longer."""
_FORGERY_SECONDS = 10
"""A secret that did not match is read again after this, so that forgeries cost no calls."""
_NETWORKS_SECONDS = 3600
"""What GitHub delivers from is read again after this; it is noted as often."""
_NETWORKS_RETRY_SECONDS = 60
"""The same if it could not be read: what was known stays, and strangers cost no calls."""
_REJECTED = 400
"""The first status that is a refusal."""

_EVERYWHERE = Networks()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Whose deliveries are taken, and where they go."""

    event_bus_name: str
    event_source: str
    webhook_secret_arn: str
    github_scope: Scope
    runner_name_prefix: str
    label_rules: LabelRules
    aws: AwsAccess
    webhook_secret_field: str = ""
    webhook_allowed_cidrs: Networks = _EVERYWHERE
    hook_networks_param: str = ""
    fleet_name: str = "fleet"


class Intake:
    """Answers deliveries. Holds what it checks them by between invocations, and nothing else."""

    def __init__(self, *, settings: Settings, bus: EventBus) -> None:
        self._settings = settings
        self._bus = bus
        self._secrets: tuple[str, ...] = ()
        # by the clock on the wall: a process may be frozen for hours between two deliveries
        self._read_at = self._mismatched_at = float("-inf")
        self._noted = _EVERYWHERE
        self._networks_due_at = float("-inf")

    def receive(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a delivery that came through the HTTP API."""
        address = source_address(event)
        if not self._networks().include(address):
            return _message(
                403, f"{address[:50]} is not in webhook_allowed_cidrs: see GitHub's /meta for hooks"
            )
        signature = header(event, "x-hub-signature-256")
        if not signature:
            return _message(401, "the X-Hub-Signature-256 header is missing")
        try:
            check_size(event, largest=_LARGEST_BODY)
            body = raw_body(event)
        except BodyTooLargeError as error:
            return _message(413, str(error))
        except UnreadableBodyError as error:
            return _message(400, str(error))
        try:
            if not self._is_ours(body, signature):
                return _message(401, "the signature is wrong: compare the webhook's secret")
            happened = webhook.read(
                body,
                event=header(event, "x-github-event"),
                delivery=header(event, "x-github-delivery"),
                received_at=int(time.time()),
                scope=self._settings.github_scope,
                label_rules=self._settings.label_rules,
                runner_name_prefix=self._settings.runner_name_prefix,
            )
            if isinstance(happened, webhook.Ignored):
                return _message(200, happened.reason)
            self._bus.put(
                bus=self._settings.event_bus_name,
                source=self._settings.event_source,
                detail_type="workflow_job",
                detail=happened.to_detail(),
            )
        except webhook.BadDeliveryError as error:
            return _message(400, str(error))
        except AwsError as error:
            log("ERROR", header(event, "x-github-delivery"), error=str(error))
            return _message(503, "the event could not be kept, redeliver it")
        return _message(202, "accepted")

    def measured(self, reply: Mapping[str, Any]) -> dict[str, Any]:
        """What the log's line says besides, if a delivery was rejected: that is a metric."""
        if reply["statusCode"] < _REJECTED:
            return {}
        # only here: deliveries that are taken do without the table of metrics
        from fleet_runtime.metrics import FLEET, fields  # noqa: PLC0415

        return fields({"WebhookRejected": 1}, of={FLEET: self._settings.fleet_name})

    def _networks(self) -> Networks:
        """Where deliveries may come from now.

        From everywhere until a first list of GitHub's was noted: who has signed a delivery decides
        in any case, and a fleet that has just been deployed would hear of no job.
        """
        own, parameter, now = (
            self._settings.webhook_allowed_cidrs,
            self._settings.hook_networks_param,
            time.time(),
        )
        if not parameter:
            return own
        if not self._networks_due_at - _NETWORKS_SECONDS <= now < self._networks_due_at:
            try:
                self._noted = Networks.parse(self._bus.parameter(parameter))
                self._networks_due_at = now + _NETWORKS_SECONDS
            except (AwsError, ValueError) as error:
                log("ERROR", "", error=f"networks of GitHub's webhooks cannot be read: {error}")
                self._networks_due_at = now + _NETWORKS_RETRY_SECONDS
        return own | self._noted if self._noted else _EVERYWHERE

    def _is_ours(self, body: bytes, signature: str) -> bool:
        now = time.time()
        if any(is_signed(body, signature=signature, secret=known) for known in self._secrets):
            if 0 <= now - self._read_at < _SECRET_SECONDS:
                return True
        elif 0 <= now - self._mismatched_at < _FORGERY_SECONDS:
            return False
        current = self._read_secret("AWSCURRENT")
        if not current:
            raise AwsError("the webhook's secret is empty, put the one entered at GitHub into it")
        # the one before it goes: it may have been replaced as well since
        self._secrets, self._read_at = (current,), now
        if is_signed(body, signature=signature, secret=current):
            return True
        # rotation: GitHub signs with the old secret until the new one is entered there
        previous = self._read_secret("AWSPREVIOUS")
        self._secrets = (current, previous) if previous else (current,)
        self._mismatched_at = now
        return bool(previous) and is_signed(body, signature=signature, secret=previous or "")

    def _read_secret(self, stage: str) -> str | None:
        arn, field = self._settings.webhook_secret_arn, self._settings.webhook_secret_field
        text = self._bus.secret(arn, stage=stage)
        try:
            return text and (read_value(text, field=field, arn=arn) if field else text)
        except SecretFieldError as error:
            if stage == "AWSPREVIOUS":
                return None  # from before it had fields
            raise AwsError(str(error)) from None


def _message(status: int, message: str) -> dict[str, Any]:
    return answer(status, {"message": message})


def log(level: str, delivery: str, **fields: object) -> None:
    """Write one JSON line about a delivery."""
    line = {"level": level, "service": "receive_webhook", "delivery": delivery[:100], **fields}
    sys.stdout.write(json.dumps(line) + "\n")
