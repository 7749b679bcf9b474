"""Which class serves a job: by what it has itself, its image's capabilities and architecture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_runtime.job import labels
from fleet_runtime.job.catalog import ARCHITECTURES, Catalog
from fleet_runtime.job.labels import Refusal, RunnerRequest
from fleet_runtime.job.routing import DETECTABLE, ImageCapabilities, Route, route

SIZE = {"cpu": 512, "memory": 1024}
SIZES: dict[str, Any] = {
    "small": SIZE,
    "Large": {**SIZE, "labels": ["linux", "x64", "Docker"]},
    "arm": {**SIZE, "architecture": "ARM64"},
    "py": {**SIZE, "capabilities": ["Python"]},
}
BASE = ImageCapabilities(declared=(), detected={"shell"}, architectures=())
FULL = ImageCapabilities(declared=(), detected=DETECTABLE, architectures=())
DECLARED = ImageCapabilities(declared={"java"}, detected={"shell"}, architectures=())
UNKNOWN = ImageCapabilities(declared=(), detected=(), architectures=())


def routed(
    *asked: str,
    sizes: dict[str, Any] = SIZES,
    image: ImageCapabilities = BASE,
    architectures: Sequence[str] = ARCHITECTURES,
) -> Route | Refusal:
    request = labels.read(["self-hosted", *asked])
    assert isinstance(request, RunnerRequest)
    catalog = Catalog.parse(json.dumps(sizes))
    known = replace(image, architectures=architectures)
    return route(request, catalog=catalog, image_of=lambda _: known)


def served(*asked: str, **more: Any) -> tuple[str, tuple[str, ...]]:
    found = routed(*asked, **more)
    assert isinstance(found, Route), found
    return found.runner_class.name, found.needs


def refused(*asked: str, **more: Any) -> str:
    found = routed(*asked, **more)
    assert isinstance(found, Refusal), found
    return found.reason


# --- the class ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ([], "small"),
        (["Linux", "X64"], "small"),
        (["docker"], "Large"),
        (["LINUX", "Docker"], "Large"),
        (["arm64"], "arm"),
        (["Linux", "ARM64"], "arm"),
        (["class:LARGE"], "Large"),
        (["class:large", "X64", "DOCKER"], "Large"),
    ],
)
def test_the_first_class_that_has_every_label_serves_the_job(asked: list[str], name: str) -> None:
    assert served(*asked) == (name, ())


def test_a_job_that_names_a_class_gets_no_other() -> None:
    assert refused("class:small", "docker", "linux") == (
        "class small has no label 'docker', it has linux, x64, shell: take it out of runs-on, "
        "or add it to the labels of a class, or to its capabilities if its image has it"
    )


def test_a_label_that_no_class_has_is_named_with_what_the_classes_have() -> None:
    assert refused("linux", "gpu", "docker") == (
        "no class has label 'gpu', there are small (linux, x64, shell), "
        "Large (docker, linux, x64, shell), arm (arm64, linux, shell), py (linux, x64, python): "
        "take it out of runs-on, or add it to the labels of a class, or to its capabilities if "
        "its image has it"
    )


def test_classes_that_have_the_same_are_listed_together() -> None:
    assert "there are a, b, c (linux, x64, shell): " in refused(
        "gpu", sizes={"a": SIZE, "b": SIZE, "c": SIZE}
    )


def test_labels_that_no_class_has_together_are_all_named() -> None:
    reason = refused("docker", "arm64", "linux")
    assert reason.startswith("no class has all of the labels 'docker, arm64', there are small (")


def test_a_refusal_stays_short_however_large_the_catalog_is() -> None:
    sizes = {f"c{n}": {**SIZE, "labels": [f"l{n}-{m}" for m in range(50)]} for n in range(50)}
    reason = refused("gpu", sizes=sizes)
    assert "and 42 more" in reason
    assert len(reason) < 1000


def test_a_class_that_cannot_be_used_is_passed_over() -> None:
    sizes = {"broken": {"cpu": 7}, **SIZES}
    assert served(sizes=sizes) == ("small", ())
    assert served("docker", sizes=sizes) == ("Large", ())
    assert "class 'broken' cannot be used, cpu is 7" in refused("class:broken", sizes=sizes)


def test_it_is_named_where_it_may_be_the_one_that_is_meant() -> None:
    sizes = {"small": SIZE, "broken": {"cpu": 7, "labels": ["gpu"]}}
    reason = refused("gpu", sizes=sizes)
    assert reason.startswith("class small has no label 'gpu'")
    assert "; class 'broken' cannot be used, cpu is 7" in reason
    assert refused(sizes={"broken": {"cpu": 7}}).startswith("class 'broken' cannot be used")


def test_a_class_that_allows_no_images_serves_no_job_that_chooses_one() -> None:
    sizes = {"deploy": {**SIZE, "allow_images": False}, "small": SIZE}
    assert refused("class:deploy", "image:python:3", sizes=sizes) == (
        "class 'deploy' runs in the fleet's own image alone: take the image: label out of "
        "runs-on, or ask for another class"
    )
    assert refused("Class:DEPLOY", "Image:python:3", sizes=sizes) == refused(
        "class:deploy", "image:python:3", sizes=sizes
    )
    assert served("class:deploy", sizes=sizes) == ("deploy", ())
    # who names no class gets the next one that allows it
    assert served("image:python:3", sizes=sizes) == ("small", ())
    assert served(sizes=sizes) == ("deploy", ())


# --- capabilities ---------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", ["python", "Python", "PYTHON"])
def test_capabilities_are_labels_in_any_case(spelled: str) -> None:
    assert served(spelled) == ("py", ("python",))
    assert served(spelled, sizes={"a": SIZE}, image=FULL) == ("a", ())


def test_what_the_image_declares_comes_before_what_the_class_says() -> None:
    # and the image is asked again when it runs: what is in it may declare less
    assert served("java", "class:py", image=DECLARED) == ("py", ("java",))
    assert "class py has no label 'python', it has linux, x64, java: " in refused(
        "python", "class:py", image=DECLARED
    )


def test_what_the_class_says_comes_before_what_is_found_in_the_image() -> None:
    # and the image is asked again when it runs: it may declare less
    assert served("python", "class:py", image=FULL) == ("py", ("python",))
    assert "class py has no label 'node', it has linux, x64, python: " in refused(
        "node", "class:py", image=FULL
    )


def test_what_is_found_in_the_image_counts_where_neither_says_anything() -> None:
    assert served("node", image=FULL) == ("small", ())
    assert "no class has label 'node'" in refused("node", image=BASE)


def test_a_label_of_the_class_needs_no_image() -> None:
    sizes = {"a": {**SIZE, "labels": ["node"]}}
    assert served("node", sizes=sizes, image=DECLARED) == ("a", ())
    assert served("node", sizes=sizes, image=UNKNOWN) == ("a", ())


def test_what_only_the_image_can_tell_is_left_to_the_runners_claim() -> None:
    assert served("Node", "linux", "shell", image=UNKNOWN) == ("small", ("node", "shell"))
    assert "no class has label 'java'" in refused("java", image=UNKNOWN)


def test_a_class_that_surely_has_it_comes_before_one_whose_image_may_have_it() -> None:
    assert served("python", image=UNKNOWN) == ("py", ("python",))
    assert served("python", "node", image=UNKNOWN) == ("small", ("python", "node"))


def test_the_author_is_pointed_to_another_image_where_that_can_help() -> None:
    hint = "ask for an image that has it, with image:"
    assert hint in refused("native", image=BASE)
    assert hint not in refused("gpu", image=BASE)
    assert hint not in refused("native", image=DECLARED)


# --- architectures --------------------------------------------------------------------------


def test_a_class_for_which_there_is_no_image_is_refused_with_the_remedy() -> None:
    reason = refused("class:arm", architectures=["X86_64"])
    assert reason == (
        "class 'arm' cannot be used, it is ARM64 and the fleet has images for X86_64: take "
        "another class, or deploy with one of ARM64 in runner_class_sizes, so that there are "
        "images for it"
    )
    # the one class that has all labels is the one to mend
    assert refused("arm64", architectures=["X86_64"]) == reason


def test_another_class_that_has_all_labels_serves_the_job() -> None:
    sizes = {"arm": {**SIZE, "architecture": "ARM64"}, "small": SIZE}
    assert served("linux", sizes=sizes) == ("arm", ())
    assert served("linux", sizes=sizes, architectures=["X86_64"]) == ("small", ())


# --- whatever the catalog and the labels ----------------------------------------------------

WORDS = ["shell", "python", "node", "native", "gpu", "java", "linux", "x64", "arm64"]
words = st.lists(st.sampled_from(WORDS), max_size=4)
spelled = st.sampled_from([str.lower, str.upper, str.title])
classes = st.fixed_dictionaries(
    {"cpu": st.just(512), "memory": st.sampled_from([1024, 9999])},
    optional={
        "architecture": st.sampled_from(ARCHITECTURES),
        "labels": words,
        "capabilities": words,
    },
)
images = st.builds(ImageCapabilities, declared=words, detected=words, architectures=st.just(()))


@given(
    asked=words,
    spell=spelled,
    named=st.sampled_from([None, "a", "b", "z"]),
    sizes=st.dictionaries(st.sampled_from("abcd"), classes, min_size=1),
    image=images,
    architectures=st.lists(st.sampled_from(ARCHITECTURES), unique=True),
)
def test_no_job_gets_a_class_that_lacks_what_it_asks_for(
    *,
    asked: list[str],
    spell: Any,
    named: str | None,
    sizes: dict[str, Any],
    image: ImageCapabilities,
    architectures: list[str],
) -> None:
    name = [f"class:{named}"] if named else []
    given_as = [spell(word) for word in asked]
    found = routed(*given_as, *name, sizes=sizes, image=image, architectures=architectures)

    def has(size: dict[str, Any]) -> tuple[set[str], bool]:
        arch = size.get("architecture", "X86_64")
        own = size.get("labels", ["linux", "x64" if arch == "X86_64" else "arm64"])
        sources = (image.declared, size.get("capabilities", []), image.detected)
        first = next((source for source in sources if source), None)
        return {*own, *(first or ())}, first is None

    def serves(size: dict[str, Any]) -> bool:
        had, is_open = has(size)
        left = set(asked) - had
        is_right = size["memory"] == 1024 and size.get("architecture", "X86_64") in architectures
        return is_right and left <= (DETECTABLE if is_open else frozenset())

    able = [one for one, size in sizes.items() if named in (None, one) and serves(size)]
    if isinstance(found, Refusal):
        assert able == []
        assert found.reason.isprintable()
        return
    assert found.runner_class.name in able
    had, _ = has(sizes[found.runner_class.name])
    size = sizes[found.runner_class.name]
    said = set(asked) & set(image.declared or size.get("capabilities", []))
    own = set(size.get("labels", ["linux", "x64", "arm64"]))
    assert set(found.needs) == (set(asked) - had) | (said - own)
    assert found.is_sure == (set(asked) <= had)
    sure = [one for one in able if set(asked) <= has(sizes[one])[0]]
    assert found.runner_class.name == (sure or able)[0]
