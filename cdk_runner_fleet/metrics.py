"""What a fleet's metrics are called: an accessor for each that its functions write, and AWS's own.

The base of a fleet, whether it is made or imported: all that an accessor has to know is its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

from aws_cdk import Duration
from constructs import Construct

from cdk_runner_fleet._runtime import runtime
from cdk_runner_fleet.values.types import check_types

if TYPE_CHECKING:
    from aws_cdk import aws_cloudwatch as cloudwatch
    from aws_cdk import aws_logs as logs
    from aws_cdk import aws_sqs as sqs
    from aws_cdk import aws_stepfunctions as sfn

_WRITTEN: Mapping[str, Any] = runtime("metrics")

NAMESPACE: str = _WRITTEN["NAMESPACE"]
"""CloudWatch namespace of what the functions write."""

FLEET: str = _WRITTEN["FLEET"]
"""The dimension that all of it has."""

METRICS: Mapping[str, Any] = _WRITTEN["METRICS"]
"""What the functions write: its unit, and the dimension that it has beside the fleet."""

SUM, MAXIMUM, MINIMUM = "Sum", "Maximum", "Minimum"
"""``cloudwatch.Stats``, which an import would have to ask Node for."""


JobConclusion = Literal["success", "failure", "cancelled", "timed_out", "skipped", "other"]
"""How a job ended: a conclusion of GitHub's that is counted by itself, or any other."""


class MetricOptions(TypedDict, total=False):
    """What aws-cdk-lib's own ``metric_*`` methods take: ``cloudwatch.MetricOptions``."""

    account: str
    color: str
    dimensions_map: Mapping[str, str]
    id: str
    label: str
    period: Duration
    region: str
    stack_account: str
    stack_region: str
    statistic: str
    unit: cloudwatch.Unit
    visible: bool


