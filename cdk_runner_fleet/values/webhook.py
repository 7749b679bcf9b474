"""How GitHub's deliveries are let in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from cdk_runner_fleet.values.github import PUBLIC_API, check_field
from cdk_runner_fleet.values.types import check_types, is_token

if TYPE_CHECKING:
    from aws_cdk import aws_apigatewayv2 as apigateway
    from aws_cdk import aws_secretsmanager as secretsmanager


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """The URL that GitHub's webhook is pointed at: who may call it, and how much at a time.

    Args:
        secret: Secret that GitHub signs its deliveries with. Default: one is made with a random
            value.
        secret_field: Field of that secret, where it is a JSON object. Default: all of it.
        domain_name: Domain of API Gateway's that GitHub calls; its name's DNS record is yours to
            make. Runners go on calling the API's own address, which their claims are signed for.
            Default: GitHub calls the API's own address too.
        allowed_cidrs: Networks that deliveries may come from, for example those that GitHub lists
            as ``hooks`` in its ``/meta``. Behind a proxy of your own they are its addresses.
            Default: everywhere; the signature decides.
        only_from_github: Whether deliveries may come from the networks alone that GitHub lists for
            its webhooks, and from those of ``allowed_cidrs``. The fleet looks every hour which
            these are. For github.com: no other has such a list. Default: they may come from
            elsewhere too.
        reserved_concurrency: Invocations at a time that Lambda keeps free for ``receive_webhook``,
            and as many for ``runner_api``: neither gets more, so that no flood takes what the
            account's other functions need. 50 serve 1,000 runners. Default: none is reserved,
            because Lambda refuses what leaves less than 100 to all others, or less than 10 in an
            account that is new and has no more, and with it the deployment.

    Raises:
        TypeError: if a value is of another kind.
        ValueError: if one of the networks is none, or nothing could run.
    """

    secret: secretsmanager.ISecret | None = None
    secret_field: str | None = None
    domain_name: apigateway.IDomainName | None = None
    allowed_cidrs: Sequence[str] = ()
    only_from_github: bool = False
    reserved_concurrency: int | None = None

    def __post_init__(self) -> None:
        """Check the networks and the number."""
        check_types(Webhook, vars(self))
        check_field("secret_field", self.secret_field, of="secret", given=self.secret is not None)
        for cidr in self.allowed_cidrs:
            _check_cidr(cidr)
        most = self.reserved_concurrency
        if most is not None and not is_token(most) and most < 1:
            raise ValueError(
                f"reserved_concurrency is {most}, and Lambda would run nothing: use 1 or more, 50 "
                "for 1,000 runners, or leave it out"
            )

    def check_api(self, api_url: str) -> None:
        """Raise ``ValueError`` if nobody can say which networks deliveries come from."""
        if not self.only_from_github or is_token(api_url):
            return
        if api_url.rstrip("/").lower() != PUBLIC_API:
            raise ValueError(
                f"only_from_github is on and the api_url of github is {api_url!r}, which lists no "
                "networks of its webhooks: name those that its deliveries come from in "
                "allowed_cidrs"
            )

    def check_token(self, token: secretsmanager.ISecret | None) -> None:
        """Raise ``ValueError`` if deliveries are signed with the token that GitHub is asked with.

        Whoever may see a webhook's settings would then have that of all repositories' runners.
        """
        own = self.secret
        if token is not None and own is not None and token.secret_arn == own.secret_arn:
            raise ValueError(
                "secret of webhook is the secret with the token too, and those who sign deliveries "
                "need no token: give one of its own, or leave it out for one that is made"
            )


def _check_cidr(cidr: str) -> None:
    if is_token(cidr):
        return
    try:
        ip_network(cidr)
    except ValueError as error:
        raise ValueError(
            f"allowed_cidrs has {cidr!r}, which is no network ({error}): use CIDR blocks such as "
            '"192.30.252.0/22", those that GitHub lists as `hooks` in its /meta'
        ) from error
