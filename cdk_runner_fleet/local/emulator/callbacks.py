"""Task tokens: one atomic decision between a signal and the end of the wait.

On AWS a ``SendTask*`` call either resumes the task or is refused; it is never accepted and then
lost to a timeout that fires in the same moment. moto decides the two in different threads.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from moto.stepfunctions.parser.asl.eval.callback import callback as moto_callback

_MOST_SPENT_TOKENS = 100_000


class ExecutionHaltedError(BaseException):
    """The execution was stopped or timed out; unwinds the state without catchers or retries."""


class TokenEndpoint(moto_callback.CallbackEndpoint):
    """One parked task."""

    def __init__(self, callback_id: str) -> None:
        super().__init__(callback_id=callback_id)
        self._changed = threading.Condition()
        self._closed = False
        self._halted = False
        self._beat = time.monotonic()

    def offer(self, outcome: moto_callback.CallbackOutcome) -> bool:
        """Hand the outcome over; false if the task has already ended."""
        with self._changed:
            if self._closed:
                return False
            self._closed = True
            self._outcome = outcome
            self._changed.notify_all()
            return True

    def beat(self) -> bool:
        """Record a heartbeat; false if the task has already ended."""
        with self._changed:
            if self._closed:
                return False
            self._beat = time.monotonic()
            self._changed.notify_all()
            return True

    def halt(self) -> None:
        """Wake the waiting state because its execution is over."""
        with self._changed:
            self._closed = self._halted = True
            self._changed.notify_all()

    def interrupt_all(self) -> None:
        """Close the endpoint: moto calls this when the state has its outcome."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def await_outcome(self, *, timeout: float, heartbeat: float | None) -> Any:
        """Block until the outcome, the timeout or a missed heartbeat.

        Args:
            timeout: seconds for the whole wait.
            heartbeat: seconds allowed between heartbeats, or None.

        Raises:
            ExecutionHaltedError: the execution ended meanwhile.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._beat = time.monotonic()
            while not self._closed:
                now = time.monotonic()
                missed = self._beat + heartbeat if heartbeat is not None else deadline
                if now >= deadline:
                    self._closed = True
                    return moto_callback.CallbackOutcomeTimedOut(callback_id=self.callback_id)
                if now >= missed:
                    self._closed = True
                    return moto_callback.HeartbeatTimedOut()
                self._changed.wait(min(deadline, missed) - now)
            if self._halted:
                raise ExecutionHaltedError
            return self._outcome


class Tokens:
    """Every token of every execution, so that a signal need not search."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: weakref.WeakValueDictionary[str, TokenEndpoint] = weakref.WeakValueDictionary()
        self._machines: OrderedDict[str, str] = OrderedDict()

    def add(self, endpoint: TokenEndpoint, state_machine_arn: str) -> None:
        """Make the endpoint reachable by its token."""
        with self._lock:
            self._live[endpoint.callback_id] = endpoint
            self._machines[endpoint.callback_id] = state_machine_arn
            while len(self._machines) > _MOST_SPENT_TOKENS:
                self._machines.popitem(last=False)

    def find(self, token: str) -> TokenEndpoint | None:
        """The endpoint of a token, if its execution is still held."""
        with self._lock:
            return self._live.get(token)

    def state_machine(self, token: str) -> str | None:
        """ARN of the machine the token was ever given out by, also when it is spent."""
        with self._lock:
            return self._machines.get(token)


class Deadlines:
    """One thread for the TimeoutSeconds of all state machines."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._expire: Callable[[str], None]

    def start(self, expire: Callable[[str], None]) -> None:
        """Call ``expire`` with the ARN of each execution whose time is over."""
        self._expire = expire
        threading.Thread(target=self._watch, daemon=True, name="state-machine-timeouts").start()

    def add(self, seconds: float, execution_arn: str) -> None:
        """Remember that an execution ends in so many seconds."""
        with self._changed:
            heapq.heappush(
                self._heap, (time.monotonic() + seconds, next(self._order), execution_arn)
            )
            self._changed.notify()

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    wait = self._heap[0][0] - time.monotonic() if self._heap else None
                    self._changed.wait(wait)
                _, _, arn = heapq.heappop(self._heap)
            self._expire(arn)
