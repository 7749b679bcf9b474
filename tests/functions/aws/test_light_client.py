"""What becomes of events and secrets if AWS does not answer as it should, over the real handler."""

from __future__ import annotations

from typing import Any

import pytest

from ..events import delivery, sample
from ..light_aws import LightAws, post


@pytest.mark.parametrize(
    "fault",
    [
        (200, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}),
        (400, {"__type": "AccessDeniedException", "message": "not allowed"}),
        (400, {"__type": "com.amazon#ValidationException", "message": "no"}),
    ],
)
def test_503_if_the_bus_did_not_take_the_event(
    light: LightAws, fault: tuple[int, dict[str, Any]]
) -> None:
    light.faults["PutEvents"] = [fault]
    assert post(delivery(sample("queued"))) == (503, "the event could not be kept, redeliver it")
    assert light.calls.count("PutEvents") == 1
    assert post(delivery(sample("queued")))[0] == 202


def test_server_errors_throttling_and_lost_connections_are_tried_again(light: LightAws) -> None:
    light.faults["GetSecretValue"] = [(500, {"__type": "InternalFailure"})]
    light.faults["PutEvents"] = [(0, {}), (400, {"__type": "ThrottlingException"})]
    assert post(delivery(sample("queued"))) == (202, "accepted")
    assert light.calls == ["GetSecretValue"] * 2 + ["PutEvents"] * 3


@pytest.mark.parametrize("operation", ["GetSecretValue", "PutEvents"])
def test_503_after_three_attempts(light: LightAws, operation: str) -> None:
    light.faults[operation] = [(503, {})] * 4
    assert post(delivery(sample("queued")))[0] == 503
    assert light.calls.count(operation) == 3
