"""What the twin answers, a module a resource of GitHub's REST API."""

from __future__ import annotations

from cdk_runner_fleet.local.twin.api import apps, checks, control, hooks, jobs, runners

__all__ = ["ROUTES"]

ROUTES = (
    *runners.ROUTES,
    *jobs.ROUTES,
    *hooks.ROUTES,
    *apps.ROUTES,
    *checks.ROUTES,
    *control.ROUTES,
)
"""Every route but a runner's session, which is no question with an answer."""
