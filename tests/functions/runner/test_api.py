"""What runners may call, over the real handler."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ..aws_stand_in import RUNNER, Aws
from ..entry_points import CLAIM, EVENTS, report


def test_404_for_a_runner_that_is_none(post: Any) -> None:
    assert post(CLAIM)[0] == 404


@pytest.mark.parametrize(
    "path",
    ["/", "/runners/x", "/runners//claim", "/runners/a/b/claim/", "/runners/a/claim/x",
     f"/runners/{'x' * 65}/claim", "/runners/a%20b/claim", "/runners/a/claim\n"],
)  # fmt: skip
def test_404_for_a_path_that_is_none(post: Any, path: str) -> None:
    status, document, _ = post(path)
    assert (status, document["message"]) == (404, "no such path")


def test_a_stage_in_front_of_the_path_does_not_matter(aws: Aws, post: Any) -> None:
    aws.park("runner")
    assert post(f"/prod{CLAIM}")[0] == 200


@pytest.mark.usefixtures("registered")
def test_403_without_the_bearer_scheme(post: Any) -> None:
    body = {"event": "heartbeat"}
    refused = {"authorization": "Basic the-events-token"}
    taken = {"Authorization": "bearer the-events-token"}
    assert post(EVENTS, body=body, headers=refused)[0] == 403
    assert post(EVENTS, body=body, headers=taken)[0] == 202


def test_a_body_that_cannot_be_decoded_declares_nothing(aws: Aws, post: Any) -> None:
    aws.park("runner")
    assert post(CLAIM, body="no base64", isBase64Encoded=True)[0] == 200


@pytest.mark.usefixtures("registered")
def test_a_base64_body_is_read(aws: Aws, post: Any) -> None:
    body = base64.b64encode(b'{"event":"job_started"}').decode()
    assert report(post, body, isBase64Encoded=True) == 202
    assert (aws.row() or {})["hook_started_at"] > 0


@pytest.mark.parametrize("path", [CLAIM, EVENTS])
@pytest.mark.parametrize("encoded", [False, True])
def test_413_for_a_body_over_64_kibibytes_before_anything_is_asked(
    requests: list[str], post: Any, *, path: str, encoded: bool
) -> None:
    body = "[" * (64 * 1024 + 1)
    sent = base64.b64encode(body.encode()).decode() if encoded else body
    assert post(path, body=sent, isBase64Encoded=encoded)[0] == 413
    assert post(path, body=sent, token=None, isBase64Encoded=encoded)[0] == 413
    assert requests == []


@pytest.mark.usefixtures("registered")
def test_what_a_stranger_sends_is_not_read(post: Any, environment: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    environment.setattr("fleet_runtime.runner.api.read_report", read.append)
    assert report(post, "[" * 60_000, token="guess") == 403
    assert post(f"/runners/{RUNNER}-r9/events", body="[" * 60_000, token="guess")[0] == 404
    environment.setattr("fleet_runtime.runner.api.read_declaration", read.append)
    assert post(CLAIM, body="[" * 60_000, caller="arn:aws:iam::123456789012:user/x")[0] == 403
    assert read == []
    assert report(post, "[" * 60_000) == 400
    assert len(read) == 1