class IRunnerFleet(Construct):
    """A fleet, made here or imported: what a capability takes that is made for one.

    Each ``metric_*`` method takes all of CDK's ``MetricOptions``.

    Attributes:
        fleet_name: The fleet's name, which its tasks have as a tag and its metrics as the dimension
            ``fleet``.
        state_machine: The life of a runner.
        dead_letter_queue: Where events wait that could not be handled.
        daily_budget_usd: What may be spent a day; None if there is no budget.
        github_callers: Who asks GitHub: ``token``, or ``app-<id>`` for each of its GitHub Apps.
        function_logs: Where the functions log; None if that is not known.
        lifecycle_logs: Where the executions do; None if that is not known.
    """

    fleet_name: str
    state_machine: sfn.IStateMachine
    dead_letter_queue: sqs.IQueue
    daily_budget_usd: float | None
    github_callers: Sequence[str]
    function_logs: logs.ILogGroup | None
    lifecycle_logs: logs.ILogGroup | None

    def _metric(
        self,
        name: str,
        options: MetricOptions,
        *,
        statistic: str = SUM,
        by: str = "",
    ) -> cloudwatch.Metric:
        from aws_cdk import aws_cloudwatch as cloudwatch  # noqa: PLC0415 - not all fleets are asked

        written = METRICS[name]
        options.setdefault("statistic", statistic)
        options.setdefault("unit", cloudwatch.Unit[written.unit.upper()])
        dimensions = {FLEET: self.fleet_name} | ({written.by: by} if written.by else {})
        options.setdefault("dimensions_map", dimensions)
        made = cloudwatch.Metric(namespace=NAMESPACE, metric_name=name, **options)
        return made.attach_to(self)

    # jobs

    def metric_queue_time(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Seconds that a job was queued until it started on a runner of the fleet's.

        They are GitHub's times. A job that waited for an approval has that in it.

        Default: the median over 5 minutes.
        """
        return self._metric("QueueSeconds", options, statistic="p50")

    def metric_longest_wait(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Seconds that the oldest job has waited whose runner is not there yet.

        Default: the maximum over 5 minutes.
        """
        return self._metric("LongestWaitSeconds", options, statistic=MAXIMUM)

    def metric_jobs_queued(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Queued jobs at GitHub that are the fleet's, as reconciliation sees them.

        Default: the maximum over 5 minutes.
        """
        return self._metric("JobsQueued", options, statistic=MAXIMUM)

    def metric_jobs_ended(
        self, *, conclusion: JobConclusion, **options: Unpack[MetricOptions]
    ) -> cloudwatch.Metric:
        """Jobs that ended, whether they had a runner or not. Default: the sum over 5 minutes.

        Args:
            conclusion: GitHub's word for how they ended, or ``other``.
            options: CDK's.

        Raises:
            ValueError: if it is another.
        """
        if conclusion not in get_args(JobConclusion):
            raise ValueError(
                f"conclusion {conclusion!r} is not counted, use one of "
                f"{list(get_args(JobConclusion))}"
            )
        return self._metric("JobEnded", options, by=conclusion)

    def metric_jobs_refused(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Jobs that asked for what the fleet does not have. Default: the sum over 5 minutes."""
        return self._metric("JobRefused", options)

    def metric_catalog_refused(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Looks at the runner classes that found an edit wrong. Default: the sum over 5 minutes.

        Each function that needs them looks every minute. What was in force before the edit is so
        still, and the log says what is wrong.
        """
        return self._metric("CatalogRefused", options)

    def metric_jobs_unserved(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Jobs that will have no runner, for whatever reason. Default: the sum over 5 minutes."""
        return self._metric("JobUnserved", options)

    def metric_jobs_in_line(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Jobs that had to wait for their turn. Default: the sum over 5 minutes."""
        return self._metric("JobInLine", options)

    def metric_jobs_lost(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Jobs whose runner was gone before they ended. Default: the sum over 5 minutes."""
        return self._metric("JobLost", options)

    def metric_jobs_rerun(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Lost jobs that were run again. Default: the sum over 5 minutes."""
        return self._metric("JobRerun", options)

    def metric_foreign_jobs_on_images(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Jobs that ran in an image of another job's choice.

        They are of another repository than the job that chose it, or had chosen none.

        Default: the sum over 5 minutes.
        """
        return self._metric("ForeignJobOnImage", options)

    # runners, and how long their start takes

    def metric_admission_time(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Seconds from a job's queueing until its runner's life began: deliveries and turns.

        Default: the median over 5 minutes.
        """
        return self._metric("AdmissionSeconds", options, statistic="p50")

    def metric_launch_time(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Seconds from a runner's beginning until ECS took its task: capacity, the image's build.

        Default: the median over 5 minutes.
        """
        return self._metric("LaunchSeconds", options, statistic="p50")

    def metric_boot_time(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Seconds from a task's launch until its runner claimed its registration: pull and boot.

        Default: the median over 5 minutes.
        """
        return self._metric("BootSeconds", options, statistic="p50")

    def metric_assignment_time(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Seconds from a runner's claim of its registration until a job started on it.

        Default: the median over 5 minutes.
        """
        return self._metric("AssignmentSeconds", options, statistic="p50")

    def metric_runners_waiting(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners that wait for their turn, for capacity or for their image.

        Default: the maximum over 5 minutes.
        """
        return self._metric("RunnersWaiting", options, statistic=MAXIMUM)

    def metric_runners_starting(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners whose task boots. Default: the maximum over 5 minutes."""
        return self._metric("RunnersStarting", options, statistic=MAXIMUM)

    def metric_runners_idle(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners that are registered and have no job. Default: the maximum over 5 minutes."""
        return self._metric("RunnersIdle", options, statistic=MAXIMUM)

    def metric_runners_running(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners at a job. Default: the maximum over 5 minutes."""
        return self._metric("RunnersRunning", options, statistic=MAXIMUM)

    def metric_failures(self, *, error: str, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners whose life ended in failure, by its cause. Default: the sum over 5 minutes.

        Args:
            error: The error's name, such as ``Runner.BootTimeout``; ``DynamoDB``, ``DynamoDb``,
                ``Ecs`` or ``Lambda`` for whatever these answered, ``Other`` for the rest.
            options: CDK's.
        """
        return self._metric("RunnerFailed", options, by=error)

    def metric_runners_started(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners whose life began. Default: the sum over 5 minutes."""
        options.setdefault("statistic", SUM)
        return self.state_machine.metric_started(**options)

    def metric_runners_failed(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners whose life ended in failure. Default: the sum over 5 minutes."""
        options.setdefault("statistic", SUM)
        return self.state_machine.metric_failed(**options)

    def metric_runners_replaced(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners that followed one whose job another runner took.

        Default: the sum over 5 minutes.
        """
        return self._metric("RunnerReplaced", options)

    def metric_runners_held(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Times that starts were held back, as runner after runner had failed.

        Default: the sum over 5 minutes.
        """
        return self._metric("RunnersHeld", options)

    def metric_runners_swept(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners, tasks and registrations that were left over. Default: the sum over 5 minutes."""
        return self._metric("RunnersSwept", options)

    def metric_surplus_released(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners that no queued job needed. Default: the sum over 5 minutes."""
        return self._metric("SurplusReleased", options)

    def metric_claims_repeated(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Tasks that claimed their registration twice. Default: the sum over 5 minutes."""
        return self._metric("ClaimRepeated", options)

    def metric_capabilities_missing(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners whose image could not do what their job asks for.

        Default: the sum over 5 minutes.
        """
        return self._metric("CapabilityMissing", options)

    def metric_heartbeats_lost(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners that neither the fleet nor GitHub heard of any more.

        Default: the sum over 5 minutes.
        """
        return self._metric("HeartbeatLost", options)

    def metric_signals_too_late(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Signals to a runner whose lifecycle had gone on: one in a while is a race.

        Default: the sum over 5 minutes.
        """
        return self._metric("SignalTooLate", options)

    # money

    def metric_runner_cost(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Estimated cost, in US dollars, of the runners that ended.

        Default: the sum over 5 minutes.
        """
        return self._metric("RunnerUsd", options)

    def metric_idle_cost(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Estimated cost, in US dollars, of runners while no job ran: boot, waiting, first minute.

        Default: the sum over 5 minutes.
        """
        return self._metric("IdleUsd", options)

    def metric_idle_time(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Seconds that were paid while no job ran. Default: the sum over 5 minutes."""
        return self._metric("IdleSeconds", options)

    def metric_budget_spent(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Estimated cost, in US dollars, of the runners that have ended on the day so far, UTC.

        Default: the maximum over 5 minutes.
        """
        return self._metric("BudgetSpentUsd", options, statistic=MAXIMUM)

    # images

    def metric_image_builds_started(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Builds of runner images that began. Default: the sum over 5 minutes."""
        return self._metric("ImageBuildStarted", options)

    def metric_image_builds_failed(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Builds of runner images that ended without one. Default: the sum over 5 minutes."""
        return self._metric("ImageBuildFailed", options)

    def metric_images_rebuilt(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Images in use that were built anew. Default: the sum over 5 minutes."""
        return self._metric("ImageRebuilt", options)

    def metric_image_rebuilds_failed(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Builds of images in use that failed: what there is stays in use.

        Default: the sum over 5 minutes.
        """
        return self._metric("ImageRebuildFailed", options)

    def metric_builds_waiting(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Builds of images that wait for their turn. Default: the maximum over 5 minutes."""
        return self._metric("BuildsWaiting", options, statistic=MAXIMUM)

    def metric_runner_version_days_left(
        self, **options: Unpack[MetricOptions]
    ) -> cloudwatch.Metric:
        """Days until GitHub gives no more jobs to the first runner version in use.

        There is no data as long as GitHub has set no date.

        Default: the minimum over a day.
        """
        options.setdefault("period", Duration.days(1))
        return self._metric("RunnerVersionDaysLeft", options, statistic=MINIMUM)

    # GitHub

    def metric_github_quota_left(
        self, *, who: str, **options: Unpack[MetricOptions]
    ) -> cloudwatch.Metric:
        """Requests that GitHub's primary rate limit leaves. Default: the minimum over 5 minutes.

        Args:
            who: ``token``, or ``app-<id>`` for one of the fleet's GitHub Apps: one of
                ``github_callers``.
            options: CDK's.

        Raises:
            ValueError: if it is none of them.
        """
        check_types(IRunnerFleet.metric_github_quota_left, {"who": who})
        if who not in self.github_callers:
            callers = " or ".join(self.github_callers) or "nobody"
            raise ValueError(f"who is {who!r}, and {callers} asks GitHub here: name one who does")
        return self._metric("GitHubQuotaLeft", options, statistic=MINIMUM, by=who)

    def metric_github_unavailable(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Registrations that GitHub could not serve just then. Default: the sum over 5 minutes."""
        return self._metric("GitHubUnavailable", options)

    def metric_registrations_refused(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Runners that GitHub would not register. Default: the sum over 5 minutes."""
        return self._metric("RegistrationRefused", options)

    def metric_scope_not_found(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Times that GitHub did not know what the fleet serves. Default: the sum over 5 minutes."""
        return self._metric("ScopeNotFound", options)

    def metric_explanations_refused(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Jobs at whose commit GitHub would not let the fleet say anything.

        Default: the sum over 5 minutes.
        """
        return self._metric("ExplainRefused", options)

    # deliveries, and what reconciliation makes up for

    def metric_events_failed(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Events that could not be handled and wait in the dead-letter queue.

        Default: the maximum over 5 minutes.
        """
        options.setdefault("statistic", MAXIMUM)
        return self.dead_letter_queue.metric_approximate_number_of_messages_visible(**options)

    def metric_webhooks_rejected(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Deliveries that were rejected: not signed with the secret, from elsewhere, or unreadable.

        Default: the sum over 5 minutes.
        """
        return self._metric("WebhookRejected", options)

    def metric_deliveries_redelivered(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Failed webhook deliveries asked for once more. Default: the sum over 5 minutes."""
        return self._metric("DeliveriesRedelivered", options)

    def metric_deliveries_refused(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Times that GitHub would not list the webhook's deliveries.

        Default: the sum over 5 minutes.
        """
        return self._metric("DeliveriesRefused", options)

    def metric_demand_missing(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Queued jobs that had no runner and were given one. Default: the sum over 5 minutes."""
        return self._metric("DemandMissing", options)

    def metric_events_repaired(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Lost events that were made up for. Default: the sum over 5 minutes."""
        return self._metric("EventRepaired", options)

    def metric_hook_networks_refused(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Hours in which GitHub's list of its webhooks' networks could not be taken.

        Default: the sum over 5 minutes.
        """
        return self._metric("HookNetworksRefused", options)

    def metric_listings_incomplete(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Looks at GitHub that did not see all jobs. Default: the sum over 5 minutes."""
        return self._metric("ListingIncomplete", options)

    def metric_reconcile_steps_failed(self, **options: Unpack[MetricOptions]) -> cloudwatch.Metric:
        """Steps of reconciliation that failed, and are tried again the next time.

        Default: the sum over 5 minutes.
        """
        return self._metric("ReconcileStepFailed", options)
