"""The regular look at what events have missed: its function, its schedule, its permissions."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_runner_fleet._function import METRICS_NAMESPACE, FleetFunction

MAX_REPLACEMENTS = 3
"""Runners that may follow a job's first one that ended without a job; then its author is told."""

_TIMEOUT = Duration.minutes(2)  # fleet_runtime's lease and its time for asking GitHub fit in this


class DemandReconciliation(Construct):
    """Compares GitHub's queued jobs with the runners, regularly and when an execution ends badly.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        every: How often.
        grace: Jobs and runners younger than this are left alone.
        rerun_lost_jobs: Whether a job whose runner is gone is run again.
        environment: The function's other settings.
        state_machine_arn: The lifecycle, whose aborted executions are cleaned up after.
        dead_letter_queue: Where events go that could not be handled.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        every: Duration,
        grace: Duration,
        rerun_lost_jobs: bool,
        environment: Mapping[str, str],
        state_machine_arn: str,
        dead_letter_queue: sqs.IQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        self.function = FleetFunction(
            self,
            "ReconcileDemand",
            handler="reconcile_demand",
            timeout=_TIMEOUT,
            environment={
                **environment,
                "RECONCILE_GRACE_SECONDS": str(int(grace.to_seconds())),
                "MAX_REPLACEMENTS": str(MAX_REPLACEMENTS),
                "RERUN_LOST_JOBS": "on" if rerun_lost_jobs else "off",
            },
        )
        self.function.add_dead_letter_queue(dead_letter_queue)
        target = targets.LambdaFunction(
            self.function.function,
            dead_letter_queue=dead_letter_queue,
            max_event_age=Duration.hours(1),
            retry_attempts=185,
        )
        events.Rule(self, "Schedule", schedule=events.Schedule.rate(every), targets=[target])
        events.Rule(
            self,
            "AbortedRunners",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "stateMachineArn": [state_machine_arn],
                    "status": ["ABORTED", "TIMED_OUT"],
                },
            ),
            targets=[target],
        )

    def metric(self, name: str, *, period: Duration | None, statistic: str) -> cloudwatch.Metric:
        """One of the function's own metrics."""
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name=name,
            dimensions_map={"service": "reconcile_demand"},
            period=period,
            statistic=statistic,
        )
