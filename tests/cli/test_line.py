"""Places in line: the functions' order over what the tables of a deployed fleet have."""

from __future__ import annotations

import boto3

from cdk_runner_fleet._runtime import runtime
from cdk_runner_fleet.cli.deployment import Deployment
from cdk_runner_fleet.cli.line import places

from .conftest import put_runner


def test_the_repository_with_the_fewest_runners_is_next(fleet: str) -> None:
    key = runtime("admission/line")["repository_key"]("octo-org/busy")
    ledger = boto3.resource("dynamodb").Table(f"{fleet}-ledger")
    ledger.put_item(Item={"entry": "turns", "fleet": 2, f"repository:{key}": 2})
    for number, repository in enumerate(["busy", "busy", "idle", "idle", "idle"], start=1):
        put_runner(
            f"fleet-{number}-1",
            live="in_line",
            place=f"{number}",
            queued_at=number,
            repository=f"octo-org/{repository}",
        )
    released = {"live": "in_line", "place": "6", "queued_at": 0, "released_at": 1}
    put_runner("fleet-6-1", repository="octo-org/idle", **released)
    found = places(Deployment(stack=fleet))
    assert sorted(found, key=found.__getitem__) == [
        "fleet-3-1",
        "fleet-4-1",
        "fleet-1-1",
        "fleet-5-1",
        "fleet-2-1",
    ]
    assert sorted(found.values()) == [1, 2, 3, 4, 5]
