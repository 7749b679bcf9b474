"""The function that GitHub calls: what it loads, and what it tells nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from . import light_aws
from .aws_stand_in import ENVIRONMENT
from .events import WEBHOOK_SECRET, delivery, sample
from .light_aws import LightAws, post
from .lines import lines, measured

light = light_aws.light


def test_no_credential_reaches_the_log(light: LightAws, capsys: pytest.CaptureFixture[str]) -> None:
    quoted = f"should have been x-amz-security-token:{ENVIRONMENT['AWS_SESSION_TOKEN']}"
    light.faults["PutEvents"] = [(403, {"__type": "InvalidSignatureException", "message": quoted})]
    assert post(delivery(sample("queued")))[0] == 503
    assert post(delivery(sample("queued"), secret="wrong"))[0] == 401
    printed = capsys.readouterr().out
    told = [json.loads(line) for line in printed.splitlines()]
    assert [line.get("status") for line in told] == [None, 503, 401]
    assert all(line["delivery"] for line in told)
    for secret in (
        WEBHOOK_SECRET,
        ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        ENVIRONMENT["AWS_SESSION_TOKEN"],
        delivery(sample("queued"))["headers"]["x-hub-signature-256"],
    ):
        assert secret not in printed


@pytest.mark.parametrize(
    ("request_", "rejected"),
    [
        (delivery(sample("queued")), False),
        (delivery({"zen": "x"}, event="ping"), False),
        (delivery(sample("queued"), secret="another"), True),
        (delivery(b"no JSON"), True),
    ],
)
def test_a_rejected_delivery_is_a_metric_on_the_line_that_tells_of_it(
    request_: dict[str, Any],
    rejected: bool,
    light: LightAws,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = post(request_)[0]
    [line] = lines(capsys.readouterr().out)
    assert line["status"] == status
    assert measured(line) == ({"WebhookRejected": (1, ("fleet",))} if rejected else {})


def test_the_hot_path_loads_what_it_needs_and_nothing_else() -> None:
    code = "import sys, receive_webhook; print('\\n'.join(sys.modules))"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {name for name in loaded if name.startswith("fleet_runtime.")} == {
        "fleet_runtime.aws",
        "fleet_runtime.aws.http_api",
        "fleet_runtime.aws.light_client",
        "fleet_runtime.aws.secret_field",
        "fleet_runtime.environment",
        "fleet_runtime.github",
        "fleet_runtime.github.intake",
        "fleet_runtime.github.networks",
        "fleet_runtime.github.signature",
        "fleet_runtime.job",
        "fleet_runtime.job.job",
        "fleet_runtime.job.label_rules",
        "fleet_runtime.job.labels",
        "fleet_runtime.job.runner_name",
        "fleet_runtime.job.scope",
        "fleet_runtime.job.webhook",
    }
    assert not {"boto3", "aws_lambda_powertools"} & {name.partition(".")[0] for name in loaded}
    heavy = {"session", "client", "credentials", "loaders"}
    assert not {f"botocore.{name}" for name in heavy} & set(loaded)
