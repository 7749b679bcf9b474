"""build_image: what it makes of its events."""

from __future__ import annotations

import json
from typing import Any

import pytest

import dispatch_event
from fleet_runtime.aws.client import client
from fleet_runtime.images.build_queue import BuildNotStarted

from . import image_fleet
from .aws_stand_in import RUNNER, Aws
from .builds_stand_in import push
from .events import bus_event, sample
from .image_fleet import DEPLOYED, TAG, Fleet, fleet_aws_error

fleet = image_fleet.fleet


def test_other_trouble_of_aws_is_tried_again_too(aws: Aws, fleet: Fleet) -> None:
    fleet.build()
    fleet.join("fleet-2-1")

    def throttle(**_: object) -> None:
        raise fleet_aws_error()

    client("ecr").meta.events.register("before-call.ecr", throttle)
    try:
        with pytest.raises(BuildNotStarted, match=TAG):
            fleet.request(runner="fleet-2-1", gone=True)
    finally:
        client("ecr").meta.events.unregister("before-call.ecr", throttle)


def test_builds_of_others_are_nothing(aws: Aws, fleet: Fleet) -> None:
    fleet.join(RUNNER)
    fleet.request()
    event = fleet.codebuild.end(TAG, "FAILED")
    # somebody has started one in the project by hand
    (build,) = fleet.codebuild.builds.values()
    build["environment"]["environmentVariables"] = [{"name": "MINE"}]
    fleet(event)
    assert aws.resumed == []


def test_the_default_image_is_what_jobs_ask_for(aws: Aws, fleet: Fleet, context: Any) -> None:
    fleet(DEPLOYED)
    dispatch_event.handler(bus_event(sample("queued")), context)
    (started,) = aws.sfn.named("StartExecution")
    document = json.loads(started["input"])
    assert fleet.row(document["image_tag"])["task_definition"] == document["task_definition"]


def test_an_event_of_another_kind_is_nothing(fleet: Fleet) -> None:
    fleet({"id": "x", "detail-type": "something else", "detail": {}})
    assert push("x")
    assert fleet.starts == []
