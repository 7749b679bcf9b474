"""The functions that runners and their lifecycles call, and a runner in each phase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fleet_runtime.aws.client import client

from .. import entry_points
from ..aws_stand_in import Aws
from ..entry_points import sha256

check = entry_points.check
deregister = entry_points.deregister
dispatch = entry_points.dispatch
post = entry_points.post


@pytest.fixture
def requests(aws: Aws) -> Iterator[list[str]]:
    """Operations that DynamoDB was asked for."""
    sent: list[str] = []

    def note(model: Any, **_: object) -> None:
        sent.append(model.name)

    events = client("dynamodb").meta.events
    events.register("before-call.dynamodb", note)
    yield sent
    events.unregister("before-call.dynamodb", note)


@pytest.fixture
def running(aws: Aws) -> None:
    aws.park("completion", events_token_hash=sha256("the-events-token"))


@pytest.fixture
def registered(aws: Aws) -> None:
    aws.park("job", events_token_hash=sha256("the-events-token"))
