"""Who may speak to the servers on loopback: programs of their owner, and no page in a browser.

Every program of this machine reaches them, those of other users too, and so does each web page that
the owner looks at: a request without a preflight is sent wherever it says, and a name of the page's
own may resolve to this machine (DNS rebinding).
"""

from __future__ import annotations

import hmac
import os
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["from_elsewhere", "is_bearer", "is_of_this_user", "new_token"]

_NAMES = ("127.0.0.1", "localhost")
# W3C, "Fetch Metadata Request Headers": what a browser says of its own address bar, and of pages
# of the very server. There are none of these here.
_OWN_SITES = ("none", "same-origin")
_TCP = Path("/proc/net/tcp")


def from_elsewhere(headers: Iterable[tuple[str, str]], *, port: int) -> str:
    """Why a request is not answered, whoever sends it; empty if it may be.

    Args:
        headers: its headers; each of several with one name counts.
        port: the port that it has come to.
    """
    hosts = []
    for name, value in headers:
        match name.lower():
            case "host":
                hosts.append(value.strip().lower())
            case "origin":
                return "requests of web pages are not answered here: this one has an Origin"
            case "sec-fetch-site" if value.strip().lower() not in _OWN_SITES:
                return "requests of web pages are not answered here: this one is of another site"
    own = [f"{name}:{port}" for name in _NAMES]
    if len(hosts) != 1 or hosts[0] not in own:
        return f"this server answers for {own[0]} alone, and the request names {hosts or 'no host'}"
    return ""


def new_token() -> str:
    """What somebody proves with that the owner has told him."""
    return secrets.token_urlsafe(24)


def is_bearer(authorization: str, token: str) -> bool:
    """Whether an ``Authorization`` header bears this token."""
    return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())


def is_of_this_user(peer: tuple[str, int], port: int) -> bool:
    """Whether the other end of a connection on loopback belongs to this process's user.

    For a server whose clients cannot be given a token. Linux tells whose a socket is; elsewhere
    everybody is taken for the user.
    """
    if sys.platform != "linux":
        return True
    ends = _in_table(*peer), _in_table("127.0.0.1", port)
    for line in _TCP.read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[2]) == ends:
            return int(fields[7]) == os.geteuid()
    return False  # it has gone already


def _in_table(host: str, port: int) -> str:
    """An address as the kernel's table of sockets writes it, see proc_pid_net(5)."""
    number = int.from_bytes(bytes(map(int, host.split("."))), sys.byteorder)
    return f"{number:08X}:{port:04X}"
