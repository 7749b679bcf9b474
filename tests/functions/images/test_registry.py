"""The registry of images: where its URL says it is."""

from __future__ import annotations

from typing import Any

import pytest

from fleet_runtime.images.registry import ImageRegistry, region_of

URL = "999999999999.dkr.ecr.eu-west-1.amazonaws.com/team/runners"


class Ecr:
    """An ECR client that has every image, and writes down what it is asked."""

    class exceptions:  # noqa: N801 - botocore's name
        ImageNotFoundException = KeyError

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def describe_images(self, **asked: Any) -> Any:
        self.asked.append(asked)
        return {"imageDetails": [{"imageDigest": "sha256:d"}]}

    def batch_delete_image(self, **asked: Any) -> None:
        self.asked.append(asked)


@pytest.fixture
def ecr() -> Ecr:
    return Ecr()


def test_another_accounts_registry_is_asked_as_such(ecr: Ecr) -> None:
    registry = ImageRegistry(ecr=ecr, repository="team/runners", url=URL)
    assert registry.has("sha256:d")
    registry.delete("old", keep=())
    assert [
        (each["registryId"], each["repositoryName"], each["imageIds"]) for each in ecr.asked
    ] == [
        ("999999999999", "team/runners", [{"imageDigest": "sha256:d"}]),
        ("999999999999", "team/runners", [{"imageTag": "old"}]),
        ("999999999999", "team/runners", [{"imageTag": "old"}]),
    ]


def test_its_region_is_that_of_its_url() -> None:
    assert region_of(URL) == "eu-west-1"
