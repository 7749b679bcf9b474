"""The one timeline and its verdict, from rows as the fleet leaves them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cdk_runner_fleet.cli.timeline import Evidence, judge, tell
from cdk_runner_fleet.history import Step

JOB = 456
RUNNER = "fleet-456-1"
MACHINE = "arn:aws:states:us-east-1:123456789012:execution:lifecycle:"


def row(runner_id: str = RUNNER, **attributes: Any) -> dict[str, Any]:
    return {
        "runner_id": runner_id,
        "job_id": JOB,
        "job_name": "build",
        "status": "STARTING",
        "timestamp": 1004,
        "queued_at": 1000,
        "queued_delivery": "g-1",
        "queued_received_at": 1002,
        "execution_arn": MACHINE + runner_id,
        "class_name": "small",
        "image_tag": "default-1",
        "runner_labels": "self-hosted,linux",
        **attributes,
    }


def evidence(*rows: dict[str, Any], **more: Any) -> Evidence:
    return Evidence(job_id=JOB, rows=rows, **more)


def told(found: Evidence) -> list[tuple[float, str, str]]:
    return [(entry.at, entry.source, entry.what) for entry in tell(found)]


FINISHED = {
    "status": "OFFLINE",
    "task_id": "arn:aws:ecs:us-east-1:1:task/c/0a1b",
    "capacity_provider": "FARGATE_SPOT",
    "launched_at": 1006,
    "claimed_at": 1040,
    "started_at": 1042,
    "in_progress_delivery": "g-2",
    "in_progress_received_at": 1044,
    "completed_at": 1100,
    "completed_delivery": "g-3",
    "completed_received_at": 1300,
    "ended_at": 1301,
    "job_status": "success",
    "end_reason": "its job has ended",
    "cost_usd": 0.00041,
}


def test_a_finished_job_from_end_to_end() -> None:
    steps = [
        Step(state="RecordRunner", entered_at=1004.0, left_at=1004.25),
        Step(state="WaitForRunner", entered_at=1006.5, left_at=1040.5),
    ]
    assert told(evidence(row(**FINISHED), steps={RUNNER: steps})) == [
        (1000, "github", "job 'build' is queued"),
        (1002, "webhook", "delivery g-1 came: queued"),
        (1004, "fleet", f"admitted: {RUNNER} is started, class small, image default-1"),
        (1004, "state", "RecordRunner"),
        (1006.5, "state", "WaitForRunner"),
        (1006, "task", "task 0a1b launched on FARGATE_SPOT"),
        (1040, "runner", "booted and registered at GitHub"),
        (1042, "github", f"job 'build' started on {RUNNER}"),
        (1044, "webhook", "delivery g-2 came: in_progress"),
        (1100, "github", "job ended: success"),
        (1300, "webhook", "delivery g-3 came: completed, 200 s late"),
        (1301, "fleet", "OFFLINE: its job has ended, $0.00041"),
    ]


def test_a_job_that_no_delivery_told_of_was_found() -> None:
    found = evidence(row(queued_delivery="", queued_received_at=1180))
    assert (1180, "fleet", "reconciliation found the job: no delivery told of it") in told(found)
    older = evidence(row(queued_delivery="", queued_received_at=1000))
    assert [what for _, _, what in told(older) if "delivery" in what] == []


def test_states_have_their_durations_and_the_one_it_is_in_has_none() -> None:
    steps = [
        Step(state="AwaitCapacity", entered_at=1006.5, left_at=1014.75),
        Step(state="LaunchTask", entered_at=1014.75),
    ]
    found = [e.seconds for e in tell(evidence(row(), steps={RUNNER: steps})) if e.source == "state"]
    assert found == [8.25, None]


def test_a_refused_job() -> None:
    refused = row(
        status="FAILED",
        error="Job.CannotBeServed",
        cause="class 'huge' is not in the catalog",
        ended_at=1004,
        explained_at=1005,
        explained_as="commit_status",
    )
    del refused["execution_arn"]
    found = evidence(refused)
    assert told(found)[2:] == [
        (1004, "fleet", "refused: class 'huge' is not in the catalog"),
        (1005, "fleet", "its author was told with a commit status"),
    ]
    verdict = judge(found)
    assert verdict.sentence == "The fleet refused the job: class 'huge' is not in the catalog."
    assert verdict.remedy.startswith("Author: change runs-on")


def test_a_refused_job_that_is_left_to_another_runner() -> None:
    refused = row(
        status="FAILED",
        error="Job.CannotBeServed",
        cause="no class has label 'gpu'",
        ended_at=1004,
        left_at=1005,
        left_to="gpu-box-1",
    )
    del refused["execution_arn"]
    found = evidence(refused)
    assert told(found)[3:] == [
        (1005, "fleet", "left to gpu-box-1, which has all of the job's labels"),
    ]
    assert judge(found).sentence.startswith("The fleet leaves the job to gpu-box-1, which has its")
    assert "required_labels" in judge(found).remedy


def test_what_was_said_and_taken_back_stands_in_the_story() -> None:
    found = evidence(row(explained_at=1005, explained_as="check_run", taken_back_at=1006))
    assert [what for _, _, what in told(found)][-2:] == [
        "its author was told with a check run on the commit",
        "what its author was told was taken back",
    ]


def test_a_job_in_line_says_its_place_and_why() -> None:
    waiting = row(waiting_for="turn", waiting_reason="100 of 100 runners run")
    del waiting["execution_arn"]
    found = evidence(waiting, places={RUNNER: 3})
    assert told(found)[-1] == (1004, "fleet", "in line at place 3: 100 of 100 runners run")
    assert judge(found).sentence == "The job is in line at place 3: 100 of 100 runners run."


def test_a_job_that_was_in_line_is_admitted_later() -> None:
    assert told(evidence(row(in_line_at=1003)))[2:] == [
        (1003, "fleet", "in line for its turn"),
        (1004, "fleet", f"admitted: {RUNNER} is started, class small, image default-1"),
    ]


@pytest.mark.parametrize(
    ("attributes", "sentence", "remedy"),
    [
        ({}, f"The job's runner {RUNNER} is starting.", "Fargate takes"),
        (
            {"waiting_for": "capacity", "waiting_reason": "RESOURCE:FARGATE"},
            "AWS has no room for the job's runner: RESOURCE:FARGATE.",
            "24 hours",
        ),
        (
            {
                "waiting_for": "capacity",
                "waiting_reason": "Fargate is not supported in this availability zone",
            },
            "AWS has no room for the job's runner: Fargate is not supported in this availability "
            "zone.",
            "give availability_zones that Fargate is in",
        ),
        (
            {"status": "IMAGE_CREATING"},
            "The runner's image default-1 is being built.",
            "log: not yet",
        ),
        (
            {"status": "WAITING_FOR_JOB"},
            f"The runner {RUNNER} is up and waits for GitHub to give it the job.",
            "concurrency group",
        ),
        ({"status": "RUNNING"}, f"The job runs on {RUNNER}.", "GitHub has"),
        (FINISHED, f"The job ran on {RUNNER} and ended: success.", "GitHub has"),
        (
            {
                "status": "FAILED",
                "error": "Image.BuildFailed",
                "cause": "no such base; its log: https://console",
            },
            f"The job's runner {RUNNER} failed, the runner's image could not be built "
            "(Image.BuildFailed: no such base; its log: https://console).",
            "image: label",
        ),
        (
            {"status": "FAILED", "error": "Runner.BootTimeout", "cause": "no claim"},
            f"The job's runner {RUNNER} failed, the task was started twice and never registered "
            "(Runner.BootTimeout: no claim).",
            "Reconciliation starts another",
        ),
        (
            {"status": "FAILED", "error": "Runner.Terminated", "cause": "terminated"},
            f"The job's runner {RUNNER} failed, somebody stopped the runner with "
            "`runner-fleet runners terminate` (Runner.Terminated: terminated).",
            "or cancel it if it is still queued and not wanted. Reconciliation starts another",
        ),
        (
            {"status": "OFFLINE", "end_reason": "no job came within 600 seconds"},
            f"The runner {RUNNER} went without a job: no job came within 600 seconds.",
            "starts another",
        ),
        (
            {"status": "OFFLINE", "released_at": 1010, "job_status": "cancelled"},
            "No runner was needed any more (cancelled): the job had ended before one was there.",
            "Nothing",
        ),
        (
            {"status": "OFFLINE", "ran_on": "fleet-9-1", "released_at": 1010},
            "The job ran on fleet-9-1.",
            "Nothing",
        ),
    ],
)
def test_the_verdict_follows_the_row(
    attributes: dict[str, Any], sentence: str, remedy: str
) -> None:
    verdict = judge(evidence(row(**attributes)))
    assert verdict.sentence == sentence
    assert remedy in verdict.remedy


def test_the_newest_runner_decides() -> None:
    failed = row(status="FAILED", error="Runner.BootTimeout", cause="c")
    found = evidence(failed, row(f"{RUNNER}-r1", timestamp=2000, status="RUNNING"))
    assert judge(found).sentence == f"The job runs on {RUNNER}-r1."
    # what both rows say of the job is told once
    queued = [entry for entry in tell(found) if entry.what == "job 'build' is queued"]
    assert len(queued) == 1


def test_a_runner_that_was_given_another_job_is_said_so() -> None:
    taken = row(job_id=7, job_name="other", status="RUNNING", started_at=1042)
    found = evidence(taken)
    assert (1042, "github", f"{RUNNER} was given another job: 'other'") in told(found)
    assert "another job" in judge(found).sentence
    ran = row("fleet-7-1", status="RUNNING", started_at=1043)
    assert judge(evidence(taken, ran)).sentence == "The job runs on fleet-7-1."


def test_githubs_word_is_the_last() -> None:
    view = {"status": "completed", "conclusion": "cancelled", "runner_name": None}
    verdict = judge(evidence(row(), github=view))
    assert verdict.sentence == "The job is over: cancelled before a runner had it."
    failed = row(status="FAILED", error="Runner.TaskStopped", cause="SpotInterruption")
    view = {"status": "completed", "conclusion": "failure", "runner_name": RUNNER}
    verdict = judge(evidence(failed, github=view))
    assert verdict.sentence == (
        f"The job is over: failure on {RUNNER}. "
        "Its runner failed: Runner.TaskStopped: SpotInterruption"
    )
    assert "SpotInterruption needs On-Demand" in verdict.remedy


def test_what_no_delivery_told_github_tells() -> None:
    view = {
        "status": "completed",
        "conclusion": "success",
        "runner_name": RUNNER,
        "created_at": "1970-01-01T00:16:40Z",
        "started_at": "1970-01-01T00:17:22Z",
        "completed_at": "1970-01-01T00:18:20Z",
    }
    lost = row()
    assert [entry for entry in told(evidence(lost, github=view)) if entry[1] == "github"] == [
        (1000, "github", "job 'build' is queued"),
        (1042, "github", f"job started on {RUNNER}"),
        (1100, "github", "job ended: success"),
    ]
    twice = [e for e in told(evidence(row(**FINISHED), github=view)) if e[0] == 1042]
    assert len(twice) == 1


def test_a_label_that_the_runner_lacks_is_a_fault_of_the_fleets() -> None:
    view = {"status": "queued", "labels": ["Self-Hosted", "gpu"]}
    verdict = judge(evidence(row(status="WAITING_FOR_JOB"), github=view))
    assert "lacks labels that the job has: gpu" in verdict.sentence


def test_the_build_that_a_runner_waited_for_has_its_log() -> None:
    image = {"image_tag": "default-1", "status": "BUILDING", "updated_at": 1005}
    image["build_log_url"] = "https://console/log"
    building = evidence(row(status="IMAGE_CREATING"), images={"default-1": image})
    assert told(building)[-1] == (
        1005,
        "image",
        "image default-1 is building, log: https://console/log",
    )
    assert "https://console/log" in judge(building).remedy
    failed = row(image_ended_at=1050, image_error="no such base", build_log_url="https://other")
    assert (1050, "image", "image default-1 not built: no such base, log: https://other") in told(
        evidence(failed, images={"default-1": image})
    )
    ready = row(image_ended_at=1050)
    assert (1050, "image", "image default-1 is there, log: https://console/log") in told(
        evidence(ready, images={"default-1": image})
    )
    assert [e for e in told(evidence(row(), images={"default-1": image})) if e[1] == "image"] == []


def test_the_log_is_known_from_the_runners_own_row_as_well() -> None:
    building = evidence(row(status="IMAGE_CREATING", build_log_url="https://own"))
    assert judge(building).sentence == "The runner's image default-1 is being built."
    assert "https://own" in judge(building).remedy


def test_a_build_in_line_is_said_to_be_so() -> None:
    image = {"image_tag": "default-1", "status": "QUEUED", "updated_at": 1005}
    queued = evidence(row(status="IMAGE_CREATING"), images={"default-1": image})
    assert told(queued)[-1] == (1005, "image", "image default-1 is queued")
    assert judge(queued).sentence == ("The runner's image default-1 waits for other builds to end.")
    assert "max_image_builds" in judge(queued).remedy


@pytest.mark.parametrize(
    ("said", "told_as"),
    [
        ({}, "booted and registered at GitHub"),
        ({"runner_version": "2.338.0"}, "booted and registered at GitHub: runner 2.338.0"),
        (
            {"runner_version": "2.338.0", "capabilities": "python,shell"},
            "booted and registered at GitHub: runner 2.338.0 with python, shell",
        ),
    ],
)
def test_what_a_runner_said_of_itself(said: dict[str, Any], told_as: str) -> None:
    found = evidence(row(claimed_at=1040, **said))
    assert (1040, "runner", told_as) in told(found)


RUNNING = {"status": "RUNNING", "started_at": 1042, "last_heartbeat": 1100, "load": 0.42}


def test_a_runner_that_is_not_heard_of_any_more_is_said_to_be_so() -> None:
    lately = evidence(row(**RUNNING), read_at=1400.9)
    assert judge(lately).sentence == f"The job runs on {RUNNER}."
    assert (1100, "runner", f"{RUNNER} was last heard of, its load was 0.42") in told(lately)
    silent = judge(evidence(row(**RUNNING), read_at=1401))
    assert silent.sentence == f"The job runs on {RUNNER}, which has not been heard of for 301 s."
    assert "GitHub is asked" in silent.remedy


def test_what_a_runner_says_of_its_job_is_told_as_its_word() -> None:
    said = evidence(row(hook_started_at=1100, removed_at=1200))
    assert [moment for moment in told(said) if moment[0] in (1100, 1200)] == [
        (1100, "runner", f"{RUNNER} says that a job has started"),
        (1200, "fleet", "GitHub knew of no job on the runner: it was removed there"),
    ]


def test_a_runner_of_an_older_image_is_not_expected_to_be_heard_of() -> None:
    old = row(status="RUNNING", started_at=1042)
    assert judge(evidence(old, read_at=9999)).sentence == f"The job runs on {RUNNER}."
    assert "heard" not in str(told(evidence(old)))


def test_a_lost_heartbeat_is_the_story_and_a_completed_job_has_none() -> None:
    lost = evidence(
        row(
            **{**RUNNING, "status": "FAILED"},
            error="Runner.HeartbeatLost",
            cause="no heartbeat came for 300 s, and GitHub says that it is offline",
            ended_at=1500,
        )
    )
    assert [what for _, source, what in told(lost) if source == "runner"] == [
        f"{RUNNER} was last heard of, its load was 0.42"
    ]
    verdict = judge(lost)
    assert "had lost it too" in verdict.sentence
    assert "for 300 s" in verdict.sentence
    assert verdict.remedy.startswith("Author: run the job again.")
    assert "heard" not in str(told(evidence(row(**FINISHED, last_heartbeat=1099))))


def test_ecs_says_how_long_the_pull_took() -> None:
    task = {
        "pullStartedAt": datetime.fromtimestamp(1010, UTC),
        "pullStoppedAt": datetime.fromtimestamp(1030, UTC),
        "startedAt": datetime.fromtimestamp(1031, UTC),
    }
    found = [e for e in tell(evidence(row(), tasks={RUNNER: task})) if e.source == "task"]
    assert [(e.at, e.what, e.seconds) for e in found] == [
        (1010, "its image is pulled", 20.0),
        (1031, "its container runs", None),
    ]


@pytest.mark.parametrize("error", ["", "Exotic.Error", "DynamoDb.DynamoDbException"])
def test_an_error_outside_the_table_has_a_verdict_too(error: str) -> None:
    verdict = judge(evidence(row(status="FAILED", error=error)))
    assert verdict.sentence
    assert verdict.remedy


def test_an_empty_row_is_no_traceback() -> None:
    bare = Evidence(job_id=None, rows=[{"runner_id": "x"}])
    assert tell(bare) == []
    assert judge(bare).sentence


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        ("CannotPullContainerError: …: 403 Forbidden", "the execution role may not pull the image"),
        ("RESOURCE:ENI", "give larger ones"),
        ("something that AWS never said before", "mend what the cause names"),
    ],
)
def test_a_launch_that_failed_has_the_remedy_of_its_words(cause: str, remedy: str) -> None:
    failed = row(status="FAILED", error="Runner.LaunchFailed", cause=cause)
    assert remedy in judge(evidence(failed)).remedy


def test_a_foreign_job_on_a_chosen_image_is_told() -> None:
    found = evidence(
        row(
            **FINISHED,
            asked_by="octo-org/other",
            foreign_at=1045,
            foreign_job_id=JOB,
            foreign_repository="octo-org/octo-repo",
        )
    )
    what = "an image that a job of octo-org/other chose, and not it"
    assert (1045, "fleet", f"job {JOB} of octo-org/octo-repo runs in {what}") in told(found)
    assert not any("and not it" in said for *_, said in told(evidence(row(**FINISHED))))
