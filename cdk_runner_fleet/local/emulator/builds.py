"""CodeBuild without Docker: a build ends soon, says so on the bus and leaves its image in ECR.

Event: https://docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications.html
"""

from __future__ import annotations

import contextvars
import copy
import datetime
import hashlib
import io
import json
import logging
import shutil
import threading
import time
import zipfile
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import codebuild, ecr, s3

from cdk_runner_fleet.local.emulator.buildah import RunnerImages, content_tag

from . import access, upstream
from .events import publish
from .faults import Faults
from .options import Options

_LOG = logging.getLogger(__name__)
_MISSING_BASE = "does-not-exist"  # a base image that no registry has, for tests
_TOKEN_SECONDS = 300  # for so long CodeBuild knows an idempotencyToken
_NEEDED = (
    "BASE_IMAGE", "IMAGE_TAG", "RUNNER_VERSION", "RUNNER_REPOSITORY_URL", "RECIPE_DIGEST",
    "ARCHITECTURE",
)  # fmt: skip
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Builds:
    """Builds that run."""

    def __init__(
        self, options: Options, faults: Faults, images: RunnerImages | None = None
    ) -> None:
        self._options = options
        self._images = images
        self._faults = faults
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[float, dict[str, Any], str]] = {}

    # --- API handlers (ministack's signatures)

    def start_build(self, data: dict[str, Any]) -> Any:
        name = data.get("projectName", "")
        project = codebuild._projects.get(name)
        if project is None:
            return error_response_json(
                "ResourceNotFoundException", f"Project cannot be found: {name}", 400
            )
        with self._lock:
            return self._start(project, data)

    def _start(self, project: dict[str, Any], data: dict[str, Any]) -> Any:
        name, token = project["name"], data.get("idempotencyToken", "")
        since, request, build_id = self._tokens.get(token, (0.0, {}, ""))
        if time.time() - since < _TOKEN_SECONDS:
            if request != data:
                return error_response_json(
                    "InvalidInputException",
                    "idempotencyToken was used with other parameters before",
                    400,
                )
            return json_response({"build": copy.deepcopy(codebuild._builds[build_id])})
        build = codebuild._make_build_record(
            project, codebuild._build_id(name), data.get("sourceVersion")
        )
        now = int(time.time())
        build["logs"]["deepLink"] = _log_link(build["logs"])
        build["environment"] = _overridden(project.get("environment") or {}, data)
        build.update(
            buildStatus="IN_PROGRESS",
            currentPhase="QUEUED",
            buildComplete=False,
            phases=[
                {
                    "phaseType": "SUBMITTED",
                    "phaseStatus": "SUCCEEDED",
                    "startTime": now,
                    "endTime": now,
                }
            ],
        )
        del build["endTime"]
        codebuild._builds[build["id"]] = build
        if token:
            self._tokens[token] = (time.time(), copy.deepcopy(data), build["id"])
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._run, build), daemon=True, name="build"
        ).start()
        return json_response({"build": copy.deepcopy(build)})

    def stop_build(self, data: dict[str, Any]) -> Any:
        build = codebuild._builds.get(data.get("id", ""))
        if build is None:
            return error_response_json(
                "ResourceNotFoundException", f"Build cannot be found: {data.get('id')}", 400
            )
        self._end(build, "STOPPED")
        return json_response({"build": copy.deepcopy(build)})

    # --- the life of a build

    def _run(self, build: dict[str, Any]) -> None:
        variables = _variables(build)
        _publish(build)
        fault = self._faults.take("build", json.dumps(variables))
        if fault is not None and fault.outcome == "hangs":
            return
        time.sleep(self._options.build_seconds)
        if fault is not None and fault.outcome == "held":
            self._faults.hold(fault)
            fault = None
        outcome = fault.outcome if fault is not None else "SUCCEEDED"
        if _MISSING_BASE in variables.get("BASE_IMAGE", ""):
            outcome = "FAILED"
        role = codebuild._projects[build["projectName"]]["serviceRole"]
        if refused := access.pull_refusal(role, variables.get("BASE_IMAGE", "")):
            _explain(build, refused)
            outcome = "FAILED"
        if outcome == "SUCCEEDED":
            outcome = (
                self._really_build(build, variables, self._images)
                if self._images
                else _make_up(build, variables)
            )
        self._end(build, outcome)

    def _really_build(
        self, build: dict[str, Any], variables: dict[str, str], images: RunnerImages
    ) -> str:
        """Build the image of the project's source; returns the build's status."""
        folder = self._options.tasks_dir / build["id"].replace(":", "-")
        bucket, _, key = build["source"]["location"].partition("/")
        with zipfile.ZipFile(io.BytesIO(s3._get_object_data(bucket, key))) as source:
            source.extractall(folder)
        made = images.build(folder, variables)
        (self._options.tasks_dir / f"{folder.name}.log").write_text(made.log)
        shutil.rmtree(folder)
        _export(build, CONTENT_TAG=made.content_tag, BASE_DIGEST=made.base_digest)
        if made.error:
            _LOG.error("build %s failed: %s", build["id"], made.error)
            _explain(build, made.error)
            return "FAILED"
        return "SUCCEEDED" if _push(build, variables, made.content_tag) else "FAILED"

    def _end(self, build: dict[str, Any], status: str) -> None:
        with self._lock:
            if build["buildStatus"] != "IN_PROGRESS":
                return
            codebuild._finish_build(build, status)
            build["buildComplete"] = True
        _publish(build)


