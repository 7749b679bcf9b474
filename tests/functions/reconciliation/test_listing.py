"""The jobs of many repositories and many runs, with the requests that there are."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cdk_runner_fleet.local.twin.faults import ApiFault
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.message import GitHubUnavailable, Request, Response
from fleet_runtime.job.scope import Scope
from fleet_runtime.reconciliation.listing import KEPT_QUOTA, JobLister

from .conftest import (
    REPOSITORY,
    World,
    task,
)


class Lists(GitHub):
    """GitHub's lists of runs and their queued jobs, for as many requests as there is time for."""

    def __init__(self, runs: dict[tuple[str, str], list[int]], *, most: int = 10_000) -> None:
        self.scope = Scope(kind="orgs", name="octo-org")
        self.runs = runs
        self.most = most
        self.left = most
        self.quota = 5000
        self.broken: set[str] = set()

    def quota_left(self, _: Request[Any]) -> int:
        return self.quota

    def ask(self, request: Request[Any]) -> Any:
        if not self.left:
            raise GitHubUnavailable("no time is left to ask GitHub")
        self.left -= 1
        self.quota -= 1
        if request.repository in self.broken:
            return request.read(Response(status=502, headers={}, body=b""))
        path = urlsplit(request.path)
        if path.path.endswith("/jobs"):
            run_id = int(path.path.split("/")[-2])
            job = {"id": run_id, "run_id": run_id, "labels": ["self-hosted"], "name": "a"}
            answer: dict[str, Any] = {"jobs": [{**job, "run_attempt": 1, "status": "queued"}]}
        else:
            query = parse_qs(path.query)
            first = (int(query["page"][0]) - 1) * 100
            listed = self.runs.get((request.repository, query["status"][0]), [])[
                first : first + 100
            ]
            answer = {"workflow_runs": [{"id": run_id} for run_id in listed]}
        return request.read(Response(status=200, headers={}, body=json.dumps(answer).encode()))

    def seen(self, lister: JobLister, repositories: list[str]) -> tuple[list[int], bool]:
        """The jobs of one run, and whether these are all."""
        self.left = self.most
        listing = lister.jobs(repositories)
        return [job.job_id for job in listing.jobs], listing.is_complete


def test_where_time_runs_out_the_next_run_goes_on_from_there() -> None:
    names = [f"octo-org/r{number}" for number in range(5)]
    # four requests each: three lists of runs, and one of jobs
    lists = Lists({(name, "queued"): [number] for number, name in enumerate(names, 1)}, most=9)
    made = JobLister(lists)
    assert [lists.seen(made, names) for _ in range(3)] == [
        ([1, 2], False),
        ([3, 4], False),
        ([5, 1], False),
    ]


def test_no_list_uses_up_the_quota_that_runners_are_removed_by() -> None:
    """Hundreds of runs that change are as many requests each time."""
    github = Lists({("o/a", "queued"): list(range(1, 200)), ("o/b", "queued"): [500]})
    lister = JobLister(github)
    github.quota = KEPT_QUOTA + 100
    jobs, is_complete = github.seen(lister, ["o/a", "o/b"])
    assert (len(jobs), is_complete) == (97, False)
    assert github.quota == KEPT_QUOTA - 1
    github.quota = 5000
    assert github.seen(lister, ["o/a", "o/b"])[0][0] == 500, "the others are next"


def test_a_repository_that_takes_all_the_time_does_not_take_it_always() -> None:
    names = ["octo-org/large", "octo-org/small"]
    lists = Lists({(names[0], "queued"): [*range(1, 21)], (names[1], "queued"): [99]}, most=9)
    made = JobLister(lists)
    assert lists.seen(made, names) == ([1, 2, 3, 4, 5, 6], False)
    assert 99 in lists.seen(made, names)[0]


def test_a_repository_that_github_cannot_list_hides_no_other() -> None:
    names = ["octo-org/broken", "octo-org/well"]
    lists = Lists({(names[1], "queued"): [5]})
    lists.broken.add(names[0])
    made = JobLister(lists)
    assert [lists.seen(made, names) for _ in range(2)] == [([5], False)] * 2


