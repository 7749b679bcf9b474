"""The settings of the fleets that tests start; tests/assemblies.py makes their assemblies ahead."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.stage import CONTEXT

Settings = Mapping[str, object]

REPOSITORY = "octo-org/octo-repo"
BY_HAND = 1440
"""Minutes between two reconciliations, where tests reconcile themselves."""

ALONE: Settings = {"github_repo": REPOSITORY, "reconcile_minutes": BY_HAND}
"""A fleet whose runners wait long."""
IMPATIENT: Settings = {
    **ALONE,
    # the shortest that a busy machine keeps when nothing is wrong
    "boot_timeout_seconds": 6,
    "idle_timeout_seconds": 2,
    "image_build_timeout_seconds": 6,
    "runner_ttl_seconds": 2,
}
SECOND: Settings = {**ALONE, "runner_name_prefix": "second"}
GRACE_SECONDS = 1
RECONCILED: Settings = {**ALONE, "reconcile_grace_seconds": GRACE_SECONDS, "rerun_lost_jobs": True}
MOST_BUILDS = 3
BUILDERS: Settings = {**ALONE, "max_image_builds": MOST_BUILDS}
CROWD: Settings = {
    "github_org": "octo-org",
    "runner_class_sizes": {
        "small": {"cpu": 256, "memory": 512},
        "large": {"cpu": 1024, "memory": 2048, "max_runners": 1},
        "broken": {"cpu": 256, "memory": 1024},
    },
    "max_runners": 2,
    "max_runners_per_repository": 2,
    "daily_budget_usd": 1000,
    "reconcile_minutes": BY_HAND,
}
GRANTED: Settings = {
    **ALONE,
    "runner_class_sizes": {
        "small": {"cpu": 256, "memory": 512},
        "huge": {
            "cpu": 512,
            "memory": 1024,
            "ephemeral_storage": 21,
            "tags": {"team": "a"},
            "environment": {"SAY": "it"},
        },
    },
}
"""Two classes, the second with what a class can have by settings."""
BY_REPOSITORY: Settings = {
    "github_org": "octo-org",
    "register_for": "repository",
    "reconcile_minutes": BY_HAND,
}
CRASH_CLASSES = 75
"""As many as go into one parameter of SSM."""
CRASHES: Settings = {
    **CONTEXT,
    "runner_class_sizes": {f"c{n}": {"cpu": 256, "memory": 512} for n in range(CRASH_CLASSES)},
    # nothing there waits for a task that never boots, and few for a runner that stays idle
    "boot_timeout_seconds": 60,
    "idle_timeout_seconds": 6,
}
PATIENT: Settings = {**CONTEXT, "idle_timeout_seconds": 20}
ROCKETS: Settings = {"github_repo": "acme/rockets"}
APPS: Settings = {
    "github_org": "acme",
    "github_apps": [{"app_id": 11, "private_key_secret": "app-key"}],
    "runner_group": "builders",
    "reconcile_minutes": 60,
}
EXAMPLES: Settings = {
    "github_org": "octo-org",
    "github_apps": [{"app_id": 123456, "private_key_secret": "github-app-private-key"}],
    "reconcile_minutes": BY_HAND,
}
"""The fleet whose account and GitHub the examples are deployed into: it has their App."""

DEPLOYED: Settings = {
    **ALONE,
    "max_runners": 3,
    "runner_class_sizes": {
        "small": {"cpu": 256, "memory": 512},
        "medium": {"cpu": 512, "memory": 1024},
    },
}
READY: Settings = {**DEPLOYED, "runner_image": "ghcr.io/octo-org/runner:1"}
UPGRADES: Mapping[str, tuple[Settings, Settings]] = {
    "other times, limits and classes": (
        DEPLOYED,
        {
            **DEPLOYED,
            "boot_timeout_seconds": 130,
            "idle_timeout_seconds": 310,
            "image_build_timeout_seconds": 1900,
            "max_runners": 4,
            "max_runners_per_repository": 4,
            "daily_budget_usd": 50,
            "reconcile_minutes": BY_HAND - 1,
            "tracing": True,
            "runner_class_sizes": {
                "large": {"cpu": 1024, "memory": 2048},
                "small": {"cpu": 512, "memory": 1024},
            },
        },
    ),
    "another variant of the image": (DEPLOYED, {**DEPLOYED, "runner_image_variant": "python"}),
    "a ready image": (DEPLOYED, READY),
    "another ready image": (READY, {**READY, "runner_image": "ghcr.io/octo-org/runner:2"}),
}
"""What is deployed, and what over it."""
_ONE_AT_A_TIME: Settings = {"max_runners": 1, "reconcile_grace_seconds": GRACE_SECONDS}
BUILT_AGAIN: tuple[Settings, Settings] = (
    {**READY, **_ONE_AT_A_TIME},
    {**DEPLOYED, **_ONE_AT_A_TIME},
)
"""From a ready image to one that is built."""
