"""How runners are named."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_runtime.job.runner_name import (
    MOST_FOLLOWED,
    RunnerName,
    execution_arn,
    first_runner_id,
    followed,
    heartbeat_key,
    next_runner_id,
    own_runner_id,
    read_name,
)

numbers = st.integers(min_value=0, max_value=10**12)
names = st.builds(
    RunnerName,
    prefix=st.text("ab7-_r", min_size=1, max_size=12),
    job_id=numbers,
    attempt=st.integers(min_value=1, max_value=1000),
    number=st.integers(min_value=0, max_value=60),
)


@given(names)
def test_a_name_is_read_as_it_was_made(name: RunnerName) -> None:
    assert read_name(str(name)) == name


@given(names)
def test_each_follows_the_one_before_it(name: RunnerName) -> None:
    runner_id = str(name)
    first = first_runner_id(runner_id)
    assert first_runner_id(next_runner_id(runner_id)) == first == first_runner_id(first)
    line = list(followed(first))
    assert line[0] == first
    assert all(next_runner_id(one) == other for one, other in pairwise(line))
    assert len(set(line)) == MOST_FOLLOWED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fleet",
        "fleet-7",
        "-7-1",
        "fleet-7-1-r",
        "fleet-7-1-r0",
        "fleet-7-1-r01",
        "fleet-07-1",
        "fleet-7-1 ",
        "fleet-७-1",
        "somebody-elses",
        heartbeat_key("fleet-7-1"),
    ],
)
def test_what_was_made_elsewhere_is_no_name(text: str) -> None:
    assert read_name(text) is None
    assert first_runner_id(text) == text
    with pytest.raises(ValueError, match="names no runner"):
        next_runner_id(text)


def test_a_prefix_may_look_like_a_name() -> None:
    assert read_name("fleet-7-1-r2-8-1") == RunnerName("fleet-7-1-r2", 8, 1)
    assert first_runner_id("fleet-7-1-r2-8-1-r3") == "fleet-7-1-r2-8-1"


def test_a_jobs_own_runner() -> None:
    @dataclass
    class Job:
        job_id: int
        run_attempt: int

    assert own_runner_id(Job(job_id=77, run_attempt=2), prefix="fleet") == "fleet-77-2"


def test_a_life_is_named_after_its_runner() -> None:
    machine = "arn:aws:states:us-east-1:123456789012:stateMachine:Lifecycle"
    life = "arn:aws:states:us-east-1:123456789012:execution:Lifecycle:fleet-77-1"
    assert execution_arn(machine, "fleet-77-1") == life
