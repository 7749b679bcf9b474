"""What is said on the bus of releases of GitHub's runner."""

from __future__ import annotations

from fleet_runtime.aws import client as fleet_aws
from fleet_runtime.aws.announcements import Bus
from fleet_runtime.images.release_news import ReleaseNews

from ..aws_stand_in import Aws
from ..release_fleet import told


def test_what_a_runner_has_found_is_another_event_than_what_is_certain(aws: Aws) -> None:
    bus = Bus(event_bus_name="fleet-bus", event_source="cdk-runner-fleet/fleet")
    news = ReleaseNews(events=fleet_aws.client("events"), bus=bus)
    news.found_retired("2.334.0", image_tag="node-1")
    news.retired("2.334.0", deprecated_at="2026-11-01T00:00:00Z")
    assert told(aws) == [
        {"runner_version": "2.334.0", "image_tag": "node-1"},
        {
            "runner_version": "2.334.0",
            "deprecated_at": "2026-11-01T00:00:00Z",
            "image_tag": "",
        },
    ]
    news.taken_over("2.335.0")
    assert told(aws)[-1] == {"runner_version": "2.335.0"}
    kinds = [one["DetailType"] for call in aws.events.named("PutEvents") for one in call["Entries"]]
    assert kinds == ["retired_runner_found", "runner_version_retired", "runner_release_taken_over"]
