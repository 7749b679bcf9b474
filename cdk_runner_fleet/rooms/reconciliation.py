"""The regular look at what events have missed."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from constructs import Construct

from cdk_runner_fleet._function import FleetFunction, FunctionOptions
from cdk_runner_fleet.rooms.bus import FleetBus
from cdk_runner_fleet.rooms.cluster import RunnerCluster
from cdk_runner_fleet.rooms.connection import GitHubConnection
from cdk_runner_fleet.rooms.dispatch import EventDispatch
from cdk_runner_fleet.rooms.lifecycle import RunnerLifecycle
from cdk_runner_fleet.values.timeouts import check_unit, seconds_of

MAX_REPLACEMENTS = 3
"""Runners that may follow a job's first one that ended without a job; then its author is told."""

_TIMEOUT = Duration.minutes(2)  # fleet_runtime's lease and its time for asking GitHub fit in this


class DemandReconciliation(Construct):
    """Compares GitHub's queued jobs with the runners, regularly and when an execution ends badly.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        dispatch: How the runners that are missing are started.
        lifecycle: Whose aborted executions are cleaned up after.
        cluster: Where tasks may be left over.
        github: Who is asked for jobs and runners.
        bus: Where events go that could not be handled.
        webhook_url: Where GitHub's deliveries come in: failed ones are asked for once more.
        options: What all functions of the fleet have in common.
        every: How often. Default: every 2 minutes.
        grace: Jobs and runners younger than this are left alone. Default: 60 seconds.
        rerun_lost_jobs: Whether a job whose runner is gone is run again.

    Raises:
        ValueError: if EventBridge has no such schedule, or there is no grace.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        dispatch: EventDispatch,
        lifecycle: RunnerLifecycle,
        cluster: RunnerCluster,
        github: GitHubConnection,
        bus: FleetBus,
        webhook_url: str,
        options: FunctionOptions,
        every: Duration | None = None,
        grace: Duration | None = None,
        rerun_lost_jobs: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        every = every or Duration.minutes(2)
        grace = grace or Duration.seconds(60)
        _check(every=every, grace=grace)
        actions = "write" if rerun_lost_jobs else "read"
        self.reconcile_demand = FleetFunction(
            self,
            "ReconcileDemand",
            handler="reconcile_demand",
            options=options,
            timeout=_TIMEOUT,
            on_failure=bus.dead_letter_queue,
            environment={
                **dispatch.environment,
                **github.environment(runners="write", also={"actions": actions}),
                "CLUSTER_ARN": cluster.cluster_arn,
                "WEBHOOK_URL": webhook_url,
                "RECONCILE_GRACE_SECONDS": seconds_of(grace),
                "MAX_REPLACEMENTS": str(MAX_REPLACEMENTS),
                "RERUN_LOST_JOBS": "on" if rerun_lost_jobs else "off",
            },
        )
        dispatch.grant_start(self.reconcile_demand)
        dispatch.grant_list(self.reconcile_demand)
        lifecycle.grant_list(self.reconcile_demand)
        cluster.grant_sweep(self.reconcile_demand.execution_role)
        github.grant_ask(self.reconcile_demand)
        # the next look sees it as well, so an event that is older tells nothing
        bus.deliver(
            self,
            "Schedule",
            self.reconcile_demand,
            schedule=events.Schedule.rate(every),
            max_event_age=Duration.hours(1),
        )
        bus.deliver(
            self,
            "AbortedRunners",
            self.reconcile_demand,
            pattern=lifecycle.ended("ABORTED", "TIMED_OUT"),
            max_event_age=Duration.hours(1),
        )


def _check(*, every: Duration, grace: Duration) -> None:
    if not every.is_unresolved():
        seconds = every.to_seconds()
        if seconds < 60 or seconds % 60:
            raise ValueError(
                f"reconcile_every is {seconds:g} seconds, EventBridge's schedules have whole "
                "minutes, 1 at the least"
            )
    check_unit("reconcile_grace", grace)
    if not grace.is_unresolved() and not grace.to_seconds() >= 1:
        raise ValueError(
            f"reconcile_grace is {grace.to_seconds():g} seconds, use at least 1: what began just "
            "now has to be left alone"
        )
