"""What is read of requests that come through the HTTP API, over the real handler."""

from __future__ import annotations

import json

from ..events import delivery, job, sample
from ..light_aws import LightAws, post


def test_a_base64_body_is_verified_over_the_bytes_it_stands_for(light: LightAws) -> None:
    payload = json.dumps(job("queued", name="Prüfung ✓ &"), ensure_ascii=False).encode()
    assert post(delivery(payload, encoded=True))[0] == 202
    assert json.loads(light.events[0]["Detail"])["job"]["name"] == "Prüfung ✓ &"


def test_header_names_count_in_any_case(light: LightAws) -> None:
    event = delivery(sample("queued"))
    event["headers"] = {name.title(): value for name, value in event["headers"].items()}
    assert post(event)[0] == 202


def test_400_for_a_body_that_is_missing_or_no_base64(light: LightAws) -> None:
    event = delivery(b"")
    del event["body"]
    assert post(event)[0] == 400
    event = delivery(sample("queued"), encoded=True)
    event["body"] = "***"
    assert post(event)[0] == 400
