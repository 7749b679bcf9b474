"""Where what a fleet is given is: much can be used in the fleet's own account or region alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aws_cdk import Stack, Token
from constructs import Construct

if TYPE_CHECKING:
    from aws_cdk.interfaces import ResourceEnvironment


class Placed(Protocol):
    """What aws-cdk knows the place of, as of each of its resources."""

    @property
    def env(self) -> ResourceEnvironment:
        """Its account and region."""


def check_place(
    scope: Construct,
    name: str,
    given: Placed | None,
    *,
    arn: str = "",
    account: bool = True,
    region: bool = True,
    why: str,
) -> None:
    """Refuse what is of another account or region than the fleet, where both are known.

    Args:
        scope: Where it is used.
        name: What the message calls it.
        given: What is given; None if its ARN is all that is known.
        arn: Its ARN, which says where it is if aws-cdk took no notice.
        account: Whether it has to be of the fleet's account.
        region: Whether it has to be of the fleet's region.
        why: What does not work otherwise.

    Raises:
        ValueError: then.
    """
    stack, parts = Stack.of(scope), arn.split(":")
    told = dict(zip(("region", "account"), parts[3:5], strict=False))
    for what, matters in (("account", account), ("region", region)):
        ours = getattr(stack, what)
        places = [getattr(given.env, what) if given else "", told.get(what, "")]
        for theirs in places if matters else ():
            if not theirs or Token.is_unresolved(theirs) or Token.is_unresolved(ours):
                continue
            if theirs != ours:
                raise ValueError(
                    f"{name} is in {what} {theirs} and the fleet in {ours}, and {why}: give one of "
                    f"the fleet's own {what}"
                )
