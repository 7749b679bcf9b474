"""Image references that jobs name: their one spelling, the allow-list and their names. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fleet_runtime.job.labels import Refusal, shown

# https://github.com/distribution/reference: the grammar of references, less upper-case domains
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:(?P<domain>(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:\d))(?::\d{1,5})?)/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_OFFICIAL_MIRROR = "public.ecr.aws/docker"
"""AWS's mirror of Docker's official images, where builds log in: it has limits for anybody else."""
_READABLE_LENGTH = 60
_DIGEST_LENGTH = 24
"""96 bits: whoever may name a base chooses what is digested, and must not find another's name."""


@dataclass(frozen=True, kw_only=True)
class ImagePolicy:
    """Which images jobs may ask for.

    Attributes:
        allowed_images: Globs, matched against the normalised reference; ``*`` stands for any
            characters, slashes included.
        image_building: Whether images are built at all.
    """

    allowed_images: tuple[str, ...]
    image_building: bool


def normalise(reference: str) -> str | Refusal:
    """Spell an image reference in the one way that the allow-list is matched against.

    Docker Hub's official images become those of AWS's mirror, other names without a registry get
    ``docker.io``, and a reference with neither tag nor digest gets ``:latest``.

    Args:
        reference: What a job wrote behind ``image:``, hostile.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return Refusal(
            reason=f"image {shown(reference)} is not an image reference, "
            "write it as registry/name:tag in lower case, for example image:ubuntu:24.04"
        )
    domain, path = match["domain"] or "docker.io", match["path"]
    if domain in _DOCKER_HUB:
        name, official = path.removeprefix("library/"), path.startswith("library/")
        if "/" not in name and (official or "/" not in path):
            domain, path = _OFFICIAL_MIRROR, f"library/{name}"
        else:
            domain = "docker.io"
    tag, digest = match["tag"], match["digest"]
    suffix = (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    return f"{domain}/{path}{suffix or ':latest'}"


def allowed(reference: str, *, policy: ImagePolicy) -> str | Refusal:
    """Normalise the image a job asks for, if it may have it.

    Args:
        reference: What a job wrote behind ``image:``, hostile.
        policy: Which images there may be.
    """
    normalised = normalise(reference)
    if isinstance(normalised, Refusal):
        return normalised
    if not policy.image_building:
        return Refusal(
            reason=f"image {shown(reference)} cannot be had, image building is off: take the "
            "image: label out of runs-on, or deploy with image_build_project true"
        )
    if not any(fnmatchcase(normalised, glob) for glob in policy.allowed_images):
        full = shown(normalised, limit=300)
        named = full if reference == normalised else f"{shown(reference)} ({full})"
        return Refusal(
            reason=f"image {named} is not allowed, "
            f"use one of {', '.join(policy.allowed_images) or 'none'}, or add it to allowed_images"
        )
    return normalised


def image_tag(base: str, *, recipe: str, architecture: str, readable: str | None = None) -> str:
    """Name the image that is built from ``base``, without asking a registry.

    Args:
        base: Normalised reference of the base image.
        recipe: Digest of all else that goes into the image but the runner's release.
        architecture: ``X86_64`` or ``ARM64``.
        readable: What stands before the digest. Default: the last part of ``base``.

    Returns:
        A name of letters, digits, ``_`` and ``-``, so that it can stand in the name of a
        task-definition family too.
    """
    name = readable or base.rpartition("/")[2].partition("@")[0]
    sanitised = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:_READABLE_LENGTH].strip("-")
    return f"{sanitised or 'image'}-{_digest(base, recipe, architecture)}"


def family_name(prefix: str, tag: str) -> str:
    """Name the task-definition family that launches an image.

    Args:
        prefix: Of the task definition that the fleet is deployed with.
        tag: The image's name.
    """
    return f"{prefix}-{tag}"


def is_current(tag: str, *, base: str, recipe: str, architecture: str) -> bool:
    """Whether an image of this name is made by this recipe, not by an earlier one."""
    return tag.rpartition("-")[2] == _digest(base, recipe, architecture)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGEST_LENGTH]
