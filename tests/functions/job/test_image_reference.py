from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_runtime.job import image_reference as images

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
     "a\n", "-x.y/a:1", "x.y-/a", "ghcr\uff0eio/a", "registry:\u0665000/a", "a%2fb", "a:1@", "a:*"],
)  # fmt: skip
def test_what_is_no_reference_is_none(reference: str) -> None:
    assert images.normalise(reference) is None


@pytest.mark.parametrize(
    ("reference", "has"),
    [("ghcr.io/o/x", True), ("localhost/x:1", True), ("o/x:1", False), ("", False)],
)
def test_a_reference_with_a_registry_is_told_from_one_without(reference: str, has: bool) -> None:
    assert images.has_registry(reference) is has


ACCOUNT = "123456789012.dkr.ecr"


@pytest.mark.parametrize(
    ("reference", "glob", "fits"),
    [
        ("ubuntu", f"{OFFICIAL}/*", True),
        (f"ubuntu@{DIGEST}", f"{OFFICIAL}/*", True),
        ("org/x", f"{OFFICIAL}/*", False),
        ("public.ecr.aws/evil/x:1", f"{OFFICIAL}/*", False),
        ("public.ecr.aws.evil.example/docker/library/x", f"{OFFICIAL}/*", False),
        ("evil.example/public.ecr.aws/docker/library/x", f"{OFFICIAL}/*", False),
        ("ghcr.io/org/a/b:1", "ghcr.io/org/*", True),
        ("ghcr.io/org2/a:1", "ghcr.io/org/*", False),
        ("ghcr.io/org/a-slim:1", "ghcr.io/org/*-slim:*", True),
        ("ghcr.io/org/a:x-slim", "ghcr.io/org/*-slim:*", False),
        ("org/name:1", "docker.io/*", True),
        ("ubuntu:1", "docker.io/*", False),
        # a tag is of its own name, and no digest's
        ("python:3.13-slim", f"{OFFICIAL}/python:3.13*", True),
        ("python:3.13", f"{OFFICIAL}/python:3.13", True),
        ("python:3.12", f"{OFFICIAL}/python:3.13*", False),
        (f"python:3.13@{DIGEST}", f"{OFFICIAL}/python:3.13*", False),
        (f"python:3.13@{DIGEST}", f"{OFFICIAL}/python:*", False),
        (f"python@{DIGEST}", f"{OFFICIAL}/python:*", False),
        (f"python:3.13@{DIGEST}", f"{OFFICIAL}/python:3.13*@*", True),
        (f"python:3.13@{DIGEST}", f"{OFFICIAL}/python:*@{DIGEST}", True),
        (f"python:3.13@sha256:{'c' * 64}", f"{OFFICIAL}/python:*@{DIGEST}", False),
        ("python:3.13", f"{OFFICIAL}/python:3.13*@*", False),
        (f"python@{DIGEST}", f"{OFFICIAL}/python@{DIGEST}", True),
        (f"evil@{DIGEST}", f"{OFFICIAL}/python@sha256:*", False),
        ("registry:5000/acme/x:1", "registry:5000/acme/*", True),
        ("registry:5001/acme/x:1", "registry:5000/acme/*", False),
        # one account's registries in some regions, and no host beside them
        (
            f"{ACCOUNT}.eu-west-1.amazonaws.com/team/x:1",
            f"{ACCOUNT}.eu-*.amazonaws.com/team/*",
            True,
        ),
        (
            f"{ACCOUNT}.us-east-1.amazonaws.com/team/x:1",
            f"{ACCOUNT}.eu-*.amazonaws.com/team/*",
            False,
        ),
        (
            f"{ACCOUNT}.evil.example/x.amazonaws.com/team/x:1",
            f"{ACCOUNT}.*.amazonaws.com/team/*",
            False,
        ),
        (
            f"{ACCOUNT}.a.evil.example.amazonaws.com/team/x",
            f"{ACCOUNT}.*.amazonaws.com/team/*",
            False,
        ),
    ],
)
def test_a_glob_means_what_it_says(reference: str, glob: str, fits: bool) -> None:
    assert images.glob_fault(glob) == ""
    spelled = images.normalise(reference)
    assert spelled is not None
    assert images.matches(spelled, glob) is fits


