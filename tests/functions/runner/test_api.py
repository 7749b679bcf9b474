"""What runners may call, over the real handler."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ..aws_stand_in import Aws
from ..entry_points import CLAIM, report


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


def test_403_without_the_bearer_scheme(aws: Aws, post: Any) -> None:
    aws.park("runner")
    assert post(CLAIM, headers={"authorization": "Basic the-ticket"})[0] == 403
    assert post(CLAIM, headers={"Authorization": "bearer the-ticket"})[0] == 200


def test_a_body_that_cannot_be_decoded_declares_nothing(aws: Aws, post: Any) -> None:
    aws.park("runner")
    assert post(CLAIM, body="no base64", isBase64Encoded=True)[0] == 200


@pytest.mark.usefixtures("registered")
def test_a_base64_body_is_read(aws: Aws, post: Any) -> None:
    body = base64.b64encode(b'{"event":"job_started"}').decode()
    assert report(post, body, isBase64Encoded=True) == 202
    assert len(aws.resumed) == 1