def test_runs_that_wait_for_an_approval_hide_no_queued_one() -> None:
    lists = Lists(
        {
            (REPOSITORY, "waiting"): [*range(1, 251)],
            (REPOSITORY, "in_progress"): [998],
            (REPOSITORY, "queued"): [999],
        }
    )
    made = JobLister(lists)
    seen = [lists.seen(made, [REPOSITORY]) for _ in range(3)]
    assert [jobs[:2] for jobs, _ in seen] == [[999, 998]] * 3
    assert {job for jobs, _ in seen for job in jobs} == {*range(1, 251), 998, 999}
    assert [(len(jobs), is_complete) for jobs, is_complete in seen] == [(200, False)] * 3


def test_a_repository_with_too_many_runs_leaves_the_next_one_its_turn() -> None:
    names = ["octo-org/large", "octo-org/small"]
    lists = Lists({(names[0], "queued"): [*range(1, 301)], (names[1], "queued"): [999]})
    made = JobLister(lists)
    assert 999 not in lists.seen(made, names)[0]
    assert lists.seen(made, names)[0][0] == 999


@pytest.mark.parametrize("status", [301, 410, 451])
def test_a_repository_that_was_renamed_or_taken_down_is_forgotten(
    world: World, status: int
) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    names = {"SS": ["octo-org/before", REPOSITORY]}
    world.aws.dynamodb.put_item(
        TableName="ledger", Item={"entry": {"S": "repositories"}, "names": names}
    )
    fault = ApiFault(status=status, path="/repos/octo-org/before/*", times=99)
    world.twin.api_faults.add(fault)
    # its row would have it asked for again and again
    world.waiting("fleet-1-1", repository="octo-org/before")
    world.open("fleet-1-1")
    assert "jobs" in world.reconcile()["failed"]
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}
    report = world.reconcile()
    assert (report["failed"], report["released"]) == ({}, ["fleet-1-1"])
    assert world.entry("repositories")["names"] == {"SS": [REPOSITORY]}


@pytest.mark.parametrize(
    ("scope", "path", "step"),
    [
        (f"repos/{REPOSITORY}", "*/actions/runs", "jobs"),
        ("orgs/octo-org", "/orgs/octo-org/repos", "repositories"),
    ],
)
@pytest.mark.parametrize("status", [301, 404])
def test_it_counts_and_says_what_to_do_where_what_is_served_has_another_name(
    *,
    world: World,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    scope: str,
    path: str,
    step: str,
    status: int,
) -> None:
    world.environment.setenv("GITHUB_SCOPE", scope)
    world.twin.api_faults.add(ApiFault(status=status, path=path))
    assert step in world.reconcile()["failed"]
    (remedy,) = [said for record in caplog.records if (said := getattr(record, "remedy", ""))]
    assert "renamed or transferred, deploy again with its new name" in remedy
    assert '"ScopeNotFound":1' in capsys.readouterr().out.replace(" ", "")


def test_what_is_known_is_looked_at_where_the_organization_is_not_listed(world: World) -> None:
    world.environment.setenv("GITHUB_SCOPE", "orgs/octo-org")
    world.aws.dynamodb.put_item(
        TableName="ledger",
        Item={"entry": {"S": "repositories"}, "names": {"SS": [REPOSITORY]}},
    )
    job = world.job()
    world.twin.api_faults.add(ApiFault(status=403, path="/orgs/octo-org/repos", times=9))
    report = world.reconcile()
    assert report["started"] == [f"fleet-{job.id}-1"]
    assert {"repositories", "jobs"} <= set(report["failed"])


def test_an_incomplete_list_is_counted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.reconcile()
    assert "ListingIncomplete" not in capsys.readouterr().out
    world.twin.api_faults.add(ApiFault(status=500, path="*/actions/runs"))
    world.reconcile()
    assert "ListingIncomplete" in capsys.readouterr().out


def test_what_always_fails_does_not_make_every_run_a_full_one(world: World) -> None:
    world.twin.api_faults.add(ApiFault(status=502, path="*/hooks", times=9))
    assert "deliveries" in world.reconcile()["failed"]
    world.tasks(task("fleet-1-1"))
    assert world.reconcile()["skipped"] == "nothing to do"
