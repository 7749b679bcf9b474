"""Private ECR repositories, as references of images name them."""

from __future__ import annotations

import re

from aws_cdk import Aws

# what a value is while it is only known at deployment
_TOKEN = r"\$\{Token\[[^\]]+\]\}"  # noqa: S105 - aws-cdk's, no secret
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
_SET = r"\[[^\]]*\]"  # of characters, in a glob: IAM does not know them
_REFERENCE = re.compile(
    rf"(?P<account>(?:[\d*?]|{_SET})+|{_TOKEN})\.dkr\.ecr(-fips)?"
    rf"\.(?P<region>(?:[a-z0-9*?-]|{_SET})+|{_TOKEN})\.[^/]+/(?P<name>[^:@]+)"
)


def repository_arn(reference: str) -> str | None:
    """Name the private ECR repository that an image is in.

    Args:
        reference: The image's reference, or a glob over references, of which this is then the
            pattern of ARNs. Account, region and name may be known at deployment only.

    Returns:
        Its ARN. None if the image is elsewhere, or all of its reference is only known at
        deployment.
    """
    found = _REFERENCE.match(reference)
    if found is None:
        return None
    region, account = (
        re.sub(f"(?<!Token){_SET}", "?", found[key]) for key in ("region", "account")
    )
    # from a set on, for a name may have a colon or a slash in one
    name = re.sub(r"(?<!Token)\[.*", "*", found["name"])
    return f"arn:{Aws.PARTITION}:ecr:{region}:{account}:repository/{name}"
