"""What GitHub sends, as it comes: samples of its deliveries, signed, and on the bus."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from fleet_runtime.job import webhook
from fleet_runtime.job.job import JobEvent
from fleet_runtime.job.label_rules import LabelRules
from fleet_runtime.job.scope import Scope

SAMPLES = Path(__file__).parent / "samples"
WEBHOOK_SECRET = "the-webhook-secret"


def sample(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return document


def delivery(
    payload: object,
    *,
    event: str | None = "workflow_job",
    secret: str = WEBHOOK_SECRET,
    signature: str | None = None,
    encoded: bool = False,
) -> dict[str, Any]:
    """A delivery as the HTTP API passes it on; ``payload`` may be raw bytes."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-hub-signature-256": signed if signature is None else signature,
    }
    if event is not None:
        headers["x-github-event"] = event
    text = base64.b64encode(body).decode() if encoded else body.decode()
    return {"version": "2.0", "headers": headers, "body": text, "isBase64Encoded": encoded}


def bus_event(payload: dict[str, Any]) -> dict[str, Any]:
    """The bus event that ``receive_webhook`` makes of a delivery."""
    happened = webhook.read(
        json.dumps(payload).encode(),
        event="workflow_job",
        delivery="d",
        received_at=1781551342,
        scope=Scope(kind="repos", name="octo-org/example"),
        label_rules=LabelRules(single_labels={"dependabot": "medium"}),
        runner_name_prefix="fleet",
    )
    assert isinstance(happened, JobEvent), happened
    return {
        "source": "cdk-runner-fleet/fleet",
        "detail-type": "workflow_job",
        "detail": json.loads(json.dumps(happened.to_detail())),
    }


def job(name: str, /, **changes: Any) -> dict[str, Any]:
    """A sample delivery with a changed ``workflow_job``."""
    payload = sample(name)
    payload["workflow_job"].update(changes)
    return payload
