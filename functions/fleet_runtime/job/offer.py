"""What the fleet offers to jobs, and the lifecycle's input for a job that takes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet_runtime.job import image_reference, pricing, routing
from fleet_runtime.job.catalog import Catalog
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
        default_task_definitions: Those of the ready image by architecture; empty if the default
            image is built.
        default_image_base: What the default image is built from.
        runner_image_tag: What the default image's name begins with.
        image_recipe: Digest of the recipe; empty where nothing is built.
        image_capabilities: What the fleet's images declare; empty if they declare nothing.
        detected_capabilities: What will be found in the default image; empty if only the image
            itself can tell.
        architectures: Those that there are images for.
        policy: Which other images jobs may ask for.
        scopes: Where runners are registered.
        label_rules: Which jobs it is for, and which of their labels are no class's business.
    """

    runner_name_prefix: str
    task_family: str
    default_task_definitions: Mapping[str, str]
    default_image_base: str
    runner_image_tag: str
    image_recipe: str = ""
    image_capabilities: frozenset[str]
    detected_capabilities: frozenset[str]
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
    image = _image(request.image, offer)
    if isinstance(image, Refusal):
        return image
    route = routing.route(
        request, catalog=catalog, image=image.capabilities, architectures=offer.architectures
    )
    if isinstance(route, Refusal):
        return route
    runner_class = route.runner_class
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
        "capabilities": ",".join(runner_class.capabilities),
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
        **image.launched(runner_class.architecture, offer),
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

    def launched(self, architecture: str, offer: Offer) -> dict[str, str]:
        """Say what is launched: what the execution's input has of the image."""
        if not self.base:
            tag, task_definition = self.readable, offer.default_task_definitions[architecture]
        else:
            tag = image_reference.image_tag(
                self.base,
                recipe=offer.image_recipe,
                architecture=architecture,
                readable=self.readable,
            )
            task_definition = image_reference.family_name(offer.task_family, tag)
        return {"image_tag": tag, "image_base": self.base, "task_definition": task_definition}


def _image(reference: str | None, offer: Offer) -> _Image | Refusal:
    base, readable = offer.default_image_base, offer.runner_image_tag
    detected = _lowered(offer.detected_capabilities)
    if reference is not None:
        allowed = offer.policy.read(reference)
        if isinstance(allowed, Refusal):
            return allowed
        if offer.scopes.shares_images:
            where = offer.scopes.github_scope
            return Refusal(
                reason=f"image {shown(reference)} cannot be had in the {where}: "
                "GitHub may give its runner the jobs of other repositories. Take the image: label "
                "out of runs-on, or deploy with register_for repository, or with an "
                "image_runner_group that only repositories may use which may choose images"
            )
        # what is found in the image of somebody's choice, nobody knows before
        base, readable, detected = allowed, "", frozenset()
    elif offer.default_task_definitions:
        base = ""
    elif not offer.policy.image_building:
        return Refusal(
            reason="the fleet has no runner image, deploy with image_build_project true or name a "
            "ready image as runner_image"
        )
    return _Image(
        base=base,
        readable=readable,
        # the recipe declares the same for every image that it makes
        capabilities=ImageCapabilities(
            declared=_lowered(offer.image_capabilities), detected=detected
        ),
    )


def _lowered(names: frozenset[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
