"""Webhooks at GitHub, and the log of what they delivered. Pure."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fleet_runtime.github.message import (
    PAGE_SIZE,
    GitHubUnavailable,
    Page,
    Request,
    Response,
    expect,
    read_document,
    read_list,
)
from fleet_runtime.job.labels import shown

APP_HOOK = "/app/hook"
"""An App's own webhook, for whoever asks as the App."""
_NEXT_CURSOR = re.compile(r'[?&]cursor=([^&>]+)[^>]*>;\s*rel="next"')


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A webhook delivery as GitHub's log has it.

    Attributes:
        delivery_id: Of this attempt; later ones are greater.
        guid: Of the event: every attempt to deliver it has the same.
        delivered_at: Epoch seconds.
        is_redelivery: Whether somebody asked for this attempt.
        succeeded: Whether it was answered 2xx in time.
        event: ``workflow_job`` or another.
    """

    delivery_id: int
    guid: str
    delivered_at: int
    is_redelivery: bool
    succeeded: bool
    event: str


def find_hook(*, scope: str, url: str) -> Request[int | None]:
    """Ask for the id of the webhook of a repository or organization that goes to ``url``, if any.

    They have at most 20 for an event, which is less than a page.
    """

    def read(response: Response) -> int | None:
        found = (each for each in read_list(response) if _url(each) == url)
        return next((int(each["id"]) for each in found), None)

    return Request.get(f"{scope}/hooks", read=read, query={"per_page": PAGE_SIZE})


def get_app_hook_url() -> Request[str]:
    """Ask, as an App, where its own webhook goes; empty if it has none (404)."""
    return Request.get(f"{APP_HOOK}/config", read=_read_app_hook_url)


def list_deliveries(*, hook: str, cursor: str = "") -> Request[Page[Delivery]]:
    """Ask for a hook's deliveries, newest first.

    Args:
        hook: The hook's path.
        cursor: Where a page begins. Default: the first page.
    """

    def read(response: Response) -> Page[Delivery]:
        following = _next_cursor(response)
        return Page(
            items=tuple(_delivery(each) for each in read_list(response)),
            following=list_deliveries(hook=hook, cursor=following) if following else None,
        )

    query = {"per_page": str(PAGE_SIZE)} | ({"cursor": cursor} if cursor else {})
    return Request.get(f"{hook}/deliveries", read=read, query=query)


def redeliver(*, hook: str, delivery_id: int) -> Request[None]:
    """Have a delivery attempted again."""
    return Request.post(
        f"{hook}/deliveries/{delivery_id}/attempts",
        read=lambda response: expect(response, 202),
    )


def _read_app_hook_url(response: Response) -> str:
    if response.status == 404:
        return ""
    return str(read_document(response, expected=200).get("url") or "")


def _url(hook: dict[str, Any]) -> object:
    config = hook.get("config")
    return config.get("url") if isinstance(config, dict) else None


def _delivery(found: dict[str, Any]) -> Delivery:
    return Delivery(
        delivery_id=int(found["id"]),
        guid=str(found.get("guid")),
        delivered_at=_epoch(found.get("delivered_at")),
        is_redelivery=found.get("redelivery") is True,
        # the text is "OK" for every 2xx; only some of the other texts are documented
        succeeded=200 <= int(found.get("status_code") or 0) < 300,
        event=str(found.get("event")),
    )


def _next_cursor(response: Response) -> str:
    """Read where the next page of deliveries begins; empty after the last one."""
    match = _NEXT_CURSOR.search(response.headers.get("link", ""))
    return unquote(match[1]) if match else ""


def _epoch(value: object) -> int:
    try:
        return int(datetime.datetime.fromisoformat(str(value)).timestamp())
    except ValueError as error:
        raise GitHubUnavailable(f"GitHub gave {shown(value)} for a time") from error
