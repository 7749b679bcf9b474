"""Webhooks, what they sent, and sending it again."""

from __future__ import annotations

from cdk_runner_fleet.local.twin.deliveries import HOOK_ID, Delivery
from cdk_runner_fleet.local.twin.github import GitHub
from cdk_runner_fleet.local.twin.request import Answer, RefusalError, Request, routes


def list_hooks(github: GitHub, request: Request) -> Answer:
    hook = github.payloads.hook(scope=request.scope, url=github.webhook_url)
    return 200, [hook]


def get_app_hook(github: GitHub, request: Request) -> Answer:
    return 200, github.payloads.hook_config(url=github.webhook_url)


def get_meta(github: GitHub, request: Request) -> Answer:
    return 200, {"verifiable_password_authentication": False, "hooks": github.hook_networks}


def list_hook_deliveries(github: GitHub, request: Request, hook_id: int = HOOK_ID) -> Answer:
    try:
        size = min(max(int(request.query.get("per_page", ["30"])[0]), 1), 100)
        before = int(request.query.get("cursor", ["0"])[0])
    except ValueError as error:
        raise RefusalError(400, "Invalid cursor") from error
    sent = [each for each in _sent(github, hook_id) if not before or each.id < before]
    page = sent[:size]
    if len(sent) > size:
        following = f"{github.url}{request.path}?per_page={size}"
        request.answer_headers["Link"] = f'<{following}&cursor={page[-1].id}>; rel="next"'
    return 200, [github.payloads.delivery(each) for each in page]


def redeliver(github: GitHub, request: Request, delivery_id: int, hook_id: int = HOOK_ID) -> Answer:
    found = [each for each in _sent(github, hook_id) if each.id == delivery_id]
    if not found:
        raise RefusalError(404, "Not Found")
    github.hook_deliveries.deliver_again(found[0])
    return 202, {}


def _sent(github: GitHub, hook_id: int) -> list[Delivery]:
    if hook_id != HOOK_ID:
        raise RefusalError(404, "Not Found")
    return github.hook_deliveries.sent


ROUTES = routes(
    ("GET", "{scope}/hooks", list_hooks),
    ("GET", "/app/hook/config", get_app_hook),
    ("GET", r"{scope}/hooks/(?P<hook_id>\d+)/deliveries", list_hook_deliveries),
    ("GET", "/meta", get_meta),
    ("GET", "/app/hook/deliveries", list_hook_deliveries),
    ("POST", r"{scope}/hooks/(?P<hook_id>\d+)/deliveries/(?P<delivery_id>\d+)/attempts", redeliver),
    ("POST", r"/app/hook/deliveries/(?P<delivery_id>\d+)/attempts", redeliver),
)