def _overridden(environment: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    variables = {item["name"]: item for item in environment.get("environmentVariables", [])}
    for item in data.get("environmentVariablesOverride", []):
        variables[item["name"]] = {"type": "PLAINTEXT", **item}
    return {**environment, "environmentVariables": list(variables.values())}


def told_of(event: Any) -> dict[str, str]:
    """The variables of the build that an event tells of; none if it tells of none."""
    detail = event.get("detail") if isinstance(event, dict) else None
    arn = detail.get("build-id", "") if isinstance(detail, dict) else ""
    build = codebuild._builds.get(arn.rpartition("/")[2])
    return _variables(build) if build else {}


def _variables(build: dict[str, Any]) -> dict[str, str]:
    items = build["environment"].get("environmentVariables", [])
    return {item["name"]: item["value"] for item in items}


def _make_up(build: dict[str, Any], variables: dict[str, str]) -> str:
    """Export and push what a build would, with a base digest made up; returns its status."""
    if missing := [name for name in _NEEDED if not variables.get(name)]:
        _explain(build, f"{', '.join(missing)} not set")
        return "FAILED"
    digest = "sha256:" + hashlib.sha256(variables["BASE_IMAGE"].encode()).hexdigest()
    tag = content_tag(variables, digest)
    _export(build, CONTENT_TAG=tag, BASE_DIGEST=digest)
    return "SUCCEEDED" if _push(build, variables, tag) else "FAILED"


def _export(build: dict[str, Any], **variables: str) -> None:
    build["exportedEnvironmentVariables"] = [
        {"name": name, "value": value} for name, value in variables.items()
    ]


def _explain(build: dict[str, Any], error: str) -> None:
    """Say why, where CodeBuild does: in the phase that failed."""
    now = int(time.time())
    build["phases"].append(
        {
            "phaseType": "BUILD",
            "phaseStatus": "FAILED",
            "startTime": now,
            "endTime": now,
            "contexts": [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": error}],
        }
    )


def _push(build: dict[str, Any], variables: dict[str, str], tag: str) -> bool:
    """Put the image that ``runner_image/buildspec.yml`` would push into the emulated registry."""
    repository = variables.get("RUNNER_REPOSITORY_URL", "").partition("/")[2]
    if not tag or repository not in ecr._repositories:
        _LOG.error("build %s lacks IMAGE_TAG or RUNNER_REPOSITORY_URL: %s", build["id"], variables)
        return False
    if ecr._find_image(repository, {"imageTag": tag}):
        return True
    manifest = json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "annotations": variables})
    status, _, body = ecr._put_image(
        {
            "repositoryName": repository,
            "imageTag": tag,
            "imageManifest": manifest,
            "imageManifestMediaType": _MANIFEST,
        }
    )
    if status != 200:
        _LOG.error("build %s could not push %s:%s: %s", build["id"], repository, tag, body)
    return bool(status == 200)


