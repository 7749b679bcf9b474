"""Which jobs are the fleet's by their labels, and what these ask of a class."""

from __future__ import annotations

import pytest

from cdk_runner_fleet.values.labels import LabelRules as Written
from fleet_runtime.job.label_rules import LabelRules
from fleet_runtime.job.labels import RunnerRequest

RUN = 16_000_000_001
RULES = LabelRules(
    required_labels=("fleet-prod", "EU"),
    single_labels={"dependabot": "Medium", "Code-Scanning": "large"},
)


@pytest.mark.parametrize(
    ("job_labels", "reason"),
    [
        (["self-hosted"], None),
        (["SELF-HOSTED", "linux"], None),
        (["linux"], "the job has no self-hosted label"),
        ([None, 3], "the job has no self-hosted label"),
        ([], "the job names a runner group and no label, give runs-on labels: [self-hosted]"),
        # GitHub's own runners have no self-hosted label: these are tags
        (["self-hosted", "ubuntu-latest"], None),
        (["self-hosted", "windows-2025", "macOS-15"], None),
        (["ubuntu-latest"], "the job has no self-hosted label"),
        (["self-hosted, linux"], None),
        (['["self-hosted","class:small"]'], None),
        (["not-self-hosted"], "the job has no self-hosted label"),
        (["dependabot"], "the job has no self-hosted label"),
    ],
)
def test_whose_jobs_are_the_fleets(job_labels: list[object], reason: str | None) -> None:
    assert LabelRules().ignored(job_labels) == reason


@pytest.mark.parametrize(
    ("job_labels", "reason"),
    [
        (["self-hosted", "fleet-prod", "eu", "gpu"], None),
        (["self-hosted", "Fleet-Prod", "EU"], None),
        (["self-hosted, fleet-prod, eu"], None),
        (["self-hosted", "eu"], "the job has no label 'fleet-prod', which this fleet's jobs have"),
        (["self-hosted"], "the job has no label 'fleet-prod', which this fleet's jobs have"),
        (["fleet-prod", "eu"], "the job has no self-hosted label"),
        (["Dependabot"], None),
        (["code-scanning"], None),
        (["dependabot", "linux"], "the job has no self-hosted label"),
    ],
)
def test_a_fleet_beside_others_leaves_alone_what_is_not_its_own(
    job_labels: list[object], reason: str | None
) -> None:
    assert RULES.ignored(job_labels) == reason


def asked(*job_labels: str, run_id: int = RUN) -> RunnerRequest:
    request = RULES.read(job_labels, run_id=run_id)
    assert isinstance(request, RunnerRequest)
    return request


def test_no_class_is_asked_for_what_all_runners_have() -> None:
    request = asked("self-hosted", "Fleet-Prod", "EU", "GPU", "class:large")
    assert (request.class_name, request.tags) == ("large", ("gpu",))
    assert request.runner_labels == "self-hosted,Fleet-Prod,EU,GPU,class:large"


def test_a_single_label_stands_for_a_class() -> None:
    request = asked("Dependabot")
    assert (request.class_name, request.tags, request.image) == ("medium", (), None)
    assert request.runner_labels == "Dependabot", "GitHub gives it to who has just this"
    assert asked("self-hosted", "dependabot").tags == ("dependabot",)


@pytest.mark.parametrize(
    "label",
    [
        f"run-id={RUN}",
        f"run-id={RUN}-build-3",
        "Run-Id=anything",
        f"JobId=build-{RUN}-1",
        f"x--{RUN}",
        str(RUN),
    ],
)
def test_a_label_of_one_run_alone_is_no_class_business(label: str) -> None:
    request = asked("self-hosted", "fleet-prod", "eu", label)
    assert request.tags == ()
    assert label in request.labels, "the runner has it: no other job takes this runner"


@pytest.mark.parametrize(
    "label", ["run-id=", "run-id", f"x--{RUN}0", f"x--1{RUN}", "x--16000000002", "JobId=build-1"]
)
def test_a_label_that_only_looks_so_is_a_tag(label: str) -> None:
    assert asked("self-hosted", label).tags == (label.lower(),)


def test_the_id_of_a_young_servers_run_is_no_version() -> None:
    assert asked("self-hosted", "java-21", run_id=21).tags == ("java-21",)
    assert asked("self-hosted", "run-id=21", run_id=21).tags == ()


def test_both_sides_take_the_same_labels() -> None:
    for label in ("a" * 256, "Team=a/b@c+d#e", "two words", "-x"):
        Written(required_labels=[label])
        assert isinstance(LabelRules().read([label], run_id=1), RunnerRequest)
    for label in ("a" * 257, "a,b", "grö", "(x)", "gpu~2", " ", ""):
        with pytest.raises(ValueError, match="none that a job can ask for"):
            Written(required_labels=[label])
        assert not isinstance(LabelRules().read([label], run_id=1), RunnerRequest)
