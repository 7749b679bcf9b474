"""Networks that deliveries may come from."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


class Networks:
    """Networks that requests may come from; without any, they may come from everywhere.

    Args:
        ranges: The networks.
    """

    # no dataclass: making one is most of what this costs a cold start
    def __init__(self, *ranges: IPv4Network | IPv6Network) -> None:
        self._ranges = ranges

    @classmethod
    def parse(cls, text: str) -> Networks:
        """Read a JSON list of CIDR blocks.

        Raises:
            ValueError: if it is none.
        """
        return cls(*(ip_network(each) for each in json.loads(text)))

    def __bool__(self) -> bool:
        """Whether they are named."""
        return bool(self._ranges)

    def __or__(self, other: Networks) -> Networks:
        """These and those of another."""
        return Networks(*self._ranges, *other._ranges)

    def include(self, address: str) -> bool:
        """Whether a request from ``address`` is let in."""
        if not self._ranges:
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._ranges)
