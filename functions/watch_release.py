"""Watches which releases of its runner GitHub supports, before images with an old one stop to work.

GitHub serves a release for 30 days or more after the next one came out, and retires it at once if
it has to. Once a day, after a deployment and when a runner has found its version retired, this asks
which release GitHub has everyone install and when it retires the versions that the fleet's images
have. While there is none that images can be built with, it asks every hour. The answers stand in
the ledger, where builds look for their release; of a newer one the fleet's bus is told.

Every hour, and after a deployment, it also notes which networks GitHub's webhooks come from, where
deliveries are let in by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fleet_runtime import environment
from fleet_runtime.github import hook_networks
from fleet_runtime.github.hook_networks import HookNetworks
from fleet_runtime.images.release_news import FOUND
from fleet_runtime.images.release_watch import ReleaseWatch, Settings
from fleet_runtime.observability import observed


@cache
def _watch() -> ReleaseWatch:
    return ReleaseWatch.of(environment.read(Settings))


@cache
def _networks() -> HookNetworks:
    return HookNetworks.of(environment.read(hook_networks.Settings))


@observed
def handler(event: Mapping[str, Any], context: object) -> dict[str, Any] | None:  # noqa: ARG001
    """Lambda's entry point for the schedule, deployments, ``retired_runner_found`` and people.

    Args:
        event: Anything.
        context: Lambda's context.

    Returns:
        What was found, see ``ReleaseWatch.run``; nothing for ``retired_runner_found``, nor in an
        hour in which no look is due.

    Raises:
        GitHubUnavailable: GitHub does not answer now; Lambda tries again.
    """
    kind = event.get("detail-type")
    if kind == FOUND:
        found = event["detail"]
        _watch().follow(found["runner_version"], found_in=found["image_tag"])
        return None
    _networks().refresh()
    if kind == "Scheduled Event" and not _watch().is_due():
        return None
    return _watch().run()
