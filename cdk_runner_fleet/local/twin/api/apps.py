"""GitHub Apps, where they are installed, and their tokens."""

from __future__ import annotations

from cdk_runner_fleet.local.twin.askers import AskerError, TwinApp
from cdk_runner_fleet.local.twin.github import GitHub
from cdk_runner_fleet.local.twin.request import Answer, RefusalError, Request, routes


def get_app(github: GitHub, request: Request) -> Answer:
    return 200, github.payloads.app(_asking(request).app_id)


def list_installations(github: GitHub, request: Request) -> Answer:
    return 200, [github.payloads.installation(*each) for each in _installations(github, request)]


def get_installation(github: GitHub, request: Request) -> Answer:
    return 200, github.payloads.installation(*_installations(github, request)[0])


def create_access_token(github: GitHub, request: Request, installation_id: int) -> Answer:
    if installation_id not in [number for number, _ in _installations(github, request)]:
        raise RefusalError(404, "Not Found")
    body = request.json() if request.body else {}
    try:
        return 201, github.askers.new_token(_asking(request), body)
    except AskerError as error:
        raise RefusalError(422, str(error)) from error


def _asking(request: Request) -> TwinApp:
    assert request.asker.app is not None  # noqa: S101 - nobody else may ask for these
    return request.asker.app


def _installations(github: GitHub, request: Request) -> list[tuple[int, str]]:
    own = _asking(request).app_id
    installed = github.askers.installations.items()
    return [(number, app.app_id) for number, app in installed if app.app_id == own]


ROUTES = routes(
    ("GET", "/app", get_app),
    ("GET", "/app/installations", list_installations),
    ("GET", "{scope}/installation", get_installation),
    ("POST", r"/app/installations/(?P<installation_id>\d+)/access_tokens", create_access_token),
)
