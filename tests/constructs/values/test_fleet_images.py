"""Which image each class runs in: by which name, and where two would have one."""

from __future__ import annotations

import pytest

from cdk_runner_fleet import RunnerClass, RunnerImage
from cdk_runner_fleet.values.fleet_images import FleetImages
from cdk_runner_fleet.values.runner_class import Architecture

from ..fleets import READY


def sized(image: RunnerImage | None = None, architecture: Architecture = "X86_64") -> RunnerClass:
    return RunnerClass(cpu=512, memory=1024, image=image, architecture=architecture)


def test_images_are_called_by_their_classes_unless_they_have_a_name() -> None:
    node, house = RunnerImage.built(variant="node"), RunnerImage.ready(READY, name="house")
    images = FleetImages.of(
        RunnerImage.built(), {"small": sized(), "node": sized(node), "large": sized(house)}
    )
    assert list(images.by_name) == ["default", "node", "house"]
    assert images.of_classes == {"node": "node", "large": "house"}
    assert (list(images.built), list(images.ready)) == (["default", "node"], ["house"])
    assert images.first_class("house") == "large"


def test_the_same_image_is_one_for_the_architectures_of_all_its_classes() -> None:
    images = FleetImages.of(
        RunnerImage.built(name="house"),
        {
            "a": sized(RunnerImage.built(variant="node")),
            "b": sized(RunnerImage.built(variant="node"), "ARM64"),
            "c": sized(RunnerImage.built(name="house"), "ARM64"),
        },
    )
    assert images.of_classes == {"a": "a", "b": "a", "c": "house"}
    assert images.architectures == {"house": ["ARM64"], "a": ["X86_64", "ARM64"]}


def test_two_images_of_one_name_are_refused() -> None:
    one = RunnerImage.built(variant="node", name="x")
    other = RunnerImage.built(variant="python", name="x")
    with pytest.raises(ValueError, match=r"image of class 'b' is called 'x' and so is another one"):
        FleetImages.of(RunnerImage.built(), {"a": sized(one), "b": sized(other)})
    with pytest.raises(ValueError, match=r"class 'default' is called 'default' .* \(name=\)$"):
        FleetImages.of(RunnerImage.built(), {"default": sized(RunnerImage.built(variant="node"))})
