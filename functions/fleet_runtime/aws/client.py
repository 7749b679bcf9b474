"""AWS clients, made when first used and kept for the life of the process.

They are botocore's own: boto3 makes the same, behind imports for S3 that no function needs.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import botocore.session
from botocore.config import Config

# botocore makes its clients at run time from JSON models: there is no class to name here
Client = Any
Service = Literal[
    "codebuild",
    "dynamodb",
    "ecr",
    "ecs",
    "events",
    "kms",
    "lambda",
    "secretsmanager",
    "ssm",
    "stepfunctions",
]

# a Lambda of 30 s: no single call may eat it all, and throttling at a burst of jobs is normal
_CONFIG = Config(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 6}
)


def client(service: Service, *, region: str | None = None) -> Client:
    """Return the process's client of an AWS service, for example ``dynamodb``.

    Args:
        service: Its name.
        region: Where it is. Default: where the function is.
    """
    return _client(service, region or _session().get_config_variable("region"))


# apart: what a cached function is called with is not checked
@cache
def _client(service: str, region: str) -> Client:
    return _session().create_client(service, region_name=region, config=_CONFIG)


@cache
def _session() -> Any:
    return botocore.session.get_session()