@pytest.mark.parametrize(
    ("glob", "fault"),
    [
        ("*", "wildcard where its registry is to stand"),
        ("ghcr.io*", "wildcard where its registry is to stand"),
        ("*python:*", f"name the registry, as in {OFFICIAL}/python:*"),
        ("*/x:1", "anybody's host could match"),
        ("*.amazonaws.com/team/*", "wildcard where its registry"),
        ("*.dkr.ecr.us-east-1.amazonaws.com/any/*", "wildcard where its registry"),
        (f"{ACCOUNT}.us-east-1.*/team/*", "wildcard where its registry"),
        ("ghcr.io:*/x:1", "wildcard where its registry"),
        ("ghcr.io/acme*", "right behind 'ghcr.io/acme', .*: write ghcr.io/acme/\\* for what is in"),
        ("ghcr.io/acme*:1", "right behind 'ghcr.io/acme'"),
        ("ghcr.io/acme/a-*:1", "right behind 'ghcr.io/acme/a-'"),
        ("public.ecr.aws/docker*", "right behind 'public.ecr.aws/docker'"),
        (f"{ACCOUNT}.eu-west-1.amazonaws.com/team*", "right behind"),
        ("ghcr.io/acme/p?thon:1", "has '\\?', and \\* is the only wildcard"),
        ("ghcr.io/[!a]cme/x:1", "has '\\['"),
        ("ghcr.io/acme/x", "names no tag: write ghcr.io/acme/x:\\* .*, or ghcr.io/acme/x:latest"),
        ("ghcr.io/acme/*-slim", "names no tag"),
        ("", "no image matches"),
        ("python:3", "no image matches"),
        ("ghcr.io/", "no image matches"),
        ("/x:1", "no image matches"),
        ("docker.io/library/python:*", "no image matches"),
        ("docker.io/library/*", "no image matches"),
        ("docker.io/python:*", "no image matches"),
        ("index.docker.io/acme/*", "no image matches"),
        ("registry-1.docker.io/acme/*", "no image matches"),
        ("GHCR.io/acme/*", "no image matches"),
        ("ghcr.io/Acme/*", "no image matches"),
        ("ghcr.io/acme/../*", "no image matches"),
        ("ghcr.io//acme/*", "no image matches"),
        ("ghcr.io/acme%2f/*", "no image matches"),
        ("ghcr\uff0eio/acme/*", "no image matches"),
        ("ghcr.io:443x/acme/*", "no image matches"),
        ("ghcr.io:\u0664\u0664\u0663/acme/*", "no image matches"),
        ("https://ghcr.io/acme/*", "no image matches"),
        ("ghcr.io/acme/* ", "no image matches"),
        ("ghcr.io/acme/*\n", "no image matches"),
        ("ghcr.io/acme/x@sha256:0*", "no image matches"),
        ("ghcr.io/acme/x:1@", "no image matches"),
    ],
)
def test_a_glob_that_could_mean_more_is_refused_and_allows_nothing(glob: str, fault: str) -> None:
    assert re.search(fault, images.glob_fault(glob))
    for reference in ("ghcr.io/acme/x:1", "ghcr.io.evil.example/x:1", "ghcr.io/acme-evil/x:1"):
        assert not images.matches(reference, glob)


@given(st.from_regex(r"[a-c*/:@.?-]{1,12}", fullmatch=True), st.from_regex(r"[a-c/:.-]{1,9}"))
def test_no_glob_is_of_a_registry_that_it_does_not_name(glob: str, text: str) -> None:
    reference = images.normalise(f"evil.example/{text}")
    if reference is not None and images.matches(reference, glob):
        assert glob.startswith("evil.example/")


BASE = "public.ecr.aws/docker/library/ubuntu:22.04"


def tag(
    base: str = BASE, recipe: str = "r1", architecture: str = "X86_64", readable: str | None = None
) -> str:
    return images.image_tag(base, recipe=recipe, architecture=architecture, readable=readable)


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
def test_different_references_never_share_a_name(one: str | None, other: str | None) -> None:
    # "ubuntu:22.04" and "ubuntu/22.04" read the same once they are sanitised
    assert isinstance(one, str)
    assert isinstance(other, str)
    assert (tag(one) == tag(other)) is (one == other)
