"""The daily look at how long GitHub goes on giving jobs to the runners in the fleet's images."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_runner_fleet._function import METRICS_NAMESPACE, FleetFunction

_ALARM_DAYS = 14  # images in use are rebuilt each week: one that lags so far behind was not


class ReleaseWatch(Construct):
    """Asks GitHub once a day which runners it supports, and rings two weeks before one dies.

    Every hour while there is none that images can be built with.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        environment: The function's settings.
        dead_letter_queue: Where schedules' events go that could not be handled.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: Mapping[str, str],
        dead_letter_queue: sqs.IQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        self.function = FleetFunction(
            self,
            "WatchRelease",
            handler="watch_release",
            timeout=Duration.minutes(1),
            environment=environment,
        )
        self.function.add_dead_letter_queue(dead_letter_queue)
        events.Rule(
            self,
            "Schedule",
            schedule=events.Schedule.rate(Duration.hours(1)),
            targets=[
                targets.LambdaFunction(
                    self.function.function,
                    dead_letter_queue=dead_letter_queue,
                    max_event_age=Duration.hours(24),
                    retry_attempts=185,
                )
            ],
        )
        self.alarm = cloudwatch.Alarm(
            self,
            "DaysLeftAlarm",
            alarm_description="cdk-runner-fleet: within two weeks GitHub gives no more jobs to the "
            "runner version in an image of the fleet, see `docs/runner-images.md`",
            metric=self.metric_days_left(period=Duration.days(1), statistic="Minimum"),
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD,
            threshold=_ALARM_DAYS,
            evaluation_periods=1,
            # GitHub names no date while there is no newer version
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def metric_days_left(self, *, period: Duration | None, statistic: str) -> cloudwatch.Metric:
        """Days until the first runner version in use is retired."""
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name="RunnerVersionDaysLeft",
            dimensions_map={"service": "watch_release"},
            period=period,
            statistic=statistic,
        )
