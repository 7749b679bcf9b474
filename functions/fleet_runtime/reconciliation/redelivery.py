"""Webhook deliveries that failed: found in GitHub's own log, and asked for once more.

GitHub never delivers again by itself, and lets one ask for three days
(https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fleet_runtime.aws.items import number, texts
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.github import jobs as demand_api
from fleet_runtime.github.client import GitHubAccess
from fleet_runtime.github.etags import Pages
from fleet_runtime.github.jobs import Delivery
from fleet_runtime.github.message import GitHubRefused, Request, Response, failure
from fleet_runtime.observability import count, logger

OLDEST_SECONDS = 3 * 86400
"""How long GitHub delivers again."""
SETTLED_SECONDS = 60
"""GitHub waits 10 s for an answer: after this, no delivery joins the log among older ones."""
_MOST_PAGES = 10
"""Of a hundred deliveries each."""
_MOST_REDELIVERIES = 100
_ASKING_SECONDS = 20
_APP_HOOK = "/app/hook"


@dataclass(frozen=True, kw_only=True)
class Due:
    """What there is to do about a webhook.

    Attributes:
        hook: Its path at GitHub.
        failed: Deliveries to ask for, oldest first.
        cursor: Up to which delivery the log is done with then.
        asked: Events behind that which were asked for, in this run or before.
    """

    hook: str
    failed: tuple[Delivery, ...]
    cursor: int
    asked: frozenset[str]


class Redelivery:
    """Has failed deliveries of the fleet's webhooks repeated, each once.

    Args:
        access: GitHub.
        pages: What GitHub's lists said last.
        ledger: Where the cursor of each hook is kept.
        webhook_url: Where the fleet's webhooks go.
    """

    def __init__(
        self, *, access: GitHubAccess, pages: Pages, ledger: Ledger, webhook_url: str
    ) -> None:
        self._access = access
        self._pages = pages
        self._ledger = ledger
        self._webhook_url = webhook_url
        self._hooks: tuple[str, ...] | None = None

    def forget(self) -> None:
        """Look for the hooks anew: they may have been made, or permissions given."""
        self._hooks = None

    def due(self) -> Sequence[Due]:
        """Read the logs of the fleet's webhooks; nothing is written.

        Raises:
            GitHubUnavailable: if GitHub cannot be asked now.
        """
        with self._access.within(_ASKING_SECONDS):
            if self._hooks is None:
                self._hooks = tuple(self._find_hooks())
            due = []
            for hook in self._hooks:
                try:
                    due.append(self._due(hook))
                except GitHubRefused as error:
                    self._refused(hook, error)
                    self._hooks = tuple(one for one in self._hooks if one != hook)
            return due

    def redeliver(self, due: Due) -> list[str]:
        """Ask for the deliveries that are due; returns their GUIDs.

        Raises:
            GitHubUnavailable: if GitHub cannot be asked now; those asked for are written down.
        """
        done: list[str] = []
        for delivery in due.failed[:_MOST_REDELIVERIES]:
            request = demand_api.redeliver(hook=due.hook, delivery_id=delivery.delivery_id)
            try:
                response = self._send(due.hook)(request)
                if response.status != 202:
                    raise failure(response)
            except GitHubRefused as error:
                # too old, or not redeliverable: the demand at GitHub is looked at all the same
                logger.warning("not redelivered", guid=delivery.guid, error=str(error))
            else:
                logger.warning("redelivered", hook=due.hook, guid=delivery.guid)
                count("DeliveriesRedelivered")
                done.append(delivery.guid)
            self._ledger.write(
                _entry(due.hook),
                "ADD asked :guid",
                values={":guid": frozenset({delivery.guid})},
            )
        if len(due.failed) <= _MOST_REDELIVERIES:
            self._move(due)
        return done

    def _move(self, due: Due) -> None:
        item = self._ledger.get(_entry(due.hook))
        if number(item, "cursor") == due.cursor and texts(item, "asked") == due.asked:
            return
        expression, values = "SET #cursor = :cursor", {":cursor": due.cursor}
        self._ledger.write(
            _entry(due.hook),
            f"{expression}, asked = :asked" if due.asked else f"{expression} REMOVE asked",
            names={"#cursor": "cursor"},
            values={**values, **({":asked": due.asked} if due.asked else {})},
        )

    def _due(self, hook: str) -> Due:
        item = self._ledger.get(_entry(hook))
        cursor, asked = number(item, "cursor") or 0, texts(item, "asked")
        log = self._log(hook, after=cursor)
        settled = [
            one.delivery_id for one in log if one.delivered_at <= self._ledger.now - SETTLED_SECONDS
        ]
        upto = max([cursor, *settled])
        # GitHub keeps the failed attempt in its log beside the later ones of the same event
        left_alone = asked | {one.guid for one in log if one.succeeded or one.is_redelivery}
        failed = {
            one.guid: one
            for one in reversed(log)
            if one.event == "workflow_job" and one.guid not in left_alone
        }
        still_there = {one.guid for one in log if one.delivery_id > upto}
        return Due(
            hook=hook,
            failed=tuple(failed.values()),
            cursor=upto,
            asked=frozenset(still_there & {*asked, *failed}),
        )

    def _log(self, hook: str, *, after: int) -> list[Delivery]:
        """List what came after the cursor and can still be had, newest first."""
        found: list[Delivery] = []
        cursor = ""
        for _ in range(_MOST_PAGES):
            listed, cursor = self._pages.get(
                demand_api.list_deliveries(hook=hook, cursor=cursor),
                send=self._send(hook),
                read=_read_log,
            )
            oldest = self._ledger.now - OLDEST_SECONDS
            new = [one for one in listed if one.delivery_id > after and one.delivered_at > oldest]
            found += new
            if not cursor or len(new) < len(listed):
                break
        return found

    def _find_hooks(self) -> list[str]:
        """Find the App's webhook, or that of the repository or organization, that comes here."""
        scope = self._access.runners_path
        try:
            as_app = self._access.send_as_app(demand_api.get_app_hook())
            if as_app and demand_api.read_app_hook_url(as_app) == self._webhook_url:
                return [_APP_HOOK]
            # enterprises have no hooks of their own at github.com
            if not scope.startswith("/enterprises/"):
                response = self._access.send(demand_api.list_hooks(scope=scope), repository=None)
                hook_id = demand_api.read_hook_id(response, url=self._webhook_url)
                if hook_id is not None:
                    return [f"{scope}/hooks/{hook_id}"]
        except GitHubRefused as error:
            self._refused(f"{scope}/hooks", error)
        else:
            logger.info("no webhook of the fleet's found", webhook_url=self._webhook_url)
        return []

    def _send(self, hook: str) -> Callable[[Request], Response]:
        if hook != _APP_HOOK:
            return partial(self._access.send, repository=None)
        return self._as_app

    def _as_app(self, request: Request) -> Response:
        response = self._access.send_as_app(request)
        assert response is not None  # noqa: S101 - the hook was found as the App
        return response

    def _refused(self, hook: str, error: GitHubRefused) -> None:
        logger.warning(
            "deliveries not listed",
            hook=hook,
            error=str(error),
            remedy="let the fleet's credentials read and write the webhooks; "
            "until then queued jobs are found by looking at GitHub alone",
        )
        count("DeliveriesRefused")


def _read_log(response: Response) -> tuple[list[Delivery], str]:
    return demand_api.read_deliveries(response), demand_api.read_next_cursor(response)


def _entry(hook: str) -> str:
    return f"deliveries{hook}"
