"""Which images jobs may ask for, and which bases are built on. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_runtime.job import image_reference
from fleet_runtime.job.labels import Refusal, shown


@dataclass(frozen=True, kw_only=True)
class ImagePolicy:
    """Which images jobs may ask for.

    Attributes:
        allowed_images: Globs over normalised references, see ``image_reference.glob_fault``.
        image_building: Whether images are built at all.
    """

    allowed_images: tuple[str, ...]
    image_building: bool

    def read(self, reference: str) -> str | Refusal:
        """Normalise the image a job asks for, if it may have it.

        Args:
            reference: What a job wrote behind ``image:``, hostile.
        """
        normalised = image_reference.normalise(reference)
        if normalised is None:
            return Refusal(
                reason=f"image {shown(reference)} is not an image reference, "
                "write it as registry/name:tag in lower case, for example image:ubuntu:24.04"
            )
        if not self.image_building:
            return Refusal(
                reason=f"image {shown(reference)} cannot be had, image building is off: take the "
                "image: label out of runs-on, or deploy with image_build_project true"
            )
        if not _is_allowed(normalised, self.allowed_images):
            full = shown(normalised, limit=300)
            named = full if reference == normalised else f"{shown(reference)} ({full})"
            return Refusal(
                reason=f"image {named} is not allowed, use one of "
                f"{', '.join(self.allowed_images) or 'none'}, or add it to allowed_images"
            )
        return normalised


@dataclass(frozen=True, kw_only=True)
class Bases:
    """What images may be built on, whoever asks for them.

    Attributes:
        own: Those of the fleet's own images, as they were deployed.
        allowed_images: Globs over those that jobs may ask for.
    """

    own: frozenset[str]
    allowed_images: tuple[str, ...]

    def have(self, base: str) -> bool:
        """Whether a base is one of them.

        Args:
            base: Its normalised reference; one of the fleet's own as it was deployed.
        """
        return base != "" and (base in self.own or _is_allowed(base, self.allowed_images))


def _is_allowed(normalised: str, globs: tuple[str, ...]) -> bool:
    return any(image_reference.matches(normalised, glob) for glob in globs)
