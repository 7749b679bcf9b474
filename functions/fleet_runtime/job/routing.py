"""Which class of runner serves a job: one that has all that the job's labels ask for. Pure.

A class has its labels, and as labels the capabilities of its runners. What these are is said by
the first of three that says anything: what the fleet declares of the image, what the class says,
and what is found in the image. The entrypoint asks the image's own declaration before these. Where
that is not known before the image runs, the job is served all the same and the runner's claim
decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fleet_runtime.job.catalog import Catalog, RunnerClass
from fleet_runtime.job.labels import Refusal, RunnerRequest, shown

DETECTABLE = frozenset({"shell", "python", "node", "native"})
"""What an image can be found to have, see ``runner_image/capabilities.sh``."""

_MOST_LISTED = 8
"""Classes and labels that a refusal lists, of each."""


@dataclass(frozen=True, kw_only=True)
class ImageCapabilities:
    """What is known of an image before it runs, lower-cased.

    Attributes:
        declared: What it declares; empty if it declares nothing.
        detected: What will be found in it; empty if only the image itself can tell.
        architectures: Those that there is such an image for.
    """

    declared: Collection[str]
    detected: Collection[str]
    architectures: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Route:
    """A job's class.

    Attributes:
        runner_class: The class.
        needs: Labels of the job that the image itself has to say it has, in the job's order: it may
            declare less than its class does.
        is_sure: Whether nothing but such a declaration stands against it.
    """

    runner_class: RunnerClass
    needs: tuple[str, ...]
    is_sure: bool


@dataclass(frozen=True, kw_only=True)
class _Lacking:
    """A class that cannot serve a job.

    Attributes:
        name: Its name.
        labels: The job's that it lacks.
        had: Those that it has.
        is_by_image: Whether another image would have the first of them.
    """

    name: str
    labels: tuple[str, ...]
    had: tuple[str, ...]
    is_by_image: bool


def route(
    request: RunnerRequest,
    *,
    catalog: Catalog,
    image_of: Callable[[RunnerClass], ImageCapabilities | Refusal],
) -> Route | Refusal:
    """Find the class for a job: the one it names, or the first of the catalog that has it all.

    A class that surely has it all comes before one of which only the image can tell.

    Args:
        request: What the job asks for.
        catalog: The classes.
        image_of: Tells of the image that the job gets in a class, or why there is none.

    Returns:
        The class, or what the classes lack.
    """
    names = catalog.classes if request.class_name is None else (request.class_name,)
    found = [catalog.find(name) for name in names]
    usable = [one for one in found if isinstance(one, RunnerClass)]
    unusable = [one for one in found if isinstance(one, Refusal)]
    tried = [_try(one, request, image_of(one)) for one in usable]
    if routes := [one for one in tried if isinstance(one, Route)]:
        return min(routes, key=lambda one: not one.is_sure)
    if refused := [one for one in tried if isinstance(one, Refusal)]:
        return refused[0]
    lacking = [one for one in tried if isinstance(one, _Lacking)]
    reasons = [_reason(lacking)] if lacking else []
    return Refusal(reason="; ".join(reasons + [one.reason for one in unusable[:1]]))


def _try(
    runner_class: RunnerClass,
    request: RunnerRequest,
    image: ImageCapabilities | Refusal,
) -> Route | _Lacking | Refusal:
    if isinstance(image, Refusal):
        return image
    known = image.declared or runner_class.capabilities or image.detected
    left = [tag for tag in request.tags if tag not in {*runner_class.labels, *known}]
    deferred = () if known else tuple(tag for tag in left if tag in DETECTABLE)
    lacking = tuple(tag for tag in left if tag not in deferred)
    if lacking:
        had = dict.fromkeys((*sorted(runner_class.labels), *sorted(known)))
        return _Lacking(
            name=runner_class.name,
            labels=lacking,
            had=tuple(had),
            is_by_image=bool(image.detected) and not image.declared and lacking[0] in DETECTABLE,
        )
    if runner_class.architecture not in image.architectures:
        return Refusal(
            reason=f"class {shown(runner_class.name)} cannot be used, it is "
            f"{runner_class.architecture} and the fleet has images for "
            f"{', '.join(image.architectures) or 'no architecture'}: take another class, or deploy "
            f"with one of {runner_class.architecture} in runner_class_sizes, so that there are "
            "images for it"
        )
    if request.image is not None and not runner_class.allow_images:
        return Refusal(
            reason=f"class {shown(runner_class.name)} runs in the fleet's own image alone: take "
            "the image: label out of runs-on, or ask for another class"
        )
    stated = image.declared or runner_class.capabilities
    needs = tuple(
        tag for tag in request.tags if tag in {*deferred, *stated} - {*runner_class.labels}
    )
    return Route(runner_class=runner_class, needs=needs, is_sure=not deferred)


def _reason(classes: Sequence[_Lacking]) -> str:
    """Say what classes lack, and what they have; those that have the same are listed together."""
    first, *others = classes
    nowhere = [tag for tag in first.labels if all(tag in one.labels for one in others)]
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for one in classes:
        alike[one.had].append(one.name)
    there_are = _listed([f"{_listed(names)} ({_listed(had)})" for had, names in alike.items()])
    if not others:
        what = f"class {first.name} has no label {shown(nowhere[0])}, it has {_listed(first.had)}"
    elif nowhere:
        what = f"no class has label {shown(nowhere[0])}, there are {there_are}"
    else:
        asked = dict.fromkeys(tag for one in classes for tag in one.labels)
        what = f"no class has all of the labels {shown(', '.join(asked))}, there are {there_are}"
    is_by_image = bool(nowhere) and any(one.is_by_image for one in classes)
    remedy = (
        "ask for an image that has it, with image:, or deploy the fleet's own with it "
        "(runner_image_variant python, node or full)"
        if is_by_image
        else "take it out of runs-on, or add it to the labels of a class, or to its capabilities "
        "if its image has it"
    )
    return f"{what}: {remedy}"


def _listed(items: Sequence[str]) -> str:
    more = len(items) - _MOST_LISTED
    return ", ".join(items[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
