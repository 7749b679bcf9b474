"""What an operator hangs up: how a fleet does, from what jobs wait for down to what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Token
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from cdk_runner_fleet.alarms import FleetAlarms
from cdk_runner_fleet.log_queries import FAILED_STARTS
from cdk_runner_fleet.metrics import FLEET, NAMESPACE, IRunnerFleet, JobConclusion
from cdk_runner_fleet.values.types import check_types

_WIDTH = 24
_HEIGHT = 6
_CONCLUSIONS: Mapping[JobConclusion, str] = {
    "success": cloudwatch.Color.GREEN,
    "failure": cloudwatch.Color.RED,
    "cancelled": cloudwatch.Color.GREY,
    "timed_out": cloudwatch.Color.ORANGE,
    "skipped": cloudwatch.Color.BROWN,
    "other": cloudwatch.Color.PURPLE,
}


class FleetDashboard(Construct):
    """A CloudWatch dashboard of a fleet.

    CloudWatch bills 3 US dollars a month for each, after the first three of an account (CloudWatch
    pricing, dashboards).

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        fleet: The fleet, made here or imported.
        dashboard_name: Its name. Default: CloudFormation makes one.
        alarms: Alarms whose state is shown on top. Default: none is shown.

    Attributes:
        dashboard: CDK's own, to add widgets to.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        fleet: IRunnerFleet,
        dashboard_name: str | None = None,
        alarms: FleetAlarms | None = None,
    ) -> None:
        check_types(FleetDashboard.__init__, locals())
        super().__init__(scope, construct_id)
        self.dashboard = cloudwatch.Dashboard(
            self, "Dashboard", dashboard_name=dashboard_name, default_interval=Duration.days(1)
        )
        if alarms:
            self._row(
                cloudwatch.AlarmStatusWidget(title="Alarms", alarms=alarms.alarms, width=_WIDTH)
            )
        for row in (
            _now(fleet),
            _waits(fleet),
            _work(fleet),
            _trouble(fleet),
            _money(fleet),
            _github(fleet),
            _images(fleet),
            _failures(fleet),
        ):
            self._row(*row)

    def _row(self, *widgets: cloudwatch.IWidget) -> None:
        if widgets:
            self.dashboard.add_widgets(*widgets)


def _now(fleet: IRunnerFleet) -> Sequence[cloudwatch.IWidget]:
    return [
        cloudwatch.SingleValueWidget(
            title="Now",
            width=_WIDTH,
            height=3,
            metrics=[
                fleet.metric_jobs_queued(label="jobs queued"),
                fleet.metric_longest_wait(label="longest wait, s"),
                fleet.metric_runners_waiting(label="runners waiting"),
                fleet.metric_runners_starting(label="starting"),
                fleet.metric_runners_idle(label="idle"),
                fleet.metric_runners_running(label="running"),
            ],
        )
    ]


def _waits(fleet: IRunnerFleet) -> Sequence[cloudwatch.IWidget]:
    return [
        _graph(
            "Queue time, s",
            fleet.metric_queue_time(statistic="p50", label="p50"),
            fleet.metric_queue_time(statistic="p95", label="p95"),
            fleet.metric_longest_wait(label="longest wait"),
        ),
        *(
            _graph(
                f"Start by phase, {statistic}, s",
                fleet.metric_admission_time(statistic=statistic, label="admission"),
                fleet.metric_launch_time(statistic=statistic, label="launch"),
                fleet.metric_boot_time(statistic=statistic, label="boot"),
                fleet.metric_assignment_time(statistic=statistic, label="assignment"),
                stacked=True,
            )
            for statistic in ("p50", "p95")
        ),
    ]


def _work(fleet: IRunnerFleet) -> Sequence[cloudwatch.IWidget]:
    return [
        _graph(
            "Runners",
            fleet.metric_runners_running(label="running"),
            fleet.metric_runners_idle(label="idle"),
            fleet.metric_runners_starting(label="starting"),
            fleet.metric_runners_waiting(label="waiting"),
            stacked=True,
        ),
        _graph(
            "Jobs by conclusion",
            *(
                fleet.metric_jobs_ended(conclusion=each, label=each, color=color)
                for each, color in _CONCLUSIONS.items()
            ),
            stacked=True,
        ),
        _graph(
            "Jobs that wait or get nothing",
            fleet.metric_jobs_in_line(label="in line"),
            fleet.metric_jobs_refused(label="refused"),
            fleet.metric_jobs_unserved(label="unserved"),
            fleet.metric_jobs_lost(label="lost"),
        ),
    ]


