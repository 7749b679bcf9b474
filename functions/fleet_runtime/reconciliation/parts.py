"""What reconciliation is made of, put together once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet_runtime.aws.client import client
from fleet_runtime.dispatch.parts import Parts
from fleet_runtime.dispatch.parts import Settings as DispatchSettings
from fleet_runtime.github.client import GitHub
from fleet_runtime.github.connection import Connection
from fleet_runtime.github.etags import Etags
from fleet_runtime.github.registrations import Registrations
from fleet_runtime.reconciliation.listing import JobLister
from fleet_runtime.reconciliation.redelivery import Redelivery
from fleet_runtime.reconciliation.repairs import Repairs
from fleet_runtime.reconciliation.run import Reconciliation
from fleet_runtime.reconciliation.supply import Supply
from fleet_runtime.reconciliation.sweeps import Sweeps

_HOOKS = {"repos": "repository_hooks", "orgs": "organization_hooks"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compared, and what may be done about it.

    Attributes:
        dispatch: What starting a runner takes.
        connection: How GitHub is asked for jobs and runners.
        cluster_arn: Where the runners' tasks are.
        family_prefix: What the names of their task definitions' families begin with.
        webhook_url: Where GitHub's webhooks go.
        reconcile_grace_seconds: What is younger is left alone.
        max_replacements: How many runners may follow a job's first that ended without a job.
        rerun_lost_jobs: Whether a job whose runner is gone is run again.
    """

    dispatch: DispatchSettings
    connection: Connection
    cluster_arn: str
    family_prefix: str
    webhook_url: str
    reconcile_grace_seconds: int
    max_replacements: int
    rerun_lost_jobs: bool


def reconciliation(settings: Settings) -> Reconciliation:
    """Put it together."""
    parts = Parts.of(settings.dispatch)
    etags = Etags()
    github = GitHub.of(settings.connection, etags=etags)
    github_hooks = GitHub.of(_for_hooks(settings.connection), etags=etags)
    registrations = Registrations(github)
    prefix, grace = settings.dispatch.offer.runner_name_prefix, settings.reconcile_grace_seconds
    return Reconciliation(
        records=parts.records,
        ledger=parts.ledger,
        catalog=parts.dispatcher.catalog,
        github=github,
        github_hooks=github_hooks,
        etags=etags,
        lister=JobLister(github),
        redelivery=Redelivery(
            github=github_hooks, ledger=parts.ledger, webhook_url=settings.webhook_url
        ),
        repairs=Repairs(
            dispatcher=parts.dispatcher,
            records=parts.records,
            github=github,
            registrations=registrations,
            ledger=parts.ledger,
            grace=grace,
            prefix=prefix,
            rerun_lost_jobs=settings.rerun_lost_jobs,
        ),
        supply=Supply(
            dispatcher=parts.dispatcher,
            records=parts.records,
            starts=parts.starts,
            waits=parts.waits,
            signals=parts.signals,
            unserved=parts.unserved,
            executions=parts.executions,
            grace=grace,
            ceiling=settings.max_replacements,
        ),
        starts=parts.starts,
        sweeps=Sweeps(
            records=parts.records,
            starts=parts.starts,
            executions=parts.executions,
            registrations=registrations,
            scopes=settings.dispatch.offer.scopes,
            ecs=client("ecs"),
            cluster_arn=settings.cluster_arn,
            family=settings.family_prefix,
            prefix=prefix,
            grace=grace,
            row_ttl_seconds=settings.dispatch.row_ttl_seconds,
        ),
        label_rules=settings.dispatch.offer.label_rules,
        scopes=settings.dispatch.offer.scopes,
        prefix=prefix,
        grace=grace,
    )


def _for_hooks(connection: Connection) -> Connection:
    """Ask for hooks with tokens of their own: an App without that permission gets none at all."""
    permission = _HOOKS.get(connection.github_scope.kind)
    return replace(connection, github_permissions={permission: "write"} if permission else {})
