"""How a construct says that it departs from a rule of cdk-nag's AwsSolutions, and why.

Apps that check themselves with cdk-nag 3 find these acknowledged; cdk-nag itself is not needed.
"""

from __future__ import annotations

import json
from typing import Any

from aws_cdk import Stack
from constructs import IConstruct

_ACKNOWLEDGED = "aws:cdk:acknowledged-rules"
"""What `Validations.ACKNOWLEDGED_RULES_METADATA_KEY` is where there is one; cdk-nag 3 looks there.

Written directly, and harmless where nobody reads it: aws-cdk-lib 2.250 has no `Validations` yet,
and up to 2.268 they refuse a finding whose ARN has `::` in it.
"""


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Acknowledge that ``construct``, or what is in it, breaks ``rule`` for this reason.

    Args:
        construct: Where the rule is broken.
        rule: The rule's id without ``AwsSolutions-``, for example ``SQS3``.
        reason: Why, and what is evidence of it.
    """
    construct.node.add_metadata(_ACKNOWLEDGED, {f"AwsSolutions-{rule}": reason})


def acknowledge_any_resource(construct: IConstruct, *, actions: str) -> None:
    """Acknowledge that ``actions`` are allowed on ``*``, since they have no resource level."""
    acknowledge(
        construct,
        "IAM5[Resource::*]",
        f"These actions have no resource level (Service Authorization Reference): {actions}. "
        "tests/constructs/test_permissions.py holds the list.",
    )


def acknowledge_pattern(construct: IConstruct, arn: str, *, reason: str) -> None:
    """Acknowledge that something is allowed on ``arn``, which has a wildcard in it."""
    # a finding has the ARN as the template does, with <LogicalId> for a reference
    found = _flat(Stack.of(construct).resolve(arn))
    acknowledge(construct, f"IAM5[Resource::{found}]", reason)


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        delimiter, parts = value["Fn::Join"]
        return str(delimiter).join(_flat(part) for part in parts)
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    return json.dumps(value, separators=(",", ":"))
