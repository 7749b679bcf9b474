from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_runtime.job import image_reference as images
from fleet_runtime.job.labels import Refusal

DIGEST = "sha256:" + "a" * 64
OFFICIAL = "public.ecr.aws/docker/library"


@pytest.mark.parametrize(
    ("reference", "normalised"),
    [
        ("ubuntu", f"{OFFICIAL}/ubuntu:latest"),
        ("ubuntu:22.04", f"{OFFICIAL}/ubuntu:22.04"),
        ("library/ubuntu:22.04", f"{OFFICIAL}/ubuntu:22.04"),
        ("docker.io/ubuntu", f"{OFFICIAL}/ubuntu:latest"),
        ("docker.io/library/ubuntu:1", f"{OFFICIAL}/ubuntu:1"),
        ("index.docker.io/library/ubuntu:1", f"{OFFICIAL}/ubuntu:1"),
        ("node:22@" + DIGEST, f"{OFFICIAL}/node:22@{DIGEST}"),
        ("node@" + DIGEST, f"{OFFICIAL}/node@{DIGEST}"),
        ("org/name", "docker.io/org/name:latest"),
        ("org/name:Tag", "docker.io/org/name:Tag"),
        ("docker.io/org/name:1", "docker.io/org/name:1"),
        ("library/a/b", "docker.io/library/a/b:latest"),
        ("public.ecr.aws/ubuntu/ubuntu:24.04", "public.ecr.aws/ubuntu/ubuntu:24.04"),
        ("ghcr.io/a/b/c_d__e-f.g:1", "ghcr.io/a/b/c_d__e-f.g:1"),
        ("localhost/a", "localhost/a:latest"),
        ("registry:5000/a:1", "registry:5000/a:1"),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:1",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:1",
        ),
    ],
)
def test_every_image_has_one_spelling(reference: str, normalised: str) -> None:
    assert images.normalise(reference) == normalised
    assert images.normalise(normalised) == normalised


@pytest.mark.parametrize(
    "reference",
    ["", "Ubuntu", "a b", "a:", ":a", "a@sha256:short", "../x", "a/../b", "a//b", "/a", "a/",
     "a:b/c", "public.ecr.aws/../evil/x", "PUBLIC.ecr.aws/a", "https://x/y", "a@b", "x" * 300 + "/",
     "a\n"],
)  # fmt: skip
def test_what_is_no_reference_is_refused(reference: str) -> None:
    refused = images.normalise(reference)
    assert isinstance(refused, Refusal)
    assert "is not an image reference" in refused.reason


@pytest.mark.parametrize(
    ("reference", "globs", "fits"),
    [
        ("ubuntu", ["public.ecr.aws/*"], True),
        ("org/x", ["public.ecr.aws/*"], False),
        ("public.ecr.aws.evil.com/x", ["public.ecr.aws/*"], False),
        ("evil.com/public.ecr.aws/x", ["public.ecr.aws/*"], False),
        ("ghcr.io/org/a/b:1", ["ghcr.io/org/*"], True),
        ("ghcr.io/org2/a:1", ["ghcr.io/org/*"], False),
        ("ubuntu", [], False),
    ],
)
def test_the_allow_list_is_matched_against_the_whole_spelling(
    reference: str, globs: list[str], fits: bool
) -> None:
    answer = images.allowed(
        reference, policy=images.ImagePolicy(allowed_images=tuple(globs), image_building=True)
    )
    assert isinstance(answer, str) is fits
    if isinstance(answer, Refusal):
        assert "add it to allowed_images" in answer.reason


BASE = "public.ecr.aws/docker/library/ubuntu:22.04"


def tag(
    base: str = BASE, recipe: str = "r1", architecture: str = "X86_64", readable: str | None = None
) -> str:
    return images.image_tag(base, recipe=recipe, architecture=architecture, readable=readable)


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
    policy = images.ImagePolicy(allowed_images=("quay.io/*",), image_building=True)
    refusal = images.allowed(asked, policy=policy)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(f"{named}, use one of quay.io/*")


def test_names_tell_bases_recipes_and_architectures_apart() -> None:
    assert re.fullmatch(r"ubuntu-22-04-[0-9a-f]{24}", tag())
    assert tag() == tag()
    others = {tag(), tag(recipe="r2"), tag(BASE + ".1"), tag(architecture="ARM64")}
    assert len(others) == 4


def test_the_default_image_is_called_as_the_deployer_wants() -> None:
    assert tag("a/b:1", readable="my.runner").startswith("my-runner-")


def test_an_image_of_an_earlier_recipe_is_told_from_its_name() -> None:
    name = tag(readable="default")
    assert images.is_current(name, base=BASE, recipe="r1", architecture="X86_64")
    assert not images.is_current(name, base=BASE, recipe="r2", architecture="X86_64")
    assert not images.is_current(name, base=BASE, recipe="r1", architecture="ARM64")


@given(st.from_regex(r"[ -~]{1,250}", fullmatch=True))
def test_names_can_stand_in_the_name_of_a_task_definition_family(base: str) -> None:
    # ECS: letters, digits, hyphens and underscores; ECR: at most 128 characters
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}", tag(base))


REFERENCES = st.from_regex(
    r"[a-c]([._-][a-c])?(/[a-c])?(:[a-c0-2][._-]?[a-c0-2])?", fullmatch=True
).map(images.normalise)


@given(REFERENCES, REFERENCES)
def test_different_references_never_share_a_name(one: str | Refusal, other: str | Refusal) -> None:
    # "ubuntu:22.04" and "ubuntu/22.04" read the same once they are sanitised
    assert isinstance(one, str)
    assert isinstance(other, str)
    assert (tag(one) == tag(other)) is (one == other)
