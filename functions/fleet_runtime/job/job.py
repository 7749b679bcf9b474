"""Workflow jobs as they come over the bus, and what starts a runner for one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.environment import DispatchEvent
from fleet_runtime.job import image_reference as images
from fleet_runtime.job import labels, pricing, routing
from fleet_runtime.job.catalog import Catalog
from fleet_runtime.job.labels import Refusal
from fleet_runtime.job.routing import ImageCapabilities


@dataclass(frozen=True, kw_only=True)
class Job:
    """A workflow job at GitHub, from the detail of a bus event. Times are epoch seconds.

    Attributes:
        head_sha: The commit it runs for; empty where events of an older version lack it.
        delivery: GitHub's id of the webhook delivery that told of it; empty if none did.
        received_at: When that came.
    """

    action: str
    repository: str
    job_id: int
    run_id: int
    run_attempt: int
    name: str
    workflow_name: str
    labels: tuple[object, ...]
    conclusion: str | None
    runner_name: str | None
    created_at: int | None
    started_at: int | None
    completed_at: int | None
    url: str
    head_sha: str = ""
    delivery: str = ""
    received_at: int | None = None

    @classmethod
    def from_detail(cls, detail: Mapping[str, Any]) -> Job:
        """Read the detail that ``receive_webhook`` wrote; raises KeyError for any other."""
        job = detail["job"]
        return cls(
            action=detail["action"],
            repository=detail["repository"],
            job_id=int(job["id"]),
            run_id=int(job["run_id"]),
            run_attempt=int(job["run_attempt"]),
            name=job["name"],
            workflow_name=job["workflow_name"],
            labels=tuple(job["labels"]),
            conclusion=job["conclusion"],
            runner_name=job["runner_name"],
            created_at=job["created_at"],
            started_at=job["started_at"],
            completed_at=job["completed_at"],
            url=job["html_url"],
            # an event of an older version, on its way or in the archive, lacks these
            head_sha=job.get("head_sha", ""),
            delivery=detail.get("delivery", ""),
            received_at=detail.get("received_at"),
        )

    def runner_id(self, *, prefix: str) -> str:
        """Name the runner that is started for this job: the same however often it is asked for."""
        return f"{prefix}-{self.job_id}-{self.run_attempt}"

    @property
    def identity(self) -> dict[str, str | int]:
        """What a runner's row says about the job it has."""
        return {
            "repository": self.repository,
            "job_id": self.job_id,
            "run_id": self.run_id,
            "run_attempt": self.run_attempt,
            "job_name": self.name,
            "workflow_name": self.workflow_name,
            "job_url": self.url,
            "head_sha": self.head_sha,
        }

    @property
    def stamp(self) -> dict[str, str | int]:
        """What a row says about the delivery of this event; nothing if none brought it."""
        if self.received_at is None:
            return {}
        return {
            f"{self.action}_delivery": self.delivery,
            f"{self.action}_received_at": self.received_at,
        }


def execution_input(
    job: Job, *, catalog: Catalog, config: DispatchEvent, now: int
) -> dict[str, Any] | Refusal:
    """Work out the lifecycle's input for a queued job.

    Returns:
        The input, or why the job cannot be served.
    """
    request = labels.read(job.labels)
    if isinstance(request, Refusal):
        return request
    image = _image(request.image, config)
    if isinstance(image, Refusal):
        return image
    route = routing.route(
        request, catalog=catalog, image=image.capabilities, architectures=config.architectures
    )
    if isinstance(route, Refusal):
        return route
    runner_class = route.runner_class
    return {
        "runner_id": job.runner_id(prefix=config.runner_name_prefix),
        **job.identity,
        "runner_labels": request.runner_labels,
        "waiting_labels": request.waiting_labels,
        "class_name": runner_class.name,
        "cpu": str(runner_class.cpu),
        "memory": str(runner_class.memory),
        "architecture": runner_class.architecture,
        "capabilities": ",".join(runner_class.capabilities),
        "needs": ",".join(route.needs),
        "capacity": list(runner_class.capacity),
        "usd_per_second": {
            capacity: pricing.usd_per_second(
                cpu=runner_class.cpu,
                memory=runner_class.memory,
                architecture=runner_class.architecture,
                capacity=capacity,
            )
            for capacity in runner_class.capacity
        },
        **image.launched(runner_class.architecture, config),
        "queued_at": job.created_at if job.created_at is not None else now,
        "queued_delivery": job.delivery,
        "queued_received_at": job.received_at if job.received_at is not None else now,
    }


@dataclass(frozen=True, kw_only=True)
class _Image:
    """The image that a job gets.

    Attributes:
        base: Normalised reference of what it is built from; a ready image has none.
        readable: What its name begins with; empty for the last part of ``base``.
        capabilities: What is known of it before it runs.
    """

    base: str
    readable: str
    capabilities: ImageCapabilities

    def launched(self, architecture: str, config: DispatchEvent) -> dict[str, str]:
        """Say what is launched: what the execution's input has of the image."""
        if not self.base:
            tag, task_definition = self.readable, config.default_task_definitions[architecture]
        else:
            tag = images.image_tag(
                self.base,
                recipe=config.image_recipe,
                architecture=architecture,
                readable=self.readable,
            )
            task_definition = f"{config.task_family}-{tag}"
        return {"image_tag": tag, "image_base": self.base, "task_definition": task_definition}


def _image(reference: str | None, config: DispatchEvent) -> _Image | Refusal:
    base, readable = config.default_image_base, config.runner_image_tag
    detected = config.detected_capabilities
    if reference is not None:
        allowed = images.allowed(
            reference, globs=config.images.allowed, building=config.images.building
        )
        if isinstance(allowed, Refusal):
            return allowed
        # what is found in the image of somebody's choice, nobody knows before
        base, readable, detected = allowed, "", frozenset()
    elif config.default_task_definitions:
        base = ""
    elif not config.images.building:
        return Refusal(
            reason="the fleet has no runner image, deploy with image_build_project true or name a "
            "ready image as runner_image"
        )
    return _Image(
        base=base,
        readable=readable,
        # the recipe declares the same for every image that it makes
        capabilities=ImageCapabilities(declared=config.image_capabilities, detected=detected),
    )
