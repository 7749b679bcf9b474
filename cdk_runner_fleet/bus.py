"""How events travel: the fleet's own bus, the account's default bus, and a dead-letter queue."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_runner_fleet._function import FleetFunction

EVENT_SOURCE = "cdk-runner-fleet"
"""Source of the fleet's own events."""


class FleetBus(Construct):
    """An EventBridge bus of the fleet's own with an archive for replay, and a dead-letter queue.

    An alarm without an action rings while an event waits in the queue.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        event_bus_name: Name of the bus. Default: a name is made that is unique in the account.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, event_bus_name: str | None = None
    ) -> None:
        super().__init__(scope, construct_id)
        self.event_bus = events.EventBus(self, "Bus", event_bus_name=event_bus_name)
        self.archive = self.event_bus.archive(
            "Archive",
            event_pattern=events.EventPattern(source=[EVENT_SOURCE]),
            retention=Duration.days(3),  # as long as GitHub itself can deliver again
        )
        self.dead_letter_queue = sqs.Queue(
            self,
            "FailedEvents",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(14),
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.failed_events_alarm = cloudwatch.Alarm(
            self,
            "FailedEventsAlarm",
            alarm_description="cdk-runner-fleet: events could not be handled and wait in the "
            "dead-letter queue, see `runner-fleet events list`",
            metric=self.dead_letter_queue.metric_approximate_number_of_messages_visible(
                statistic="Maximum"
            ),
            threshold=1,
            evaluation_periods=1,
            # an idle queue reports nothing
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def deliver_jobs(self, function: FleetFunction) -> None:
        """Send GitHub's workflow job events to ``function``."""
        self._rule(
            "WorkflowJobs",
            function,
            pattern=events.EventPattern(source=[EVENT_SOURCE], detail_type=["workflow_job"]),
            bus=self.event_bus,
        )

    def deliver_unserved_jobs(self, function: FleetFunction) -> None:
        """Tell ``function`` of each job that will have no runner."""
        self._rule(
            "UnservedJobs",
            function,
            pattern=events.EventPattern(source=[EVENT_SOURCE], detail_type=["job_unserved"]),
            bus=self.event_bus,
        )

    def deliver_stopped_tasks(self, function: FleetFunction, *, cluster_arn: str) -> None:
        """Send the end of each task in the cluster to ``function``."""
        self._rule(
            "StoppedTasks",
            function,
            pattern=events.EventPattern(
                source=["aws.ecs"],
                detail_type=["ECS Task State Change"],
                detail={"clusterArn": [cluster_arn], "lastStatus": ["STOPPED"]},
            ),
        )

    def deliver_ended_runners(self, function: FleetFunction, *, state_machine_arn: str) -> None:
        """Send the end of each execution that ran its course to ``function``."""
        self._rule(
            "EndedRunners",
            function,
            pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "stateMachineArn": [state_machine_arn],
                    # reconciliation hears of those that were stopped: it ends what they left
                    "status": ["SUCCEEDED", "FAILED"],
                },
            ),
        )

    def deliver_ended_builds(
        self, function: FleetFunction, *, project_names: Sequence[str]
    ) -> None:
        """Send the end of each build of the projects to ``function``."""
        self._rule(
            "EndedBuilds",
            function,
            pattern=events.EventPattern(
                source=["aws.codebuild"],
                detail_type=["CodeBuild Build State Change"],
                detail={
                    "project-name": list(project_names),
                    "build-status": ["SUCCEEDED", "FAILED", "FAULT", "STOPPED", "TIMED_OUT"],
                },
            ),
        )

    def deliver_retired_versions(self, *functions: FleetFunction) -> None:
        """Tell ``functions`` of each runner version that GitHub gives no more jobs to."""
        self._rule(
            "RetiredVersions",
            *functions,
            pattern=events.EventPattern(
                source=[EVENT_SOURCE], detail_type=["runner_version_retired"]
            ),
            bus=self.event_bus,
        )

    def deliver_days(self, function: FleetFunction) -> None:
        """Tell ``function`` once a day that another one has passed."""
        self._rule("Days", function, schedule=events.Schedule.rate(Duration.days(1)))

    def deliver_deployments(self, *functions: FleetFunction) -> None:
        """Tell ``functions`` when this stack has been deployed."""
        self._rule(
            "Deployments",
            *functions,
            pattern=events.EventPattern(
                source=["aws.cloudformation"],
                detail_type=["CloudFormation Stack Status Change"],
                detail={
                    "stack-id": [Stack.of(self).stack_id],
                    "status-details": {"status": ["CREATE_COMPLETE", "UPDATE_COMPLETE"]},
                },
                account=[Aws.ACCOUNT_ID],
            ),
        )

    def _rule(
        self,
        construct_id: str,
        *functions: FleetFunction,
        pattern: events.EventPattern | None = None,
        schedule: events.Schedule | None = None,
        bus: events.IEventBus | None = None,
    ) -> None:
        events.Rule(
            self,
            construct_id,
            event_bus=bus,
            event_pattern=pattern,
            schedule=schedule,
            targets=[
                targets.LambdaFunction(
                    function.function,
                    dead_letter_queue=self.dead_letter_queue,
                    max_event_age=Duration.hours(24),
                    retry_attempts=185,
                )
                for function in functions
            ],
        )
