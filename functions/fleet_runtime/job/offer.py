"""What starts a runner for a job: the lifecycle's input. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet_runtime.environment import DispatchEvent
from fleet_runtime.job import image_reference as images
from fleet_runtime.job import labels, pricing, routing
from fleet_runtime.job.catalog import Catalog
from fleet_runtime.job.job import JobEvent
from fleet_runtime.job.labels import Refusal
from fleet_runtime.job.routing import ImageCapabilities


def execution_input(
    queued: JobEvent, *, catalog: Catalog, config: DispatchEvent, now: int
) -> dict[str, Any] | Refusal:
    """Work out the lifecycle's input for a job that is queued.

    Args:
        queued: The event that tells of it.
        catalog: The runner classes.
        config: What the fleet has.
        now: Epoch seconds: where the event tells no times.

    Returns:
        The input, or why the job cannot be served.
    """
    job = queued.job
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
        "queued_delivery": queued.delivery,
        "queued_received_at": queued.received_at if queued.received_at is not None else now,
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
