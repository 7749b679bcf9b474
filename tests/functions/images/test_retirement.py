"""What is said on the bus of a version that GitHub has retired."""

from __future__ import annotations

from fleet_runtime.aws import client as fleet_aws
from fleet_runtime.images.retirement import Retirement

from ..conftest import Aws
from ..release_fleet import told


def test_a_runner_that_found_out_itself_is_told_without_a_date(aws: Aws) -> None:
    Retirement(events=fleet_aws.client("events"), bus="fleet-bus").tell(
        "2.334.0", deprecated_at=None, image_tag="node-1"
    )
    assert told(aws) == [
        {"runner_version": "2.334.0", "deprecated_at": None, "image_tag": "node-1"}
    ]
