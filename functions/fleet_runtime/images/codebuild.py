"""Builds at CodeBuild: starting one, and what became of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from fleet_runtime.aws.client import Client
from fleet_runtime.images.image import ImageRow
from fleet_runtime.images.releases import Release
from fleet_runtime.job import pricing
from fleet_runtime.observability import logger

_RELEASE_ARCHITECTURES = {"X86_64": "x64", "ARM64": "arm64"}
# CodeBuild's own bounds of timeoutInMinutes (API reference, StartBuild)
_LEAST_MINUTES, _MOST_MINUTES = 5, 480
_LONGEST_ERROR = 600
_THROTTLED = re.compile(r"exit status 75\b")
"""How build_image.sh ends if a registry's limit on pulls was in its way, as CodeBuild tells it."""
# of StartBuild: asking again would not help. Its account limit and throttling pass.
_REFUSALS = frozenset(
    {"AccessDeniedException", "InvalidInputException", "ResourceNotFoundException"}
)


class BuildRefusedError(Exception):
    """CodeBuild will not build this, however often it is asked."""


class BuildPostponedError(Exception):
    """CodeBuild has not started this build, but may do so later."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build, as CodeBuild knows it.

    Attributes:
        build_id: Its ARN.
        image_tag: The image that it was started for; empty if somebody else has started it.
        status: ``IN_PROGRESS``, or how it ended.
        started_at: When it began, epoch seconds.
        ended_at: When it ended; when it began, if it has not.
        log_url: Where its log is.
        error: What went wrong, empty unless it ended badly.
        is_throttled: Whether that is that a registry let nobody pull just then.
        content_tag: What it pushed its image as; empty if it did not come so far.
        base_digest: Digest of the base image that it found.
        runner_version: Of the runner that it put in.
    """

    build_id: str
    image_tag: str
    status: str
    started_at: float
    ended_at: float
    log_url: str
    error: str
    is_throttled: bool
    content_tag: str
    base_digest: str
    runner_version: str

    @classmethod
    def from_answer(cls, build: Mapping[str, Any]) -> Build:
        """Read a build in an answer."""
        exported = _by_name(build.get("exportedEnvironmentVariables"))
        variables = _by_name(build.get("environment", {}).get("environmentVariables"))
        error = _error(build)
        is_throttled = _THROTTLED.search(error) is not None
        return cls(
            build_id=build["arn"],
            image_tag=variables.get("IMAGE_TAG", ""),
            status=build["buildStatus"],
            started_at=build["startTime"].timestamp(),
            ended_at=build.get("endTime", build["startTime"]).timestamp(),
            log_url=build.get("logs", {}).get("deepLink", ""),
            error="a registry was asked too often (429 Too Many Requests) for minutes"
            if is_throttled
            else error,
            is_throttled=is_throttled,
            content_tag=exported.get("CONTENT_TAG", ""),
            base_digest=exported.get("BASE_DIGEST", ""),
            runner_version=variables.get("RUNNER_VERSION", ""),
        )

    @property
    def cost_usd(self) -> float:
        """Estimated cost of a build that has ended."""
        return pricing.usd_of_build(seconds=self.ended_at - self.started_at)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.status == "IN_PROGRESS"


class BuildProjects:
    """CodeBuild's projects that build images, one for each architecture.

    Args:
        codebuild: A CodeBuild client.
        projects: Their names by architecture.
        timeout_seconds: How long a build may take.
    """

    def __init__(
        self, *, codebuild: Client, projects: Mapping[str, str], timeout_seconds: int
    ) -> None:
        self._codebuild = codebuild
        self._projects = projects
        self._minutes = max(_LEAST_MINUTES, min(_MOST_MINUTES, -(-timeout_seconds // 60)))

    def start(
        self, image: ImageRow, *, recipe: str, release: Release, token: str
    ) -> tuple[str, str]:
        """Start building an image.

        Args:
            image: The image.
            recipe: Digest of the recipe to build it by.
            release: The runner's release to put in.
            token: Whoever repeats it within five minutes gets the same build.

        Returns:
            The build's ARN, and where its log is.

        Raises:
            BuildRefusedError: if CodeBuild will never take it.
            BuildPostponedError: if it does not take it now.
            ClientError: if it failed itself, and may have taken it.
            BotoCoreError: if it did not answer, and may have taken it.
        """
        project = self._projects.get(image.architecture)
        if project is None:
            raise BuildRefusedError(
                f"no images are built for {image.architecture}: use one of "
                f"{', '.join(self._projects)}"
            )
        variables = {
            "BASE_IMAGE": image.base,
            "IMAGE_TAG": image.tag,
            "RECIPE_DIGEST": recipe,
            "RUNNER_VERSION": release.version,
            "RUNNER_SHA256": release.sha256[_RELEASE_ARCHITECTURES[image.architecture]],
        }
        request = {
            "projectName": project,
            "timeoutInMinutesOverride": self._minutes,
            "environmentVariablesOverride": [
                {"name": name, "value": value, "type": "PLAINTEXT"}
                for name, value in variables.items()
            ],
        }
        # the same token with other parameters would be an error: that is another build
        idempotent = hashlib.sha256(f"{token}\n{json.dumps(request)}".encode()).hexdigest()
        try:
            build = self._codebuild.start_build(**request, idempotencyToken=idempotent)["build"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _REFUSALS:
                raise BuildRefusedError(f"CodeBuild did not take it: {error}") from error
            if error.response["ResponseMetadata"].get("HTTPStatusCode", 400) < 500:
                raise BuildPostponedError(str(error)) from error
            raise
        return build["arn"], _console(build["arn"])

    def find(self, build_id: str) -> Build | None:
        """Read a build by its ARN.

        Returns:
            None if CodeBuild does not know it, or it is of a project that is not the fleet's any
            more: that cannot be asked for.
        """
        _, _, name = build_id.rpartition("build/")
        project, _, _ = name.partition(":")
        if project not in self._projects.values():
            logger.warning("build of a former project", build_id=build_id)
            return None
        found = self._codebuild.batch_get_builds(ids=[name])["builds"]
        return Build.from_answer(found[0]) if found else None


def _console(build_id: str) -> str:
    """Where a build's log is to be seen from its start on.

    CodeBuild's own link into the log group leads nowhere before the build has a machine.
    """
    _, _, _, region, account, name = build_id.split(":", 5)
    name = name.removeprefix("build/")
    project, _, _ = name.partition(":")
    return (
        f"https://{region}.console.aws.amazon.com/codesuite/codebuild/{account}/projects/{project}"
        f"/build/{quote(name, safe='')}/log?region={region}"
    )


def _by_name(variables: list[Mapping[str, str]] | None) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in variables or []}


def _error(build: Mapping[str, Any]) -> str:
    status = build["buildStatus"]
    if status in ("IN_PROGRESS", "SUCCEEDED"):
        return ""
    for phase in build.get("phases") or []:
        contexts = [
            ": ".join(filter(None, (each.get("statusCode"), each.get("message"))))
            for each in phase.get("contexts") or []
        ]
        if phase.get("phaseStatus") not in (None, "SUCCEEDED") and any(contexts):
            told = "; ".join(filter(None, contexts))
            return f"{status} in {phase.get('phaseType')}: {told}"[:_LONGEST_ERROR]
    return str(status)
