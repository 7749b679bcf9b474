"""Compares what GitHub has queued with what runs, and puts right what events have missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from fleet_runtime import environment as settings
from fleet_runtime.aws.client import client
from fleet_runtime.aws.ledger import Ledger
from fleet_runtime.dispatch.dispatcher import Dispatcher
from fleet_runtime.github.client import GitHubAccess
from fleet_runtime.github.etags import Pages
from fleet_runtime.github.registrations import GitHubRunners
from fleet_runtime.observability import observed
from fleet_runtime.reconciliation.listing import JobLister
from fleet_runtime.reconciliation.redelivery import Redelivery
from fleet_runtime.reconciliation.repairs import Repairs
from fleet_runtime.reconciliation.run import Reconciliation
from fleet_runtime.reconciliation.supply import Supply
from fleet_runtime.reconciliation.sweeps import Memory, Sweeps
from fleet_runtime.runner.executions import Executions

_HOOKS = {"repos": "repository_hooks", "orgs": "organization_hooks"}


@cache
def _reconciliation() -> Reconciliation:
    config = settings.reconcile_demand()
    dispatcher = Dispatcher.of(config.dispatch)
    stepfunctions = client("stepfunctions")
    access = GitHubAccess.of(config.github)
    hooks_access = _hooks_access(config.github)
    ledger = Ledger(dynamodb=client("dynamodb"), table=config.dispatch.ledger_table)
    pages = Pages()
    executions = Executions(
        stepfunctions=stepfunctions, state_machine_arn=config.dispatch.state_machine_arn
    )
    return Reconciliation(
        records=dispatcher.records,
        ledger=ledger,
        access=access,
        hooks_access=hooks_access,
        lister=JobLister(access=access, pages=pages),
        pages=pages,
        redelivery=Redelivery(
            access=hooks_access,
            pages=pages,
            ledger=ledger,
            webhook_url=config.webhook_url,
        ),
        repairs=Repairs(
            dispatcher=dispatcher,
            access=access,
            ledger=ledger,
            grace=config.grace_seconds,
            rerun_lost_jobs=config.rerun_lost_jobs,
        ),
        supply=Supply(
            dispatcher=dispatcher,
            executions=executions,
            grace=config.grace_seconds,
            ceiling=config.max_replacements,
        ),
        sweeps=partial(
            Sweeps,
            records=dispatcher.records,
            starts=dispatcher.starts,
            executions=executions,
            github=GitHubRunners(access),
            ecs=client("ecs"),
            cluster_arn=config.cluster_arn,
            prefix=config.dispatch.runner_name_prefix,
            grace=config.grace_seconds,
            row_ttl_seconds=config.dispatch.row_ttl_seconds,
            memory=Memory(),
        ),
        prefix=config.dispatch.runner_name_prefix,
        grace=config.grace_seconds,
    )


def _hooks_access(github: settings.GitHub) -> GitHubAccess:
    """Ask for hooks with tokens of their own: an App without that permission gets none at all."""
    permission = _HOOKS.get(github.scope.kind)
    return GitHubAccess.of(replace(github, permissions={permission: "write"} if permission else {}))


@observed
def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Lambda's entry point for the schedule, for executions that ended badly, and for people.

    Args:
        event: ``Step Functions Execution Status Change``, or anything else for a whole run.
        context: Lambda's context.

    Returns:
        What was done, see ``reconciliation.Report``.
    """
    if event.get("detail-type") == "Step Functions Execution Status Change":
        report = _reconciliation().ended(event["detail"]["name"])
    else:
        report = _reconciliation().run(
            owner=context.aws_request_id, seconds=context.get_remaining_time_in_millis() / 1000
        )
    return vars(report)
