"""AWS services' own events on the account's default bus."""

from __future__ import annotations

import json
from typing import Any

from ministack.services import ecs, eventbridge

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
_EVENT_FIELDS = (
    "attachments", "availabilityZone", "capacityProviderName", "clusterArn", "connectivity",
    "containers", "cpu", "createdAt", "desiredStatus", "enableExecuteCommand",
    "ephemeralStorage", "executionStoppedAt", "group", "lastStatus", "launchType", "memory",
    "overrides", "platformVersion", "pullStartedAt", "pullStoppedAt", "startedAt", "startedBy",
    "stopCode", "stoppedAt", "stoppedReason", "stoppingAt", "taskArn", "taskDefinitionArn",
    "version",
)  # fmt: skip


def task_state_change(task: dict[str, Any]) -> None:
    """Publish an ECS task as it is now."""
    detail = {
        name: value for name in _EVENT_FIELDS if (value := task.get(name)) not in (None, "", {}, [])
    }
    detail["updatedAt"] = ecs._iso()
    detail["containers"] = [
        {name: value for name, value in container.items() if value is not None}
        for container in task["containers"]
    ]
    publish("aws.ecs", "ECS Task State Change", [task["taskArn"]], detail)


def publish(source: str, kind: str, resources: list[str], detail: dict[str, Any]) -> None:
    """Put an AWS service's event on the account's default bus."""
    eventbridge._put_events(
        {
            "Entries": [
                {
                    "Source": source,
                    "DetailType": kind,
                    "Resources": resources,
                    "Detail": json.dumps(detail, default=str),
                }
            ]
        },
        allow_aws_source=True,
    )
