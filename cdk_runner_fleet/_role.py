"""Every default of the roles that the fleet acts by, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import Names, PhysicalName
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_runner_fleet._nag import acknowledge_own_policy


class FleetRole(iam.Role):
    """A role that has what it may in itself, not in a policy beside it.

    So it is one resource and never there without its permissions. What it names must not need the
    role to be made first: CloudFormation would find a circle, which a policy of its own breaks.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        service: The service that assumes it, for example ``lambda.amazonaws.com``.
    """

    def __init__(self, scope: Construct, construct_id: str, *, service: str) -> None:
        self._document = iam.PolicyDocument()
        super().__init__(
            scope,
            construct_id,
            assumed_by=iam.ServicePrincipal(service),
            inline_policies={"Own": self._document},
        )
        acknowledge_own_policy(self)

    def add_to_principal_policy(self, statement: iam.PolicyStatement) -> Any:
        """Add a statement; aws-cdk's own grants come here too."""
        self._document.add_statements(statement)
        return iam.AddToPrincipalPolicyResult(statement_added=True, policy_dependable=self)

    def allow(
        self,
        *actions: str,
        resources: Sequence[str],
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        """Let whoever has the role call ``actions`` on ``resources``."""
        self._document.add_statements(
            iam.PolicyStatement(
                actions=list(actions), resources=list(resources), conditions=conditions
            )
        )


class SharedRole(iam.Role):
    """A role whose rights others may have too, now and once more is granted to it.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        assumed_by: Who assumes it.
        description: What it is for.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        assumed_by: iam.IPrincipal,
        description: str,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            assumed_by=assumed_by,
            description=description,
            role_name=PhysicalName.GENERATE_IF_NEEDED,  # another account's policy names it
        )
        self._rights: iam.Policy | None = None
        self._holders: list[iam.IRole] = [self]
        acknowledge_own_policy(self)

    def add_to_principal_policy(self, statement: iam.PolicyStatement) -> Any:
        """Add a statement; aws-cdk's own grants come here too."""
        if self._rights is None:
            # not before: cdk-nag's rules fail on a policy that says nothing, which is not deployed
            # by a name that no other fleet has: a role that several share would keep one of them
            name = Names.unique_resource_name(self, max_length=128, separator="-")
            self._rights = iam.Policy(self, "Rights", roles=self._holders, policy_name=name)
        self._rights.add_statements(statement)
        return iam.AddToPrincipalPolicyResult(statement_added=True, policy_dependable=self._rights)

    def share_with(self, role: iam.IRole) -> None:
        """Let ``role`` do whatever this one may."""
        self._holders.append(role)
        if self._rights:
            self._rights.attach_to_role(role)


def can_change(role: iam.IRole) -> bool:
    """Whether aws-cdk lets policies be added to a role; the role itself says that it does."""
    # what it makes of one that may not be changed stands before the one that could have been
    name, scope = role.node.id, role.node.scope
    is_wrapped = scope is not None and scope.node.try_find_child(f"MutableRole{name}") is not None
    return not (is_wrapped or name.startswith("ImmutableRole"))