def _log_link(logs: dict[str, Any]) -> str:
    group, stream = (logs[name].replace("/", "$252F") for name in ("groupName", "streamName"))
    return (
        f"https://console.aws.amazon.com/cloudwatch/home?region={get_region()}"
        f"#logsV2:log-groups/log-group/{group}/log-events/{stream}"
    )


def _publish(build: dict[str, Any]) -> None:
    region, account = get_region(), get_account_id()
    group, stream = build["logs"]["groupName"], build["logs"]["streamName"]
    started = datetime.datetime.fromtimestamp(build["startTime"], datetime.UTC)
    publish(
        "aws.codebuild",
        "CodeBuild Build State Change",
        [build["arn"]],
        {
            "build-status": build["buildStatus"],
            "project-name": build["projectName"],
            "build-id": build["arn"],
            "current-phase": build["currentPhase"],
            "current-phase-context": "[]",
            "version": "1",
            "additional-information": {
                "build-complete": build["buildComplete"],
                "build-number": build["buildNumber"],
                "build-start-time": started.strftime("%b %d, %Y %I:%M:%S %p"),
                "initiator": build["initiator"],
                "timeout-in-minutes": build["timeoutInMinutes"],
                "environment": {
                    "image": build["environment"].get("image"),
                    "type": build["environment"].get("type"),
                    "compute-type": build["environment"].get("computeType"),
                    "privileged-mode": build["environment"].get("privilegedMode", False),
                    "image-pull-credentials-type": "CODEBUILD",
                    # as in the documented sample; that StartBuild's are here is nowhere said
                    "environment-variables": [],
                },
                "logs": {
                    "group-name": group,
                    "stream-name": stream,
                    "deep-link": build["logs"]["deepLink"],
                    "cloud-watch-logs-arn": f"arn:aws:logs:{region}:{account}:log-group:{group}"
                    f":log-stream:{stream}",
                },
                "source": {"type": (build["source"] or {}).get("type")},
                "artifact": {"location": ""},
                "phases": [
                    {"phase-type": phase["phaseType"], "phase-status": phase.get("phaseStatus")}
                    for phase in build["phases"]
                ],
            },
        },
    )


def _describe_images(upstream_describe: Any, data: dict[str, Any]) -> Any:
    """An image that is asked for by name and is not there is an error in ECR."""
    repository = data.get("repositoryName", "")
    for wanted in data.get("imageIds") or []:
        if repository in ecr._repositories and not ecr._find_image(repository, wanted):
            digest, tag = wanted.get("imageDigest", "null"), wanted.get("imageTag", "null")
            return error_response_json(
                "ImageNotFoundException",
                f"The image with imageId {{imageDigest:'{digest}', imageTag:'{tag}'}} does not "
                f"exist within the repository with name '{repository}' in the registry with id "
                f"'{get_account_id()}'",
                400,
            )
    return upstream_describe(data)


def install(options: Options, faults: Faults, images: RunnerImages | None = None) -> Builds:
    """Let CodeBuild's builds end in these ways; returns them."""
    builds = Builds(options, faults, images)
    upstream.replace(codebuild, "_start_build", builds.start_build, takes=("data",))
    upstream.replace(codebuild, "_stop_build", builds.stop_build, takes=("data",))
    describe = upstream.replace(
        ecr, "_describe_images", lambda data: _describe_images(describe, data), takes=("data",)
    )
    return builds
