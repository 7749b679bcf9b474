"""Private ECR repositories, as references of images name them."""

from __future__ import annotations

import re

from aws_cdk import Aws, Token

# what a value is while it is only known at deployment
_TOKEN = r"\$\{Token\[[^\]]+\]\}"  # noqa: S105 - aws-cdk's, no secret
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
_REFERENCE = re.compile(
    rf"(?P<account>[0-9]{{12}}|{_TOKEN})\.dkr\.ecr(-fips)?"
    rf"\.(?P<region>[a-z0-9*-]+|{_TOKEN})\.[^/]+/(?P<name>[^:@]+)"
)


def shown_form(reference: str) -> str | None:
    """Fill in what is only known at deployment, as far as the rest tells what it is.

    Args:
        reference: An image's reference, or a glob over references.

    Returns:
        It, with digits in the place of tokens. None if it has some and is not of a private ECR.
    """
    if Token.is_unresolved(reference) and repository_arn(reference) is None:
        return None
    return re.sub(_TOKEN, "0" * 12, reference)


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
    region, account, name = found["region"], found["account"], found["name"]
    return f"arn:{Aws.PARTITION}:ecr:{region}:{account}:repository/{name}"


def region_of(reference: str) -> str | None:
    """Name the region of the private ECR that an image is in; None if it is in none."""
    found = _REFERENCE.match(reference)
    return found["region"] if found is not None else None