def _trouble(fleet: IRunnerFleet) -> Sequence[cloudwatch.IWidget]:
    # which errors there are nobody knows before
    search = (
        f'SEARCH(\'{{{NAMESPACE},{FLEET},error}} MetricName="RunnerFailed" '
        f"{FLEET}=\"{fleet.fleet_name}\"', 'Sum', 300)"
    )
    by_cause = cloudwatch.MathExpression(expression=search, label="", using_metrics={})
    return [
        _graph("Failures by cause", by_cause, stacked=True),
        _graph(
            "Made up for",
            fleet.metric_demand_missing(label="runners missing"),
            fleet.metric_surplus_released(label="runners surplus"),
            fleet.metric_events_repaired(label="events lost"),
            fleet.metric_runners_swept(label="left over"),
            fleet.metric_reconcile_steps_failed(label="steps failed"),
        ),
        _graph(
            "Events and deliveries",
            fleet.metric_events_failed(label="dead letters"),
            fleet.metric_webhooks_rejected(label="rejected"),
            fleet.metric_deliveries_redelivered(label="redelivered"),
        ),
    ]


def _money(fleet: IRunnerFleet) -> Sequence[cloudwatch.IWidget]:
    hour, budget = Duration.hours(1), fleet.daily_budget_usd
    # a number of the deployment's cannot be drawn
    lines = (
        []
        if budget is None or Token.is_unresolved(budget)
        else [cloudwatch.HorizontalAnnotation(value=budget, label="budget")]
    )
    return [
        _graph("Spent today, USD", fleet.metric_budget_spent(label="spent"), lines=lines),
        _graph(
            "Cost an hour, USD",
            fleet.metric_runner_cost(period=hour, label="runners"),
            fleet.metric_idle_cost(period=hour, label="of it without a job"),
        ),
        _graph("Paid without a job, s", fleet.metric_idle_time(period=hour, label="an hour")),
    ]


def _github(fleet: IRunnerFleet) -> Sequence[cloudwatch.IWidget]:
    return [
        _graph(
            "GitHub: requests left",
            *(fleet.metric_github_quota_left(who=who, label=who) for who in fleet.github_callers),
        ),
        _graph(
            "GitHub: refusals",
            fleet.metric_registrations_refused(label="registrations"),
            fleet.metric_github_unavailable(label="not available"),
            fleet.metric_scope_not_found(label="not found"),
            fleet.metric_listings_incomplete(label="jobs not listed"),
        ),
        _graph(
            "Security",
            fleet.metric_claims_repeated(label="claims repeated"),
            fleet.metric_foreign_jobs_on_images(label="foreign jobs on images"),
        ),
    ]


def _images(fleet: IRunnerFleet) -> Sequence[cloudwatch.IWidget]:
    return [
        _graph(
            "Image builds",
            fleet.metric_image_builds_started(label="started"),
            fleet.metric_image_builds_failed(label="failed"),
            fleet.metric_image_rebuilds_failed(label="rebuilds failed"),
            fleet.metric_builds_waiting(label="waiting"),
        ),
        _graph(
            "Runner version: days left",
            fleet.metric_runner_version_days_left(label="days"),
        ),
        _graph(
            "Runners held and replaced",
            fleet.metric_runners_held(label="held"),
            fleet.metric_runners_replaced(label="replaced"),
            fleet.metric_heartbeats_lost(label="heartbeats lost"),
        ),
    ]


def _failures(fleet: IRunnerFleet) -> Sequence[cloudwatch.IWidget]:
    if fleet.function_logs is None:
        return []
    return [
        cloudwatch.LogQueryWidget(
            title="Failed starts by cause",
            log_group_names=[fleet.function_logs.log_group_name],
            query_string=FAILED_STARTS,
            width=_WIDTH,
            height=_HEIGHT,
        )
    ]


def _graph(
    title: str,
    *metrics: cloudwatch.IMetric,
    stacked: bool = False,
    lines: Sequence[cloudwatch.HorizontalAnnotation] = (),
) -> cloudwatch.IWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=list(metrics),
        stacked=stacked,
        left_annotations=list(lines),
        left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
        width=_WIDTH // 3,
        height=_HEIGHT,
    )
