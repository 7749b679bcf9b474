"""A task token is answered or it is over, and both sides agree which."""

from __future__ import annotations

import gc
import random
import threading
import time

import pytest
from moto.stepfunctions.parser.asl.eval.callback.callback import (
    CallbackOutcomeSuccess,
    CallbackOutcomeTimedOut,
    HeartbeatTimedOut,
)

from cdk_runner_fleet.local.emulator.callbacks import (
    Deadlines,
    ExecutionHaltedError,
    TokenEndpoint,
    Tokens,
)
from tests.waiting import PATIENCE_SECONDS


def success() -> CallbackOutcomeSuccess:
    return CallbackOutcomeSuccess(callback_id="t", output="{}")


def test_an_answer_that_was_taken_is_never_lost_to_the_timeout() -> None:
    for _ in range(200):
        endpoint = TokenEndpoint("t")
        taken: list[bool] = []

        def answer(endpoint: TokenEndpoint = endpoint, taken: list[bool] = taken) -> None:
            time.sleep(random.random() * 0.004)
            taken.append(endpoint.offer(success()))

        thread = threading.Thread(target=answer)
        thread.start()
        outcome = endpoint.await_outcome(timeout=0.002, heartbeat=None)
        thread.join()
        assert taken == [isinstance(outcome, CallbackOutcomeSuccess)]


def test_the_first_answer_counts() -> None:
    endpoint = TokenEndpoint("t")
    first = success()
    assert endpoint.offer(first)
    assert not endpoint.offer(success())
    assert not endpoint.beat()
    assert endpoint.await_outcome(timeout=1, heartbeat=None) is first


def test_missed_heartbeat_and_timeout_differ() -> None:
    missed = TokenEndpoint("t").await_outcome(timeout=9, heartbeat=0.01)
    assert isinstance(missed, HeartbeatTimedOut)
    late = TokenEndpoint("t").await_outcome(timeout=0.01, heartbeat=9)
    assert isinstance(late, CallbackOutcomeTimedOut)


def test_a_heartbeat_begins_the_clock_anew_but_not_the_timeouts() -> None:
    endpoint = TokenEndpoint("t")

    def beat() -> None:
        while endpoint.beat():
            time.sleep(0.01)

    beating = threading.Thread(target=beat)
    beating.start()
    began = time.monotonic()
    outcome = endpoint.await_outcome(timeout=1.5, heartbeat=1.0)
    assert isinstance(outcome, CallbackOutcomeTimedOut), "no heartbeat was missed"
    assert time.monotonic() - began >= 1.5
    beating.join()


def test_a_heartbeat_that_comes_too_late_is_refused() -> None:
    endpoint = TokenEndpoint("t")
    assert endpoint.beat()
    assert isinstance(endpoint.await_outcome(timeout=9, heartbeat=0.01), HeartbeatTimedOut)
    assert not endpoint.beat()


def test_halting_wakes_the_wait() -> None:
    endpoint = TokenEndpoint("t")
    threading.Timer(0.01, endpoint.halt).start()
    with pytest.raises(ExecutionHaltedError):
        endpoint.await_outcome(timeout=30, heartbeat=None)
    assert not endpoint.offer(success())


def test_spent_tokens_are_known_but_cost_nothing() -> None:
    tokens = Tokens()
    endpoint = TokenEndpoint("t")
    tokens.add(endpoint, "machine")
    assert tokens.find("t") is endpoint
    del endpoint
    gc.collect()
    assert tokens.find("t") is None
    assert tokens.state_machine("t") == "machine"
    assert tokens.state_machine("other") is None


def test_deadlines_come_in_their_order() -> None:
    over: list[str] = []
    both = threading.Event()
    deadlines = Deadlines()

    def expire(arn: str) -> None:
        over.append(arn)
        if len(over) == 2:
            both.set()

    deadlines.start(expire)
    deadlines.add(0.05, "later")
    deadlines.add(0.01, "sooner")
    assert both.wait(PATIENCE_SECONDS)
    assert over == ["sooner", "later"]
