"""What is said at a commit: check runs and commit statuses."""

from __future__ import annotations

from cdk_runner_fleet.local.twin.checks import ChecksError
from cdk_runner_fleet.local.twin.github import GitHub
from cdk_runner_fleet.local.twin.payloads import HEAD_SHA
from cdk_runner_fleet.local.twin.request import Answer, RefusalError, Request, routes


def create_check_run(github: GitHub, request: Request) -> Answer:
    app = request.asker.app
    try:
        return 201, github.checks.add_run(request.json(), app_id=app.app_id if app else None)
    except ChecksError as error:
        raise RefusalError(error.status, str(error)) from error


def create_status(github: GitHub, request: Request, sha: str) -> Answer:
    try:
        return 201, github.checks.add_status(sha, request.json())
    except ChecksError as error:
        raise RefusalError(error.status, str(error)) from error


def list_check_runs(github: GitHub, request: Request, sha: str) -> Answer:
    runs = [each for each in github.checks.runs if each["head_sha"] == sha]
    return request.page("check_runs", runs)


def list_statuses(github: GitHub, request: Request, sha: str) -> Answer:
    return 200, github.checks.statuses[::-1] if sha == HEAD_SHA else []


ROUTES = routes(
    ("POST", "{repository}/check-runs", create_check_run),
    ("POST", "{repository}/statuses/(?P<sha>[0-9a-f]{40})", create_status),
    ("GET", "{repository}/commits/(?P<sha>[0-9a-f]{40})/check-runs", list_check_runs),
    ("GET", "{repository}/commits/(?P<sha>[0-9a-f]{40})/statuses", list_statuses),
)
