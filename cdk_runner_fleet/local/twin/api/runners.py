"""Registered runners, what there is to run them with, and their groups."""

from __future__ import annotations

import base64
import json

from cdk_runner_fleet.local.twin.board import NameTakenError, RunnerBusyError
from cdk_runner_fleet.local.twin.github import GitHub
from cdk_runner_fleet.local.twin.records import Runner
from cdk_runner_fleet.local.twin.request import (
    Answer,
    RefusalError,
    Request,
    found,
    routes,
)

MAX_LABELS = 100  # @octokit/openapi: generate-jitconfig, labels.maxItems
MAX_LABEL = 256  # actions/runner, Validators.cs
MAX_NAME = 64  # actions/runner, Constants.cs
DEPRECATIONS_API_VERSION = "2026-03-10"  # github.blog/changelog, 2026-09-03


def generate_jitconfig(github: GitHub, request: Request) -> Answer:
    body = request.json()
    name, labels, group = (body.get(key) for key in ("name", "labels", "runner_group_id"))
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        raise RefusalError(422, f"Invalid request.\n\n`name` must have 1-{MAX_NAME} characters")
    if not isinstance(group, int) or isinstance(group, bool):
        raise RefusalError(422, 'Invalid request.\n\n"runner_group_id" wasn\'t supplied.')
    if not isinstance(labels, list) or not 1 <= len(labels) <= MAX_LABELS:
        raise RefusalError(422, f"Invalid request.\n\n`labels` must have 1-{MAX_LABELS} items")
    if not all(isinstance(label, str) and 1 <= len(label) <= MAX_LABEL for label in labels):
        raise RefusalError(422, f"Invalid request.\n\na label must have 1-{MAX_LABEL} characters")
    if group not in _groups(github, request):
        raise RefusalError(404, "Not Found")
    try:
        runner = github.board.register(name=name, labels=labels)
        runner.scope, runner.group_id = request.scope, group
    except NameTakenError as error:
        raise RefusalError(
            409, f"Already exists - A runner with the name {name!r} already exists."
        ) from error
    config = {
        "twin": True,
        "url": github.url,
        "runner_id": runner.id,
        "runner_name": runner.name,
        "token": runner.token,
        "labels": labels,
    }
    encoded = base64.b64encode(json.dumps(config).encode()).decode()
    return 201, {"runner": github.payloads.runner(runner), "encoded_jit_config": encoded}


def list_runners(github: GitHub, request: Request) -> Answer:
    name = request.query.get("name", [None])[0]
    runners = [
        each
        for each in github.board.listed()
        if each.scope == request.scope and name in (None, each.name)
    ]
    return request.page("runners", [github.payloads.runner(runner) for runner in runners])


def get_runner(github: GitHub, request: Request, runner_id: int) -> Answer:
    return 200, github.payloads.runner(_find(github, request, runner_id))


def delete_runner(github: GitHub, request: Request, runner_id: int) -> Answer:
    runner = _find(github, request, runner_id)
    try:
        github.board.remove(runner_id)
    except RunnerBusyError as error:
        raise RefusalError(
            422, f'Runner "{runner.name}" is currently running a job and cannot be deleted.'
        ) from error
    return 204, None


def list_runner_downloads(github: GitHub, request: Request) -> Answer:
    archives = github.releases.archives()
    return 200, [github.payloads.runner_application(archive) for archive in archives]


def get_runner_deprecation(github: GitHub, request: Request, version: str) -> Answer:
    deprecation = github.releases.deprecations.get(version)
    is_known = request.headers.get("X-GitHub-Api-Version") == DEPRECATIONS_API_VERSION
    if deprecation is None or not is_known:
        raise RefusalError(404, "Not Found")
    return 200, github.payloads.runner_deprecation(version, deprecation)


def list_runner_groups(github: GitHub, request: Request) -> Answer:
    if request.scope.startswith("/repos/"):
        raise RefusalError(404, "Not Found")
    limited = github.board.group_repositories
    groups = [
        github.payloads.group(group_id, name, is_limited=group_id in limited)
        for group_id, name in _groups(github, request).items()
    ]
    return request.page("runner_groups", groups)


def _find(github: GitHub, request: Request, runner_id: int) -> Runner:
    runner = found(github.board.runners, runner_id)
    if runner.scope != request.scope:
        raise RefusalError(404, "Not Found")
    return runner


def _groups(github: GitHub, request: Request) -> dict[int, str]:
    """The groups of the scope's runners by id: a repository has the default one only."""
    names = github.runner_groups
    return dict(enumerate(names[:1] if request.scope.startswith("/repos/") else names, start=1))


ROUTES = routes(
    ("POST", "{scope}/actions/runners/generate-jitconfig", generate_jitconfig),
    ("GET", "{scope}/actions/runners", list_runners),
    ("GET", r"{scope}/actions/runners/(?P<runner_id>\d+)", get_runner),
    ("DELETE", r"{scope}/actions/runners/(?P<runner_id>\d+)", delete_runner),
    ("GET", "{scope}/actions/runners/downloads", list_runner_downloads),
    ("GET", "{scope}/actions/runners/deprecations/(?P<version>[^/]+)", get_runner_deprecation),
    ("GET", "{scope}/actions/runner-groups", list_runner_groups),
)
