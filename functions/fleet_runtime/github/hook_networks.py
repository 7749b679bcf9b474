"""Networks that GitHub's webhooks come from, as it lists them now: the last good list is noted.

GitHub lists them as ``hooks`` in its ``/meta``, for github.com, and says that they change (GitHub
docs, "About GitHub's IP addresses"). What is noted is who may call the fleet's URL at all, so an
answer that cannot be right is not taken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_network

from fleet_runtime.aws.client import Client, client
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.message import (
    GitHubError,
    GitHubRefused,
    Request,
    Response,
    read_document,
)
from fleet_runtime.observability import count, logger

_WIDEST = {4: 8, 6: 16}
"""Bits of the prefix, by the version of IP. GitHub's widest had 20 and 29 in 2026-11."""
_LONGEST = 4096
"""Characters of a standard parameter (Systems Manager API reference, ``PutParameter``)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How GitHub is asked, and the parameter that its list is noted in; empty for none."""

    connection: Connection
    hook_networks_param: str = ""


@dataclass(frozen=True, kw_only=True)
class HookNetworks:
    """Keeps the list current that deliveries are let in by.

    Attributes:
        github: GitHub.
        ssm: An SSM client.
        parameter: Name of the parameter that has the list, as JSON; empty where deliveries come
            from everywhere.
    """

    github: GitHub
    ssm: Client
    parameter: str

    @classmethod
    def of(cls, settings: Settings) -> HookNetworks:
        """Make it from the function's settings."""
        return cls(
            github=GitHub.of(settings.connection),
            ssm=client("ssm"),
            parameter=settings.hook_networks_param,
        )

    def refresh(self) -> None:
        """Note what GitHub lists now. If it does not answer, or not well, the last list stays."""
        if not self.parameter:
            return
        try:
            told = json.dumps(self.github.ask(list_networks()))
        except GitHubRefused as error:
            logger.error("hook networks refused", error=str(error), kept=self._noted())
            count("HookNetworksRefused")
            return
        except GitHubError as error:
            logger.warning("hook networks not told", error=str(error))
            return
        noted = self._noted()
        if told != noted:
            logger.info("hook networks changed", noted=told, instead_of=noted)
            self.ssm.put_parameter(Name=self.parameter, Value=told, Overwrite=True)

    def _noted(self) -> str:
        return str(self.ssm.get_parameter(Name=self.parameter)["Parameter"]["Value"])


def list_networks() -> Request[list[str]]:
    """Ask which networks GitHub's webhooks come from; GitHubRefused if that cannot be right."""
    return Request.get("/meta", read=_read)


def _read(response: Response) -> list[str]:
    listed = read_document(response, expected=200).get("hooks")
    try:
        return _checked(listed)
    except ValueError as error:
        raise GitHubRefused(f"hooks of GitHub's /meta: {error}", status=200) from error


def _checked(listed: object) -> list[str]:
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise ValueError("there is no list of texts")
    if not listed:
        raise ValueError("the list is empty")
    texts = sorted({_network(each) for each in listed})
    if len(json.dumps(texts)) > _LONGEST:
        raise ValueError(f"{len(texts)} networks are more than a parameter holds")
    return texts


def _network(text: str) -> str:
    network = ip_network(text)
    if not network.is_global or network.prefixlen < _WIDEST[network.version]:
        raise ValueError(f"{text} is none of GitHub's own: it is private, or as wide as no other")
    return str(network)
