"""The images in ECR."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fleet_runtime.aws.client import Client


class ImageRegistry:
    """The repository of the fleet's images, of whatever account and region its URL names.

    Args:
        ecr: An ECR client of its region.
        repository: Its name.
        url: Its URL.
    """

    def __init__(self, *, ecr: Client, repository: str, url: str) -> None:
        self._ecr = ecr
        self._url = url
        account, _, _ = url.partition(".")
        self._names = {"registryId": account, "repositoryName": repository}

    def reference(self, digest: str) -> str:
        """Return what a task definition names an image as."""
        return f"{self._url}@{digest}"

    def digest(self, tag: str) -> str | None:
        """Return the digest of the image with this tag, if there is one."""
        return self._find({"imageTag": tag})

    def has(self, digest: str) -> bool:
        """Whether there is an image of this digest."""
        return self._find({"imageDigest": digest}) is not None

    def delete(self, tag: str, *, keep: Collection[str]) -> None:
        """Delete the image with this tag, unless its digest is one of those to keep."""
        digest = self.digest(tag)
        if digest is not None and digest not in keep:
            self._ecr.batch_delete_image(**self._names, imageIds=[{"imageTag": tag}])

    def _find(self, image_id: Mapping[str, str]) -> str | None:
        try:
            answer = self._ecr.describe_images(**self._names, imageIds=[image_id])
        except self._ecr.exceptions.ImageNotFoundException:
            return None
        return str(answer["imageDetails"][0]["imageDigest"])


def region_of(url: str) -> str:
    """Return the region that a repository's URL names."""
    return url.split(".")[3]
