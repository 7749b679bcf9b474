"""The shipped state machine, as it stands and as it is deployed."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from cdk_runner_fleet import _assets
from cdk_runner_fleet.rooms.launch_failures import RUN_TASK, STOPPED, Answer, pattern

CLASS_SETTINGS = base64.b64encode(
    json.dumps(
        {
            "huge": {
                "overrides": {"TaskRoleArn": "arn:aws:iam::123456789012:role/huge"},
                "environment": [{"Name": "SAY", "Value": 'it\'s "x"'}],
                "tags": [{"Key": "team", "Value": "a"}],
                "subnets": "subnet-7",
                "security_groups": "sg-1,sg-7",
                "family_suffix": "-mounts-7",
            }
        }
    ).encode()
).decode()
"""As the constructs write it, for a class that has all of it."""

SUBSTITUTIONS = {
    "Partition": "aws",
    "RunnerTableName": "runners",
    "ImageTableName": "images",
    "ClusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/fleet",
    "SubnetIds": "subnet-1,subnet-2",
    "SecurityGroupIds": "sg-1",
    "ClassSettings": CLASS_SETTINGS,
    "AssignPublicIp": "ENABLED",
    "RunnerApiUrl": "https://api.example.com",
    "Region": "us-east-1",
    "BuildImageFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:build",
    "DeregisterRunnerFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:deregister",
    "CheckRunnerFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:check",
    "Building": "on",
    "PermanentFailures": pattern(RUN_TASK, Answer.FAIL),
    "PassingFailures": pattern(RUN_TASK, Answer.WAIT),
    "ImageFailures": pattern(RUN_TASK, Answer.FIND_IMAGE),
    "PermanentStops": pattern(STOPPED, Answer.FAIL),
    "PassingStops": pattern(STOPPED, Answer.WAIT),
    "MissingImages": pattern(STOPPED, Answer.FIND_IMAGE),
    "BootTimeoutSeconds": "300",
    "IdleTimeoutSeconds": "600",
    "ImageBuildTimeoutSeconds": "1800",
    "RunnerTtlSeconds": "21600",
    "RowTtlSeconds": "2592000",
}


@pytest.fixture(scope="session")
def source() -> str:
    return _assets.STATE_MACHINE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def deployed(source: str) -> str:
    """The definition with every placeholder filled in, as CloudFormation does it."""
    return re.sub(r"\$\{(\w+)\}", lambda match: SUBSTITUTIONS[match[1]], source)


@pytest.fixture(scope="session")
def machine(deployed: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(deployed)
    return loaded
