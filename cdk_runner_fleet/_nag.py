"""How a construct says that it departs from a rule of cdk-nag's packs, and why.

What no setting would change is acknowledged, and for AwsSolutions the defaults too. What a setting
ends is left for the other packs to find: docs/compliance.md has both. Apps that check themselves
with cdk-nag 3 find these acknowledged; cdk-nag itself is not needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aws_cdk import Stack
from constructs import IConstruct

_ACKNOWLEDGED = "aws:cdk:acknowledged-rules"
"""What `Validations.ACKNOWLEDGED_RULES_METADATA_KEY` is where there is one; cdk-nag 3 looks there.

Written directly, and harmless where nobody reads it: aws-cdk-lib 2.250 has no `Validations` yet,
and up to 2.268 they refuse a finding whose ARN has `::` in it.
"""
_NUMBERED = re.compile(r"[A-Z]+\d")
"""Rules of AwsSolutions, which has a number for each; the others have names, and share them."""
_NAMING = ("NIST.800.53.R5", "Serverless", "HIPAA.Security", "PCI.DSS.321")


def acknowledge(construct: IConstruct, *rules: str, reason: str) -> None:
    """Acknowledge that ``construct``, or what is in it, breaks ``rules`` for this reason.

    Args:
        construct: Where the rules are broken.
        rules: Their ids without the pack's name: ``SQS3`` of AwsSolutions, ``LambdaDLQ`` of all
            others that have it.
        reason: Why, and what is evidence of it.
    """
    acknowledge_each(construct, dict.fromkeys(rules, reason))


def acknowledge_each(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Acknowledge that ``construct``, or what is in it, breaks rules, each for its own reason.

    Args:
        construct: Where the rules are broken.
        reasons: The reasons by the rules' ids, as above.
    """
    by_id = {
        f"{pack}-{rule}": reason
        for rule, reason in reasons.items()
        for pack in (("AwsSolutions",) if _NUMBERED.match(rule) else _NAMING)
    }
    construct.node.add_metadata(_ACKNOWLEDGED, by_id)


def acknowledge_own_policy(construct: IConstruct) -> None:
    """Acknowledge that what a role may stands in the role, or in a policy for it alone."""
    acknowledge(
        construct,
        "IAMNoInlinePolicy",
        reason="What a role may is for this role alone, is deployed with it and goes with it: a "
        "managed policy could be attached to others.",
    )


def acknowledge_any_resource(construct: IConstruct, *, actions: str) -> None:
    """Acknowledge that ``actions`` are allowed on ``*``, since they have no resource level."""
    acknowledge(
        construct,
        "IAM5[Resource::*]",
        "LambdaStarPermissions",
        reason="These actions have no resource level (Service Authorization Reference): "
        f"{actions}. Evidence: tests/constructs/test_compliance.py.",
    )


def acknowledge_pattern(construct: IConstruct, arn: str, *, reason: str) -> None:
    """Acknowledge that something is allowed on ``arn``, which has a wildcard in it."""
    # a finding has the ARN as the template does, with <LogicalId> for a reference
    found = _flat(Stack.of(construct).resolve(arn))
    acknowledge(construct, f"IAM5[Resource::{found}]", reason=reason)


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
