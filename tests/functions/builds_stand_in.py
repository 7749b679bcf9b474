"""CodeBuild and a clock for the tests of images: builds end when a test says so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from fleet_runtime.aws.client import client

LOG = "https://console.aws.amazon.com/cloudwatch/home#logEvent:group=builds"
_ARN = "arn:aws:codebuild:us-east-1:123456789012:build/"


@dataclass
class Builds:
    """What CodeBuild knows. ``now`` is everybody's clock."""

    now: float = 1_800_000_000.0
    builds: dict[str, dict[str, Any]] = field(default_factory=dict)
    busy: str = ""
    """An error code that StartBuild answers with."""
    most_running: int = 0
    _tokens: dict[str, tuple[float, str]] = field(default_factory=dict)

    def start(self, params: dict[str, Any]) -> Any:
        """Answer StartBuild."""
        if self.busy:
            return self.busy
        at, name = self._tokens.get(params["idempotencyToken"], (0.0, ""))
        if self.now - at < 300:
            return {"build": self.builds[name]}
        name = f"{params['projectName']}:{len(self.builds) + 1}"
        self._tokens[params["idempotencyToken"]] = (self.now, name)
        self.builds[name] = {
            "id": name,
            "arn": _ARN + name,
            "buildStatus": "IN_PROGRESS",
            "startTime": datetime.fromtimestamp(self.now, UTC),
            "environment": {"environmentVariables": params["environmentVariablesOverride"]},
            "logs": {"deepLink": LOG},
        }
        self.most_running = max(self.most_running, len(self.running))
        return {"build": self.builds[name]}

    def batch_get(self, params: dict[str, Any]) -> Any:
        """Answer BatchGetBuilds."""
        return {"builds": [self.builds[name] for name in params["ids"] if name in self.builds]}

    @property
    def running(self) -> list[str]:
        """Images whose builds run, in the order of their starts."""
        return [
            self.variables(build)["IMAGE_TAG"]
            for build in self.builds.values()
            if build["buildStatus"] == "IN_PROGRESS"
        ]

    def variables(self, build: dict[str, Any]) -> dict[str, str]:
        """What a build was told."""
        return {one["name"]: one["value"] for one in build["environment"]["environmentVariables"]}

    def end(
        self, tag: str, status: str = "SUCCEEDED", *, content: str = "", is_pushed: bool = True
    ) -> dict[str, Any]:
        """End the running build of an image; returns its event."""
        build = next(
            build
            for build in self.builds.values()
            if self.variables(build)["IMAGE_TAG"] == tag and build["buildStatus"] == "IN_PROGRESS"
        )
        build["buildStatus"] = status
        build["endTime"] = datetime.fromtimestamp(self.now, UTC)
        if status == "SUCCEEDED":
            content = content or f"{tag}-content-{build['id'].rpartition(':')[2]}"
            build["exportedEnvironmentVariables"] = [
                {"name": "CONTENT_TAG", "value": content},
                {"name": "BASE_DIGEST", "value": "sha256:" + "b" * 64},
            ]
            if is_pushed:
                push(content)
        else:
            build["phases"] = [
                {"phaseType": "SUBMITTED", "phaseStatus": "SUCCEEDED"},
                {
                    "phaseType": "BUILD",
                    "phaseStatus": "FAILED",
                    "contexts": [
                        {"statusCode": "COMMAND_EXECUTION_ERROR", "message": "exit status 1"}
                    ],
                },
                {"phaseType": "COMPLETED"},
            ]
        return event_of(build)

    def forget(self, tag: str) -> None:
        """Lose the builds of an image."""
        for name, build in list(self.builds.items()):
            if self.variables(build)["IMAGE_TAG"] == tag:
                del self.builds[name]


def event_of(build: dict[str, Any]) -> dict[str, Any]:
    """The CodeBuild Build State Change event of a build, as far as it matters."""
    return {
        "id": f"event-{build['id']}-{build['buildStatus']}",
        "source": "aws.codebuild",
        "detail-type": "CodeBuild Build State Change",
        "detail": {
            "build-status": build["buildStatus"],
            "build-id": build["arn"],
            # the documented sample's: what StartBuild was told need not be in it
            "additional-information": {"environment": {"environment-variables": []}},
        },
    }


def digest_of(content: str) -> str | None:
    """The digest of an image in the registry."""
    try:
        answer = client("ecr").describe_images(
            repositoryName="fleet-runner", imageIds=[{"imageTag": content}]
        )
    except ClientError:
        return None
    digest: str = answer["imageDetails"][0]["imageDigest"]
    return digest


def push(content: str) -> str:
    """Put an image into the registry unless it is there, as the build does; returns its digest."""
    if digest := digest_of(content):
        return digest
    config = "sha256:" + hashlib.sha256(content.encode()).hexdigest()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "x", "size": 1, "digest": config},
        "layers": [{"mediaType": "x", "size": 1, "digest": config}],
    }
    image = client("ecr").put_image(
        repositoryName="fleet-runner", imageManifest=json.dumps(manifest), imageTag=content
    )
    pushed: str = image["image"]["imageId"]["imageDigest"]
    return pushed
