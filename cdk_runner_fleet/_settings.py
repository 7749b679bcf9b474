"""Checks of settings that are plain strings: each error says what was given and what would do."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from aws_cdk import Duration, Token

from cdk_runner_fleet.values import GitHubApp

_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
# a runner's name at GitHub has at most 64 characters; job id and attempt take up to 32 of them
_NAME_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,30}")


def scope(*, github_repo: str | None, github_org: str | None, github_enterprise: str | None) -> str:
    """Return what is served, as the REST API's paths name it: ``repos/owner/name``.

    Raises:
        ValueError: unless exactly one is given, and can be one.
    """
    given = {
        name: value
        for name, value in {
            "github_repo": github_repo,
            "github_org": github_org,
            "github_enterprise": github_enterprise,
        }.items()
        if value is not None
    }
    if len(given) != 1:
        raise ValueError(
            f"{' and '.join(given) or 'no scope'} given, give exactly one of github_repo, "
            "github_org and github_enterprise: a fleet serves one of them"
        )
    [(name, value)] = given.items()
    kind, pattern, advice = {
        "github_repo": (
            "repos",
            _REPOSITORY,
            "is not a repository, give it as owner/repo, for example octo-org/octo-repo",
        ),
        "github_org": (
            "orgs",
            _LOGIN,
            "is not an organization, give its login as in https://github.com/<login>",
        ),
        "github_enterprise": (
            "enterprises",
            _SLUG,
            "is not an enterprise, give its slug as in https://github.com/enterprises/<slug>",
        ),
    }[name]
    if not Token.is_unresolved(value) and not pattern.fullmatch(value):
        raise ValueError(f"{name} {value!r} {advice}")
    return f"{kind}/{value}"


def check_runner_group(value: str | None, *, scope: str) -> None:
    """Raise ``ValueError`` if ``value`` is given and runners of the scope have no groups."""
    if value is not None and scope.startswith("repos/"):
        raise ValueError(
            f"runner_group {value!r} cannot be kept, a repository's runners have no groups: leave "
            "it out, or serve the whole organization with github_org"
        )


def check_credentials(apps: Sequence[GitHubApp], *, has_token: bool, scope: str) -> None:
    """Raise ``ValueError`` if the credentials do not go together, or not with the scope."""
    if apps and has_token:
        raise ValueError(
            "github_token and github_apps given, give one of them: GitHub Apps need no token"
        )
    if apps and scope.startswith("enterprises/"):
        # GitHub docs, "REST API endpoints for self-hosted runners", enterprises
        raise ValueError(
            "github_apps cannot serve github_enterprise, GitHub lets no App manage an enterprise's "
            "runners: use github_token with a classic token that has manage_runners:enterprise, or "
            "a fleet with github_org for each organization"
        )
    ids = [str(app.app_id) for app in apps]
    if len(set(ids)) < len(ids):
        raise ValueError(f"github_apps {ids} names an App twice, name each once")


def check_api_url(value: str) -> None:
    """Raise ``ValueError`` unless ``value`` can be the URL of a REST API."""
    if Token.is_unresolved(value):
        return
    match = re.fullmatch(r"https?://([^\s/?#:]+)(:\d+)?(/[^\s?#]*)?", value)
    if match is None:
        raise ValueError(
            f"github_api_url {value!r} is not a URL, use https://api.github.com, "
            "https://api.<name>.ghe.com or https://<host>/api/v3"
        )
    host = match[1].lower()
    if host == "github.com" or (host.endswith(".ghe.com") and not host.startswith("api.")):
        raise ValueError(
            f"github_api_url {value!r} is where people look, the REST API is at https://api.{host}"
        )


def check_name_prefix(value: str) -> None:
    """Raise ``ValueError`` unless runners can be named ``<value>-<job id>-<attempt>``."""
    if not Token.is_unresolved(value) and not _NAME_PREFIX.fullmatch(value):
        raise ValueError(
            f"runner_name_prefix {value!r} cannot begin a runner's name, use up to 31 "
            "lower-case letters, digits and dashes, a letter first"
        )


def check_max_runners(name: str, value: int) -> None:
    """Raise ``ValueError`` unless so many runners can be counted, ``name`` being the setting."""
    if Token.is_unresolved(value):
        return
    # the ids of all who hold a turn stand on one DynamoDB item, in three sets: 400 KB at the most,
    # and each turn given or taken back is a write of that size
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise ValueError(
            f"{name} {value!r} cannot be kept, use a whole number from 1 to 1000, "
            "or several fleets with a name prefix each"
        )


def check_reconciliation(*, every: Duration | None, grace: Duration | None) -> None:
    """Raise ``ValueError`` unless EventBridge has such a schedule, and the grace is one."""
    if every is not None and not every.is_unresolved():
        seconds = every.to_seconds()
        if seconds < 60 or seconds % 60:
            raise ValueError(
                f"reconcile_every is {seconds:g} seconds, EventBridge's schedules have whole "
                "minutes, 1 at the least"
            )
    if grace is not None and not grace.is_unresolved() and not grace.to_seconds() >= 1:
        raise ValueError(
            f"reconcile_grace is {grace.to_seconds():g} seconds, use at least 1: what began just "
            "now has to be left alone"
        )


def check_budget(value: float | None) -> None:
    """Raise ``ValueError`` unless ``value`` is an amount of money, or None for no budget."""
    # jsii, which knows what a token is, ends at numbers that JSON does not have
    if value is None or (math.isfinite(value) and Token.is_unresolved(value)):
        return
    if isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(
            f"daily_budget_usd {value!r} is no budget, use US dollars above 0, "
            "or leave it out for no limit"
        )
