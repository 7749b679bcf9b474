"""Webhook deliveries as GitHub makes them: signed, 10 s to answer, at most once, unordered."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from cdk_runner_fleet.local.twin.faults import FaultScript, WebhookFault

__all__ = ["Deliveries", "Delivery"]

ANSWER_SECONDS = 10.0  # docs.github.com, best practices for using webhooks
HOOK_ID = 1
FIRST_DELIVERY_ID = 51_000_000_001
WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One attempt to deliver an event and, once sent, its answer.

    Args:
        id: of this attempt; 0 while not sent. GitHub lists none that it never sent.
        guid: `X-GitHub-Delivery`, of the event: every attempt has the same.
        action: of the event.
        job_id: the workflow job's.
        body: the bytes that are signed.
        redelivery: whether it was asked for.
        status_code: the answer's; 0 when there was none; None while not sent.
        answer: the answer's body.
        sent_at: epoch seconds.
        seconds: how long the answer took.
    """

    guid: str
    action: str
    job_id: int
    body: bytes
    id: int = 0
    redelivery: bool = False
    status_code: int | None = None
    answer: bytes = b""
    sent_at: float | None = None
    seconds: float = 0.0


class Deliveries:
    """Sends events from a pool of workers.

    Args:
        url: where to; None sends nothing (every delivery is recorded with no answer).
        secret: signs the bodies.
    """

    def __init__(self, *, url: str | None, secret: str) -> None:
        self.url = url
        self.faults: FaultScript[WebhookFault] = FaultScript()
        self._secret = secret
        # The fleet is on this machine: a proxy that the environment names is not for it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._lock = threading.Lock()
        self._ids = itertools.count(FIRST_DELIVERY_ID)
        self._made: list[Delivery] = []
        self._held: list[Delivery] = []
        self._timers: list[threading.Timer] = []
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="twin-webhook")
        self._stopped = False
        self._under_way = 0

    @property
    def under_way(self) -> int:
        """How many are to be sent, now or after a delay, or wait for their answer."""
        with self._lock:
            return self._under_way

    @property
    def made(self) -> list[Delivery]:
        """Every delivery so far, in the order in which they were answered or dropped."""
        with self._lock:
            return list(self._made)

    def stop(self) -> None:
        """Sends nothing more; a delivery under way ends within its time limit."""
        with self._lock:
            self._stopped = True
            timers = list(self._timers)
        for timer in timers:
            timer.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def deliver(self, event: dict[str, Any]) -> None:
        """Enqueues a `workflow_job` event."""
        job = event["workflow_job"]
        body = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
        delivery = Delivery(
            guid=str(uuid.uuid4()), action=event["action"], job_id=job["id"], body=body
        )
        fault = self.faults.take(event["action"], job["name"])
        match fault.fault if fault else None:
            case "drop":
                self._record(delivery)
            case "duplicate":
                self._submit(delivery)
                self._submit(delivery)
            case "delay" if fault:
                timer = threading.Timer(fault.seconds, self._submit_late, [delivery])
                timer.daemon = True
                with self._lock:
                    self._timers.append(timer)
                    self._under_way += 1
                timer.start()
            case "reorder":
                with self._lock:
                    self._held.append(delivery)
            case _:
                self._submit(delivery)

    @property
    def sent(self) -> list[Delivery]:
        """What GitHub's log of deliveries has: those that were sent, the newest first."""
        sent = [each for each in self.made if each.id]
        return sorted(sent, key=lambda each: each.id, reverse=True)

    def deliver_again(self, delivery: Delivery) -> None:
        """Enqueues another attempt: the same event under the same GUID."""
        self._submit(replace(delivery, id=0, redelivery=True))

    def _submit(self, delivery: Delivery) -> None:
        with self._lock:
            if not self._stopped:
                self._under_way += 1
                self._pool.submit(self._finish, delivery)

    def _submit_late(self, delivery: Delivery) -> None:
        self._submit(delivery)
        with self._lock:
            self._under_way -= 1

    def _finish(self, delivery: Delivery) -> None:
        try:
            self._send(delivery)
        finally:
            with self._lock:
                self._under_way -= 1

    def _send(self, delivery: Delivery) -> None:
        url = self.url
        if url is None:
            self._record(delivery)
        else:
            sent_at = time.time()
            status, answer = self._post(url, delivery)
            took = time.time() - sent_at
            # numbered when answered, so that no later page of the log holds a newer one
            self._record(
                replace(delivery, status_code=status, answer=answer, sent_at=sent_at, seconds=took),
                was_sent=True,
            )
        with self._lock:
            due = [held for held in self._held if held.job_id == delivery.job_id]
            self._held = [held for held in self._held if held.job_id != delivery.job_id]
        for held in due:
            self._submit(held)

    def _post(self, url: str, delivery: Delivery) -> tuple[int, bytes]:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"the webhook URL is {url!r}; it must be http or https")
        signature = hmac.new(self._secret.encode(), delivery.body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(  # noqa: S310  (the scheme is checked above)
            url,
            data=delivery.body,
            headers={
                "Accept": "*/*",
                "Content-Type": "application/json",
                "User-Agent": "GitHub-Hookshot/twin",
                "X-GitHub-Delivery": delivery.guid,
                "X-GitHub-Event": "workflow_job",
                "X-GitHub-Hook-ID": str(HOOK_ID),
                "X-GitHub-Hook-Installation-Target-ID": "1",
                "X-GitHub-Hook-Installation-Target-Type": "repository",
                "X-Hub-Signature-256": f"sha256={signature}",
            },
        )
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:  # refused, reset, timed out: GitHub records a failed delivery and goes on
            return 0, b""

    def _record(self, delivery: Delivery, *, was_sent: bool = False) -> None:
        with self._lock:
            number = next(self._ids) if was_sent else 0
            self._made.append(replace(delivery, id=number))
