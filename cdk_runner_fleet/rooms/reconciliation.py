"""The regular look at what events have missed."""

from __future__ import annotations

from aws_cdk import Duration
from constructs import Construct

from cdk_runner_fleet._at_rest import DataAtRest
from cdk_runner_fleet._function import FleetFunction
from cdk_runner_fleet.rooms.admission import RunnerAdmission
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.dispatch import EventDispatch
from cdk_runner_fleet.rooms.lifecycle import RunnerLifecycle
from cdk_runner_fleet.values.functions import FunctionOptions
from cdk_runner_fleet.values.reconciliation import Reconciliation
from cdk_runner_fleet.values.timeouts import seconds_of

MAX_REPLACEMENTS = 3
"""Runners that may follow a job's first one that ended without a job; then its author is told."""

_TIMEOUT = Duration.minutes(2)  # fleet_runtime's lease and its time for asking GitHub fit in this


class DemandReconciliation(Construct):
    """Compares GitHub's queued jobs with the runners, regularly and when an execution ends badly.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        admission: How the runners that are missing are started.
        dispatch: Whose settings it has, too.
        lifecycle: Whose aborted executions are cleaned up after.
        cluster: Where tasks may be left over.
        github: Who is asked for jobs and runners.
        bus: Where events go that could not be handled.
        webhook_url: Where GitHub's deliveries come in: failed ones are asked for once more.
        options: What all functions of the fleet have in common.
        at_rest: How what they hold and handle is kept.
        reconciliation: How often, and what is done then.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        admission: RunnerAdmission,
        dispatch: EventDispatch,
        lifecycle: RunnerLifecycle,
        cluster: RunnerCluster,
        github: GitHubConnection,
        bus: FleetBus,
        webhook_url: str,
        options: FunctionOptions,
        at_rest: DataAtRest,
        reconciliation: Reconciliation,
    ) -> None:
        super().__init__(scope, construct_id)
        actions = "write" if reconciliation.rerun_lost_jobs else "read"
        self.reconcile_demand = FleetFunction(
            self,
            "ReconcileDemand",
            handler="reconcile_demand",
            asks_github=True,
            options=options,
            at_rest=at_rest,
            timeout=_TIMEOUT,
            on_failure=bus.failed_events,
            environment={
                **dispatch.environment,
                **github.environment(runners="write", also={"actions": actions}),
                "CLUSTER_ARN": cluster.cluster_arn,
                "FAMILY_PREFIX": cluster.family,
                "WEBHOOK_URL": webhook_url,
                "RECONCILE_GRACE_SECONDS": seconds_of(reconciliation.grace),
                "MAX_REPLACEMENTS": str(MAX_REPLACEMENTS),
                "RERUN_LOST_JOBS": "on" if reconciliation.rerun_lost_jobs else "off",
            },
        )
        admission.grant_start(self.reconcile_demand)
        admission.grant_list(self.reconcile_demand)
        lifecycle.grant_list(self.reconcile_demand)
        cluster.grant_sweep(self.reconcile_demand.execution_role)
        github.grant_ask(self.reconcile_demand)
        bus.deliver(
            self,
            self.reconcile_demand,
            lifecycle.ended("ABORTED", "TIMED_OUT"),
            every=reconciliation.every,
            # the next look sees it as well, so an event that is older tells nothing
            max_event_age=Duration.hours(1),
        )
