"""Webhook deliveries that failed: found in GitHub's own log, and asked for once more.

GitHub never delivers again by itself, and lets one ask for three days
(https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet_runtime.aws.items import number, texts
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.github import hooks
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.hooks import Delivery
from fleet_runtime.github.message import GitHubRefused
from fleet_runtime.observability import count, logger

OLDEST_SECONDS = 3 * 86400
"""How long GitHub delivers again."""
SETTLED_SECONDS = 60
"""GitHub waits 10 s for an answer: after this, no delivery joins the log among older ones."""
_MOST_PAGES = 10
"""Of a hundred deliveries each."""
_MOST_REDELIVERIES = 100
_ASKING_SECONDS = 20


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
        github: GitHub.
        ledger: Where the cursor of each hook is kept.
        webhook_url: Where the fleet's webhooks go.
    """

    def __init__(self, *, github: GitHub, ledger: Ledger, webhook_url: str) -> None:
        self._github = github
        self._ledger = ledger
        self._webhook_url = webhook_url
        self._hooks: tuple[str, ...] | None = None

    def forget_hooks(self) -> None:
        """Look for the hooks anew: they may have been made, or permissions given."""
        self._hooks = None

    def due(self) -> Sequence[Due]:
        """Read the logs of the fleet's webhooks; nothing is written.

        Raises:
            GitHubUnavailable: if GitHub cannot be asked now.
        """
        with self._github.within(_ASKING_SECONDS):
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
            request = hooks.redeliver(hook=due.hook, delivery_id=delivery.delivery_id)
            try:
                self._asked(due.hook).ask(request)
            except GitHubRefused as error:
                # too old, or not redeliverable: the demand at GitHub is looked at all the same
                logger.warning("not redelivered", guid=delivery.guid, error=str(error))
            else:
                logger.warning("redelivered", hook=due.hook, guid=delivery.guid)
                count("DeliveriesRedelivered")
                done.append(delivery.guid)
            self._ledger.update(_entry(due.hook), add={"asked": frozenset({delivery.guid})})
        if len(due.failed) <= _MOST_REDELIVERIES:
            self._move(due)
        return done

    def _move(self, due: Due) -> None:
        item = self._ledger.get(_entry(due.hook))
        if number(item, "cursor") == due.cursor and texts(item, "asked") == due.asked:
            return
        self._ledger.update(
            _entry(due.hook),
            values={"cursor": due.cursor, **({"asked": due.asked} if due.asked else {})},
            remove=() if due.asked else ("asked",),
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
        oldest = self._ledger.now - OLDEST_SECONDS
        pages = self._asked(hook).pages(hooks.list_deliveries(hook=hook), most=_MOST_PAGES)
        for page in pages:
            new = [
                one for one in page.items if one.delivery_id > after and one.delivered_at > oldest
            ]
            found += new
            if len(new) < len(page.items):
                break
        return found

    def _find_hooks(self) -> list[str]:
        """Find the App's webhook, or that of the repository or organization, that comes here."""
        scope, app = self._github.scope, self._github.as_app
        try:
            if app and app.ask(hooks.get_app_hook_url()) == self._webhook_url:
                return [hooks.APP_HOOK]
            # enterprises have no hooks of their own at github.com
            if scope.kind != "enterprises":
                request = hooks.find_hook(scope=scope.path, url=self._webhook_url)
                hook_id = self._github.ask(request)
                if hook_id is not None:
                    return [f"{scope.path}/hooks/{hook_id}"]
        except GitHubRefused as error:
            self._refused(f"{scope.path}/hooks", error)
        else:
            logger.info("no webhook of the fleet's found", webhook_url=self._webhook_url)
        return []

    def _asked(self, hook: str) -> GitHub:
        """Who may be asked about a hook: an App's own is the App's alone."""
        app = self._github.as_app
        return app if app and hook == hooks.APP_HOOK else self._github

    def _refused(self, hook: str, error: GitHubRefused) -> None:
        logger.warning(
            "deliveries not listed",
            hook=hook,
            error=str(error),
            remedy="let the fleet's credentials read and write the webhooks; "
            "until then queued jobs are found by looking at GitHub alone",
        )
        count("DeliveriesRefused")


def _entry(hook: str) -> str:
    return f"deliveries{hook}"
