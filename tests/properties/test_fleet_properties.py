"""Whatever happens to a fleet, in any order: once it has settled, the laws hold.

The real functions and the shipped machine, over one emulator; every play has jobs of its own.
`make test` plays one program of the season, `make test-deep` all of it, some two hundred plays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from cdk_runner_fleet.local.twin.workflows import read_workflow
from testbed.stage import CONTEXT, JobSpec, Stage, open_stage
from tests.rotation import is_due
from tests.settings import PATIENT, Settings

from .script import Act, Answer, Crash, Script, play

PROGRAMS, PLAYS = 22, 9

ACTIONS = ("queued", "in_progress", "completed")
acts = st.builds(
    Act,
    labels=st.sampled_from([(), ("class:medium",)]),
    seconds=st.sampled_from([0.0, 1.0]),
    gated=st.booleans(),
    person=st.sampled_from([None, None, "cancels_at_once", "cancels_running", "reruns"]),
    mishap=st.sampled_from(
        [None, None, "never_boots", "cannot_pull", "interrupted_starting", "interrupted_running"]
    ),
    refusals=st.sampled_from([0, 0, 1, 3]),
    deaf=st.sampled_from([False, False, True]),
    webhooks=st.lists(
        st.tuples(
            st.sampled_from(ACTIONS),
            st.sampled_from(["drop", "duplicate", "delay", "reorder", "late"]),
        ),
        max_size=2,
    ).map(tuple),
)
answers = st.builds(
    Answer,
    status=st.sampled_from([401, 403, 404, 409, 422, 429, 500, 502, 0]),
    path=st.sampled_from(["*/generate-jitconfig", "*/actions/jobs/*", "*/runners*", "*"]),
    times=st.integers(1, 3),
    applied=st.booleans(),
)
HANDLERS = (
    "receive_webhook",
    "dispatch_event",
    "runner_api",
    "deregister_runner",
    "reconcile_demand",
)
crashes = st.builds(
    Crash,
    handler=st.sampled_from(HANDLERS),
    outcome=st.just("crash_after"),
    calls=st.integers(0, 5),
    times=st.sampled_from([1, 3]),
) | st.builds(Crash, handler=st.sampled_from(HANDLERS), outcome=st.just("times_out"))
scripts = st.builds(
    Script,
    acts=st.lists(acts, min_size=1, max_size=6).map(tuple),
    answers=st.lists(answers, max_size=2).map(tuple),
    crashes=st.lists(crashes, max_size=2).map(tuple),
)


LEGS = """
on: push
jobs:
  build:
    runs-on: [self-hosted]
    strategy: {max-parallel: 1, matrix: {seconds: [7, 0]}}
    steps: [{run: 'sleep ${{ matrix.seconds }}'}]
"""
"""Its second leg waits for much longer than a runner does."""
TRIES = 5
"""Plays of mode 42: which runner GitHub gives the second job to is a matter of who comes first."""


class House:
    """A fleet for play after play; a new one after a play that has spoilt it."""

    def __init__(self, settings: Settings = CONTEXT) -> None:
        self._settings = settings
        self._parts = ExitStack()
        self._stage: Stage | None = None

    def stage(self) -> Stage:
        if self._stage is None:
            self._stage = self._parts.enter_context(open_stage(self._settings))
        return self._stage

    def play(self, script: Script) -> list[str]:
        """The laws that a play has broken; none if all is well."""
        problems = ["the play was not finished"]
        try:
            problems = play(self.stage(), script)
        finally:
            if problems:
                self.close()
        return problems

    def close(self) -> None:
        self._stage = None
        self._parts.close()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


@pytest.fixture
def patient() -> Iterator[House]:
    """Its runners that exit within two seconds have failed, and were not removed by GitHub."""
    house = House(PATIENT)
    yield house
    house.close()


def test_the_laws_hold_when_a_job_is_heard_of_after_its_runner_has_another(patient: House) -> None:
    """Its hooks were not heard, so its runner's task was followed by another: failure mode 42."""
    script = Script(
        acts=(
            Act(deaf=True, webhooks=(("in_progress", "late"), ("completed", "late"))),
            Act(seconds=3.0, webhooks=(("queued", "drop"),)),
        ),
        # asked at each claim, and again: the second task is not registered for a job that is done
        answers=(Answer(status=502, path="*/actions/jobs/*", times=8),),
    )
    for _ in range(TRIES):
        heard_late, other = patient.stage().next_job_ids(2)
        assert not patient.play(script)
        jobs = patient.stage().twin.board.jobs
        if jobs[other].runner_name == jobs[heard_late].runner_name:
            break
    else:
        pytest.fail("the second job never got the first one's runner")


def test_a_leg_that_github_holds_back_runs_when_the_one_before_it_ends(house: House) -> None:
    """Its runner has gone by then, and nobody reconciles: the end of the first starts another."""
    stage = house.stage()
    # the image is built
    assert stage.settle(stage.queue(JobSpec())) == []
    run = stage.twin.board.queue_run(
        read_workflow(LEGS, file_name="ci.yml"),
        file_name="ci.yml",
        workspace=None,
        protected_environments=frozenset(),
    )
    stage.quiet()
    assert [job.conclusion for job in run.jobs] == ["success", "success"]
    assert [job.held_back for job in run.jobs] == [False, True]
    assert (run.jobs[1].runner_name or "").endswith("-r1")
    assert stage.settle(run.jobs) == []


@pytest.mark.parametrize("program", [n for n in range(PROGRAMS) if is_due(n, one_in=PROGRAMS)])
def test_the_laws_hold_when_all_has_settled(house: House, program: int) -> None:
    @seed(program)
    @settings(
        max_examples=PLAYS,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    @given(script=scripts)
    def plays(script: Script) -> None:
        problems = house.play(script)
        assert not problems, "\n".join(problems)

    plays()
