"""Who may do what: in the role itself, and no more than fits there."""

from __future__ import annotations

import json

from .templates import Template, of_type


def test_no_managed_policy(minimal: Template) -> None:
    roles = of_type(minimal, "AWS::IAM::Role")
    assert roles
    assert [role for role in roles if "ManagedPolicyArns" in role] == []


MOST_INLINE = 10_240
"""Characters without whitespace of all policies in one role ("IAM and AWS STS quotas")."""


def test_what_a_role_may_stands_in_it_and_fits(minimal: Template, everything: Template) -> None:
    beside = {
        policy["PolicyName"]: policy["Roles"] for policy in of_type(minimal, "AWS::IAM::Policy")
    }
    # the lifecycle names the one function whose role is not told of it before
    assert [name for name in beside if "Resume" in name] == [
        name for name in beside if "BuildImage" in name
    ]
    for template in (minimal, everything):
        for role in of_type(template, "AWS::IAM::Role"):
            text = json.dumps(role.get("Policies", []), separators=(",", ":"))
            assert len(text) < MOST_INLINE / 2, "tokens are longer than what becomes of them"
