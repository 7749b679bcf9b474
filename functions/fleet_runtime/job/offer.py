"""What the fleet offers to jobs, and the lifecycle's input for a job that takes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet_runtime.job import image_reference, pricing, routing
from fleet_runtime.job.catalog import Catalog, RunnerClass
from fleet_runtime.job.fleet_images import FleetImages
from fleet_runtime.job.image_policy import ImagePolicy
from fleet_runtime.job.job import JobEvent
from fleet_runtime.job.label_rules import LabelRules
from fleet_runtime.job.labels import Refusal, shown
from fleet_runtime.job.routing import ImageCapabilities
from fleet_runtime.job.runner_scope import RunnerScopes


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The images that a fleet's runners have, and the names of what they are launched by.

    Attributes:
        runner_name_prefix: What the runners' names begin with.
        task_family: What the names of the images' task-definition families begin with.
        images: The fleet's own images.
        image_recipe: Digest of the recipe of images on a base that a job chose; empty if none may.
        architectures: Those that images are built for.
        policy: Which other images jobs may ask for.
        scopes: Where runners are registered.
        label_rules: Which jobs it is for, and which of their labels are no class's business.
    """

    runner_name_prefix: str
    task_family: str
    images: FleetImages
    image_recipe: str = ""
    architectures: tuple[str, ...]
    policy: ImagePolicy
    scopes: RunnerScopes
    label_rules: LabelRules


def execution_input(
    queued: JobEvent, *, runner_id: str, catalog: Catalog, offer: Offer, now: int
) -> dict[str, Any] | Refusal:
    """Work out the lifecycle's input for a job that is queued.

    Args:
        queued: The event that tells of it.
        runner_id: The name of its own runner.
        catalog: The runner classes.
        offer: What the fleet offers.
        now: Epoch seconds: where the event tells no times.

    Returns:
        The input, or why the job cannot be served.
    """
    job = queued.job
    request = offer.label_rules.read(job.labels, run_id=job.run_id)
    if isinstance(request, Refusal):
        return request
    chosen = _chosen(request.image, offer) if request.image is not None else None
    if isinstance(chosen, Refusal):
        return chosen

    def image_of(runner_class: RunnerClass) -> _Image | Refusal:
        return chosen or _own(runner_class, offer)

    route = routing.route(request, catalog=catalog, image_of=image_of)
    if isinstance(route, Refusal):
        return route
    runner_class = route.runner_class
    image = image_of(runner_class)
    assert isinstance(image, _Image)  # noqa: S101 - a class without one serves no job
    scope = offer.scopes.of(job.repository)
    return {
        "runner_id": runner_id,
        **job.identity,
        "runner_labels": request.runner_labels,
        "waiting_labels": offer.scopes.waiting_key(request.waiting_labels, scope=scope),
        "registered_for": scope.text,
        "class_name": runner_class.name,
        "cpu": str(runner_class.cpu),
        "memory": str(runner_class.memory),
        "ephemeral_storage": runner_class.ephemeral_storage,
        "timeouts": dict(runner_class.timeouts),
        "architecture": runner_class.architecture,
        "capabilities": ",".join(image.declared or runner_class.capabilities),
        "needs": ",".join(route.needs),
        "capacity": list(runner_class.capacity),
        "usd_per_second": {
            capacity: pricing.usd_per_second(
                cpu=runner_class.cpu,
                memory=runner_class.memory,
                storage=runner_class.ephemeral_storage,
                architecture=runner_class.architecture,
                capacity=capacity,
            )
            for capacity in runner_class.capacity
        },
        **image.launched(runner_class.architecture, task_family=offer.task_family),
        "queued_at": job.created_at if job.created_at is not None else now,
        "queued_delivery": queued.delivery,
        "queued_received_at": queued.received_at if queued.received_at is not None else now,
    }


@dataclass(frozen=True, kw_only=True)
class _Image(ImageCapabilities):
    """The image that a job gets.

    Attributes:
        base: Normalised reference of what it is built from; a ready image has none.
        recipe: Digest of all else that goes into it; a ready image has none.
        readable: What its name begins with; empty for the last part of ``base``.
        task_definitions: Those of a ready image by architecture.
    """

    base: str
    recipe: str = ""
    readable: str = ""
    task_definitions: Mapping[str, str] = field(default_factory=dict)

    def launched(self, architecture: str, *, task_family: str) -> dict[str, str]:
        """Say what is launched: what the execution's input has of the image."""
        if not self.base:
            tag, task_definition = self.readable, self.task_definitions[architecture]
        else:
            tag = image_reference.image_tag(
                self.base, recipe=self.recipe, architecture=architecture, readable=self.readable
            )
            task_definition = image_reference.family_name(task_family, tag)
        return {"image_tag": tag, "image_base": self.base, "task_definition": task_definition}


def _chosen(reference: str, offer: Offer) -> _Image | Refusal:
    """The image on the base that a job has chosen."""
    base = offer.policy.read(reference)
    if isinstance(base, Refusal):
        return base
    if offer.scopes.shares_images:
        where = offer.scopes.github_scope
        return Refusal(
            reason=f"image {shown(reference)} cannot be had in the {where}: "
            "GitHub may give its runner the jobs of other repositories. Take the image: label "
            "out of runs-on, or deploy with register_for repository, or with an "
            "image_runner_group that only repositories may use which may choose images"
        )
    return _Image(
        # the recipe declares the same for every image that it makes, and what is found in the image
        # of somebody's choice, nobody knows before
        declared=offer.images.default.declared,
        detected=(),
        architectures=offer.architectures,
        base=base,
        recipe=offer.image_recipe,
    )


def _own(runner_class: RunnerClass, offer: Offer) -> _Image | Refusal:
    """The image of a class."""
    image = offer.images.find(runner_class.image)
    if image is None:
        return Refusal(
            reason=f"class {shown(runner_class.name)} cannot be used, the fleet has no image "
            f"{shown(runner_class.image)}, it has "
            f"{', '.join(one.name for one in offer.images.images)}: correct the class sizes "
            "parameter, or deploy a class with that image"
        )
    if image.is_built and not offer.policy.image_building:
        return Refusal(
            reason="the fleet has no runner image, deploy with image_build_project true or name a "
            "ready image as runner_image"
        )
    return _Image(
        declared=image.declared,
        detected=image.detected,
        architectures=offer.architectures if image.is_built else tuple(image.task_definitions),
        base=image.base,
        recipe=image.recipe,
        readable=image.name,
        task_definitions=image.task_definitions,
    )
