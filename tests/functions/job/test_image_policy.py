"""Which images jobs may ask for, and which bases are built on."""

from __future__ import annotations

import pytest

from fleet_runtime.job.image_policy import Bases, ImagePolicy
from fleet_runtime.job.labels import Refusal

OFFICIAL = "public.ecr.aws/docker/library"


def policy(*globs: str, image_building: bool = True) -> ImagePolicy:
    return ImagePolicy(allowed_images=globs, image_building=image_building)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("ghcr.io/o/x:1", "image 'ghcr.io/o/x:1' is not allowed"),
        ("x:1", "image 'x:1' ('public.ecr.aws/docker/library/x:1') is not allowed"),
    ],
)
def test_a_refusal_names_an_image_twice_only_if_it_has_two_spellings(
    asked: str, named: str
) -> None:
    refusal = policy("quay.io/*").read(asked)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(f"{named}, use one of quay.io/*")
    assert refusal.reason.endswith("or add it to allowed_images")


def test_the_allow_list_is_matched_against_the_whole_spelling() -> None:
    assert policy(f"{OFFICIAL}/*").read("docker.io/ubuntu") == f"{OFFICIAL}/ubuntu:latest"
    assert isinstance(policy("ghcr.io/org/*").read("ghcr.io/org2/a:1"), Refusal)


@pytest.mark.parametrize(
    ("globs", "image_building", "reason"),
    [
        ((), True, "use one of none"),
        # only known at deployment, so nothing was said at synthesis
        (("ghcr.io*",), True, "is not allowed"),
        (("ghcr.io/o/*",), False, "image building is off"),
    ],
)
def test_nothing_is_allowed_by_a_list_that_allows_nothing(
    globs: tuple[str, ...], image_building: bool, reason: str
) -> None:
    refusal = policy(*globs, image_building=image_building).read("ghcr.io/o/x:1")
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason


def test_what_is_no_reference_is_refused() -> None:
    refusal = policy("ghcr.io/o/*").read("ghcr.io/o/../x")
    assert isinstance(refusal, Refusal)
    assert "is not an image reference" in refusal.reason


def test_images_are_built_on_the_default_base_and_on_allowed_ones() -> None:
    bases = Bases(own=frozenset({"ghcr.io/house/debian"}), allowed_images=(f"{OFFICIAL}/*",))
    assert bases.have("ghcr.io/house/debian")
    assert bases.have(f"{OFFICIAL}/ubuntu:24.04")
    assert not bases.have("ghcr.io/house/other:1")
    assert not Bases(own=frozenset(), allowed_images=()).have("")
