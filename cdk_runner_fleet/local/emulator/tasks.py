"""ECS: Fargate tasks as local processes, with their state changes on the default event bus.

ministack keeps the records and most of the API; launching, stopping and everything a task goes
through is here. The image's ``entrypoint.sh`` runs for real, in a fresh folder a task.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
import types
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ministack.core.responses import (
    error_response_json,
    get_account_id,
    get_region,
    json_response,
    request_scope,
)
from ministack.services import ec2, ecr, ecs

from cdk_runner_fleet.local.emulator.buildah import ImageError, RunnerImages, first_process

from . import access, ecs_tags, events, file_systems, upstream
from .credentials import TaskCredentials
from .faults import Faults
from .launch import Launch, Launcher, image_launch, runner_launch
from .options import Options

_LOG = logging.getLogger(__name__)
_CONTAINER = "runner"
_ZONE_WITHOUT_FARGATE = "us-east-1e"  # some regions have one
_MOST_OVERRIDES = 8192  # characters, "RunTask", Amazon ECS API reference
_STOP_TIMEOUT_SECONDS = 30  # ECS's default stopTimeout
# Should this process be killed without a chance to stop its tasks, Linux tells them.
_DIE_WITH_US = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()


class Tasks:
    """Every task that was started, and the process of each that runs.

    Attributes:
        credentials: where those that run have their role's credentials from.
    """

    def __init__(
        self,
        options: Options,
        faults: Faults,
        launcher: Launcher = runner_launch,
        images: RunnerImages | None = None,
    ) -> None:
        self.credentials = TaskCredentials(options)
        self._options = options
        self._images = images
        self._faults = faults
        self._launcher = launcher
        self._lock = threading.RLock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._client_tokens: dict[str, Any] = {}
        self._upstream_run: Any = None
        self._upstream_delete: Any = None
        self._upstream_register: Any = None

    # --- API handlers (ministack's signatures)

    def run_task(self, data: dict[str, Any]) -> Any:
        token = data.get("clientToken")
        with self._lock:
            if token in self._client_tokens:
                return json_response(copy.deepcopy(self._client_tokens[token]))
            refusal = self._refusal(data) or ecs_tags.refusal(ecs_tags.of_task(data))
            if refusal is not None:
                return refusal
            fault = self._faults.take("ecs:RunTask", json.dumps(data), outcomes=("failure",))
            if fault is not None:
                reason = fault.reason or "Capacity is unavailable at this time. Please try again."
                return json_response({"tasks": [], "failures": [{"reason": reason}]})
            tags = ecs_tags.of_task(data)
            if data.get("enableECSManagedTags"):
                cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
                tags = [*tags, {"key": "aws:ecs:clusterName", "value": str(cluster)}]
            definition = ecs._task_defs[ecs._resolve_td_key(data["taskDefinition"])]
            group = data.get("group") or f"family:{definition['family']}"
            status, headers, body = self._upstream_run({**data, "tags": tags, "group": group})
            if token and status == 200:
                self._client_tokens[token] = json.loads(body)
            return status, headers, body

    @staticmethod
    def _refusal(data: dict[str, Any]) -> Any:
        """What ECS refuses and ministack lets pass, or words otherwise."""
        reference = data.get("taskDefinition", "")
        definition = ecs._task_defs.get(ecs._resolve_td_key(reference))
        if definition is None:
            return error_response_json("ClientException", "TaskDefinition not found.", 400)
        if definition.get("status") != "ACTIVE":
            return error_response_json("ClientException", "TaskDefinition is inactive", 400)
        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        if cluster is None or cluster not in ecs._clusters:
            return error_response_json("ClusterNotFoundException", "Cluster not found.", 400)
        containers = definition["containerDefinitions"]
        if not definition.get("executionRoleArn") and any(
            access.ECR_IMAGE.match(container["image"]) for container in containers
        ):
            return error_response_json(
                "ClientException",
                "Fargate requires task definition to have execution role ARN to support ECR "
                "images.",
                400,
            )
        role = (data.get("overrides") or {}).get("taskRoleArn") or definition.get("taskRoleArn")
        source = f"arn:aws:ecs:{get_region()}:{get_account_id()}:*"
        if role and not access.is_trusted(
            role, service="ecs-tasks.amazonaws.com", source_arn=source
        ):
            return error_response_json(
                "ClientException",
                f"ECS was unable to assume the role '{role}' that was provided for this task. "
                "Please verify that the role being passed has the proper trust relationship and "
                "permissions and that your IAM user has permissions to pass this role.",
                400,
            )
        refused = _override_refusal(data.get("overrides") or {}, containers)
        if refused is not None:
            return refused
        network = (data.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
        for subnet in network.get("subnets") or []:
            # of several, ECS may choose any
            if ec2._subnets.get(subnet, {}).get("AvailabilityZone") == _ZONE_WITHOUT_FARGATE:
                return error_response_json(
                    "InvalidParameterException",
                    "Fargate is not supported in the requested availability zone: "
                    f"{_ZONE_WITHOUT_FARGATE}",
                    400,
                )
        strategy = data.get("capacityProviderStrategy") or []
        if strategy and data.get("launchType"):
            return error_response_json(
                "InvalidParameterException",
                "Specifying both a launch type and capacity provider strategy is not supported. "
                "Remove one and try again.",
                400,
            )
        known = ecs._clusters[cluster].get("capacityProviders") or []
        for item in strategy:
            if item.get("capacityProvider") not in known:
                return error_response_json(
                    "InvalidParameterException",
                    "The specified capacity provider was not found. Specify a valid capacity "
                    "provider and try again.",
                    400,
                )
        return None

    def register_task_definition(self, data: dict[str, Any]) -> Any:
        """A definition, unless ECS does not take its tags."""
        return ecs_tags.refusal(data.get("tags") or []) or self._upstream_register(data)

    def stop_task(self, data: dict[str, Any]) -> Any:
        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        if cluster is None:
            return error_response_json("ClusterNotFoundException", "Cluster not found.", 400)
        task = ecs._resolve_task(data.get("task", ""), cluster)
        if task is None:
            return error_response_json(
                "InvalidParameterException", "The referenced task was not found.", 400
            )
        self._request_stop(
            task, code="UserInitiated", reason=data.get("reason", "Task stopped by user")
        )
        # API reference, StopTask: "Any tags associated with the task will be deleted."
        ecs._tags.pop(task["taskArn"], None)
        return json_response({"task": ecs._sanitize(task)})

    def delete_cluster(self, data: dict[str, Any]) -> Any:
        """Not while a task is in it, as ECS has it; CloudFormation's deletion goes by this too."""
        name = ecs._resolve_cluster_name(data.get("cluster", "default"))
        active = [
            task
            for task in list(ecs._tasks.values())
            if task["lastStatus"] != "STOPPED" and task["clusterArn"].endswith(f":cluster/{name}")
        ]
        if active:
            return error_response_json(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
                400,
            )
        return self._upstream_delete(data)

    # --- faults

    def interrupt(self, texts: Sequence[str], *, code: str, reason: str) -> list[str]:
        """Take running tasks away, as Fargate does with Spot; returns their ARNs.

        Args:
            texts: what is in the task's ARN or ``startedBy``; none for every task.
            code: the stop code, such as ``SpotInterruption``.
            reason: the stopped reason.
        """
        hit = [
            task
            for task in list(ecs._tasks.values())
            if all(text in f"{task['taskArn']} {task.get('startedBy')}" for text in texts)
            and task["desiredStatus"] == "RUNNING"
        ]
        for task in hit:
            self._request_stop(task, code=code, reason=reason)
        return [task["taskArn"] for task in hit]

    # --- the life of a task

    def work(  # noqa: PLR0917 - upstream's signature
        self,
        task: dict[str, Any],
        td: dict[str, Any],
        container_overrides: list[dict[str, Any]],
        docker_client: object,
        account_id: str,
        region: str,
    ) -> None:
        """One task from PROVISIONING to STOPPED, in a thread of its own."""
        del docker_client
        with request_scope(account_id, region):
            self._advance(task, "PENDING")
            container = next(
                (c for c in td["containerDefinitions"] if c["name"] == _CONTAINER),
                td["containerDefinitions"][0],
            )
            fault = self._faults.take("task", f"{task['taskArn']} {task.get('startedBy')}")
            problem = pull_problem(container["image"], td.get("executionRoleArn", ""))
            overriding = (task.get("overrides") or {}).get("taskRoleArn")
            role = overriding or td.get("taskRoleArn") or ""
            if problem is None and td.get("volumes"):
                problem = file_systems.mount_problem(td, role=role, subnet=task["_subnet"])
            if fault is not None and fault.outcome == "cannot_pull":
                problem = fault.reason or f"CannotPullContainerError: {container['image']}"
            if problem is not None:
                self._stopped(task, code="TaskFailedToStart", reason=problem)
                return
            if task["desiredStatus"] == "STOPPED":  # before it started
                self._stopped(task, code=task["stopCode"], reason=task["stoppedReason"])
                return
            environment = _container_environment(container, container_overrides)
            with self.credentials.lent(task["taskArn"], role) as lent:
                self._run(task, td, container, {**lent, **environment}, boots=fault is None)

    def _run(
        self,
        task: dict[str, Any],
        definition: dict[str, Any],
        container: dict[str, Any],
        environment: dict[str, str],
        *,
        boots: bool,
    ) -> None:
        folder = self._options.tasks_dir / task["taskArn"].rsplit("/", 1)[-1]
        folder.mkdir(parents=True)
        tasks_dir = self._options.tasks_dir
        file_systems.mount(definition, container, home=folder, tasks_dir=tasks_dir)
        try:
            launch = self._launch(container["image"], environment, folder)
        except ImageError as error:
            reason = f"CannotPullContainerError: {error}"
            self._stopped(task, code="TaskFailedToStart", reason=reason)
            return
        with (folder / "task.log").open("wb") as log:
            process = subprocess.Popen(
                # A task that "never boots" is there and does nothing.
                [*_DIE_WITH_US, *(launch.arguments if boots else ("sleep", "infinity"))],
                cwd=launch.folder,
                env=dict(launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self._lock:
            self._processes[task["taskArn"]] = process
            stopped_already = task["desiredStatus"] == "STOPPED"
            task["_stop_timeout"] = container.get("stopTimeout") or _STOP_TIMEOUT_SECONDS
        if stopped_already:
            self._end_process(process, task["_stop_timeout"])
        self._advance(task, "RUNNING")
        status = process.wait()
        _signal_group(process, signal.SIGKILL)  # what the entry point left behind
        with self._lock:
            del self._processes[task["taskArn"]]
        if self._images and launch.container:
            self._images.remove(launch.container)
        # A shell's way of saying that a signal ended it.
        exit_code = 128 - status if status < 0 else status
        self._stopped(
            task,
            code=task["stopCode"] or "EssentialContainerExited",
            reason=task["stoppedReason"] or "Essential container in task exited",
            exit_code=exit_code,
        )

    def _launch(self, image: str, environment: Mapping[str, str], folder: Path) -> Launch:
        if self._images is None:
            return self._launcher(environment, folder, self._options)
        return image_launch(_by_tag(image), environment, folder, self._images)

    def _request_stop(self, task: dict[str, Any], *, code: str, reason: str) -> None:
        with self._lock:
            if task["desiredStatus"] == "STOPPED":
                return
            ecs._bump_task_version(task)
            task.update(
                desiredStatus="STOPPED",
                stopCode=code,
                stoppedReason=reason,
                stoppingAt=ecs._iso(),
            )
            process = self._processes.get(task["taskArn"])
        if process is not None:
            self._end_process(process, task["_stop_timeout"])

    def _end_process(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        first = first_process(process.pid) if self._images else None
        if first is None:
            _signal_group(process, signal.SIGTERM)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGTERM)
        timer = threading.Timer(timeout, _kill, (process,))
        timer.daemon = True
        timer.start()

    def stop_all(self) -> None:
        """Kill every task's processes; for the end of the emulator."""
        with self._lock:
            processes = list(self._processes.values())
        for process in processes:
            _signal_group(process, signal.SIGTERM)
        end = time.monotonic() + 1.0
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            _signal_group(process, signal.SIGKILL)
        if self._images:
            self._images.close()

    def _advance(self, task: dict[str, Any], status: str) -> None:
        now = ecs._iso()
        with self._lock:
            if task["lastStatus"] == "STOPPED":
                return
            ecs._bump_task_version(task)
            task["lastStatus"] = status
            if status == "RUNNING":
                task.update(pullStartedAt=now, pullStoppedAt=now, startedAt=now)
                for container in task["containers"]:
                    container.update(lastStatus="RUNNING", runtimeId=uuid.uuid4().hex)
        events.task_state_change(task)

    def _stopped(
        self, task: dict[str, Any], *, code: str, reason: str, exit_code: int | None = None
    ) -> None:
        now = ecs._iso()
        with self._lock:
            ecs._bump_task_version(task)
            task.update(
                lastStatus="STOPPED",
                desiredStatus="STOPPED",
                stopCode=code,
                stoppedReason=reason,
                stoppingAt=task.get("stoppingAt") or now,
                executionStoppedAt=now,
                stoppedAt=now,
            )
            for container in task["containers"]:
                container["lastStatus"] = "STOPPED"
                if exit_code is None:
                    container["reason"] = reason
                else:
                    container["exitCode"] = exit_code
        events.task_state_change(task)


def _override_refusal(overrides: Mapping[str, Any], containers: Sequence[Mapping[str, Any]]) -> Any:
    """The answer to overrides that ECS does not take, or None."""
    names = {container["name"] for container in containers}
    for override in overrides.get("containerOverrides", []):
        if override.get("name") not in names:
            return error_response_json(
                "InvalidParameterException",
                f"Override for container named {override.get('name')} is not a container "
                "in the TaskDefinition.",
                400,
            )
    storage = overrides.get("ephemeralStorage")
    if storage is not None and storage.get("sizeInGiB") not in range(21, 201):
        # its words are not published
        return error_response_json(
            "InvalidParameterException",
            "Ephemeral storage size must be between 21 and 200 GiB.",
            400,
        )
    if len(json.dumps(overrides, separators=(",", ":"))) > _MOST_OVERRIDES:
        return error_response_json(
            "InvalidParameterException",
            f"Container Overrides length must be at most {_MOST_OVERRIDES}",
            400,
        )
    return None


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:  # its number may be somebody else's by now
        _signal_group(process, signal.SIGKILL)


def _container_environment(
    container: dict[str, Any], overrides: list[dict[str, Any]]
) -> dict[str, str]:
    override: dict[str, Any] = next(
        (item for item in overrides if item.get("name") == container["name"]), {}
    )
    entries = [*container.get("environment", []), *override.get("environment", [])]
    return {entry["name"]: entry["value"] for entry in entries}


def pull_problem(image: str, execution_role: str) -> str | None:
    """Why Fargate could not pull the image as this role, in its words, or None.

    Images outside ECR are taken as present and public. The words are those of reports about
    Fargate: aws/aws-cdk#29876, aws-samples/bedrock-access-gateway#114.
    """
    found = access.ECR_IMAGE.match(image)
    if found is None:
        return None
    if denied := access.role_refusal(execution_role, "ecr:GetAuthorizationToken", "*"):
        return (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution "
            "resource retrieval failed: unable to retrieve ecr registry auth: service call has "
            "been retried 1 time(s): operation error ECR: GetAuthorizationToken, https response "
            f"error StatusCode: 400, api error {denied}"
        )
    account, region, repository = found["account"], found["region"], found["repository"]
    failed = (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to "
        f"resolve ref {image}: "
    )
    if access.pull_refusal(execution_role, image):
        host, tag = image.partition("/")[0], found["tag"] or found["digest"] or "latest"
        status = f"[manifests {tag}]: 403 Forbidden"
        return f"{failed}pulling from host {host} failed with status code {status}"
    wanted = (
        {"imageDigest": found["digest"]}
        if found["digest"]
        else {"imageTag": found["tag"] or "latest"}
    )
    with request_scope(account, region):
        if repository not in ecr._repositories:
            return f"{failed}the repository '{repository}' does not exist"
        return None if ecr._find_image(repository, wanted) else f"{failed}not found"


def _by_tag(image: str) -> str:
    """The image as ``repository:tag``: digests are the emulated registry's own."""
    found = access.ECR_IMAGE.match(image)
    if found is None or not found["digest"]:
        return image
    known = ecr._find_image(found["repository"], {"imageDigest": found["digest"]})
    return f"{image.partition('@')[0].partition(':')[0]}:{known['imageTags'][0]}"


def of_copies(sanitize: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Answer with a task as ministack does, while its own thread may be writing to it."""

    def sanitized(obj: Any) -> Any:
        return sanitize(obj.copy() if isinstance(obj, dict | list) else obj)

    return sanitized


def _epoch(value: Any) -> Any:
    """A time as ECS answers with it, to the millisecond; ministack leaves that out."""
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value


def install(
    options: Options,
    faults: Faults,
    launcher: Launcher = runner_launch,
    images: RunnerImages | None = None,
) -> Tasks:
    """Run ECS tasks as local processes, in containers if there are images; returns them."""
    tasks = Tasks(options, faults, launcher, images)
    # Any client makes ministack start its task worker, which is replaced below.
    ecs._docker = types.SimpleNamespace()
    tasks._upstream_run = upstream.replace(ecs, "_run_task", tasks.run_task, takes=("data",))
    upstream.replace(ecs, "_stop_task", tasks.stop_task, takes=("data",))
    tasks._upstream_register = upstream.replace(
        ecs, "_register_task_definition", tasks.register_task_definition, takes=("data",)
    )
    tasks._upstream_delete = upstream.replace(
        ecs, "_delete_cluster", tasks.delete_cluster, takes=("data",)
    )
    upstream.replace(ecs, "_ts_to_epoch", _epoch, takes=("value",))
    upstream.replace(ecs, "_sanitize", of_copies(ecs._sanitize), takes=("obj",))
    upstream.replace(
        ecs,
        "_run_task_worker",
        tasks.work,
        takes=(
            "task", "td", "container_overrides", "docker_client", "account_id", "region",
        ),
    )  # fmt: skip
    return tasks
