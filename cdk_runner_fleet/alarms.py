"""Alarms on what an operator has to see to, each with its section of the runbook."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aws_cdk import Duration, Token
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from cdk_runner_fleet.metrics import IRunnerFleet
from cdk_runner_fleet.values.types import check_types

_WORD = re.compile("[A-Z][a-z]+")

RUNBOOK = "docs/runbook.md"
"""Where it stands what to do; an alarm's description names the section."""

_VERSION_DAYS = 14  # images in use are rebuilt each week: one that lags so far behind was not
_REJECTED = 10
"""Deliveries an hour: anybody can send one, and a wrong secret rejects them all."""
_QUOTA_LEFT = 500
"""A tenth of an hour's 5,000, the least that GitHub gives anybody who manages runners."""
_BUDGET_SPENT = "spent / 0.8"  # of a metric, as the budget may be a number of the deployment's


class FleetAlarms(Construct):
    """Alarms that tell an operator what the fleet cannot mend by itself.

    CloudWatch bills 0.10 US dollars a month for each, after the first ten of an account
    (CloudWatch pricing, standard resolution). Each is an attribute, for actions of its own.

    Args:
        scope: The construct's parent.
        construct_id: The construct's id in it.
        fleet: The fleet, made here or imported.
        topic: Who is told when one rings. Default: nobody by a topic.
        alarm_actions: What else is done when one rings. Default: nothing.
        longest_wait: How long a job may wait for its runner to be there. Default: 30 minutes.
        failed_runners: Runners that may fail within 15 minutes before it rings. Default: 5.

    Attributes:
        alarms: All of them.
        failed_events: Rings while an event that could not be handled waits in the dead-letter
            queue.
        scope_not_found: Rings while GitHub does not know what the fleet serves by the name that it
            has here: it was renamed, transferred or removed, or the credentials may not see it any
            more. No job gets a runner then.
        webhooks_rejected: Rings when ten deliveries within an hour were not signed with the
            webhook's secret, or could not be read.
        catalog_refused: Rings while an edit of the runner classes is wrong, and what was in force
            before is so still.
        waiting_jobs: Rings when a job has waited for too long for its runner to be there.
        registrations_refused: Rings when GitHub will not register a runner.
        runners_failing: Rings when more runners fail than now and then.
        runners_held: Rings when starts of a class and image are held back after one failure upon
            another.
        builds_failing: Rings when an image could not be built.
        jobs_lost: Rings when a job's runner was gone before the job had ended.
        reconciliation_failing: Rings when reconciliation has not come to its end for a quarter of
            an hour.
        runner_version: Rings when a runner version in use has 14 days left at GitHub.
        claims_repeated: Rings when a runner's task claimed its registration twice: an answer was
            lost on its way, or somebody has the task's credentials.
        foreign_job: Rings when a job runs in an image that another job chose: it may have told it
            secrets.
        budget: Rings when 80 % of the day's budget are spent; none without a budget.
        github_quota: Rings when less than 500 requests of an hour's are left, by who asks:
            ``token``, or ``app-<id>``.

    Raises:
        ValueError: if no runner may fail, or no job wait.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        fleet: IRunnerFleet,
        topic: sns.ITopic | None = None,
        alarm_actions: Sequence[cloudwatch.IAlarmAction] = (),
        longest_wait: Duration | None = None,
        failed_runners: int = 5,
    ) -> None:
        check_types(FleetAlarms.__init__, locals())
        super().__init__(scope, construct_id)
        if not Token.is_unresolved(failed_runners) and failed_runners < 1:
            raise ValueError(
                f"failed_runners is {failed_runners}, and an alarm that rings without a failure "
                "says nothing: use 1 or more"
            )
        longest_wait = longest_wait or Duration.minutes(30)
        if not longest_wait.is_unresolved() and longest_wait.to_seconds() < 1:
            raise ValueError(
                "longest_wait is 0 seconds, and an alarm that rings while no job waits says "
                "nothing: use some minutes, or leave it out for 30"
            )
        self.alarms: list[cloudwatch.Alarm] = []
        self._actions = [*alarm_actions, *([actions.SnsAction(topic)] if topic else [])]

        self.failed_events = self._alarm(
            "FailedEvents",
            fleet.metric_events_failed(),
            "events could not be handled and wait in the dead-letter queue",
        )
        self.scope_not_found = self._alarm(
            "ScopeNotFound",
            fleet.metric_scope_not_found(),
            "GitHub does not know what the fleet serves by this name",
        )
        self.webhooks_rejected = self._alarm(
            "WebhooksRejected",
            fleet.metric_webhooks_rejected(period=Duration.hours(1)),
            "deliveries are not signed with the webhook's secret, or cannot be read",
            threshold=_REJECTED,
        )
        self.catalog_refused = self._alarm(
            "CatalogRefused",
            fleet.metric_catalog_refused(),
            "an edit of the runner classes is wrong, and is not in force",
        )
        self.waiting_jobs = self._alarm(
            "WaitingJobs",
            fleet.metric_longest_wait(),
            "a job waits for its runner for too long",
            threshold=longest_wait.to_seconds(),
        )
        self.registrations_refused = self._alarm(
            "RegistrationsRefused",
            fleet.metric_registrations_refused(),
            "GitHub will not register runners",
        )
        self.runners_failing = self._alarm(
            "RunnersFailing",
            fleet.metric_runners_failed(period=Duration.minutes(15)),
            "runners fail, more than now and then",
            threshold=failed_runners,
        )
        self.runners_held = self._alarm(
            "RunnersHeld",
            fleet.metric_runners_held(),
            "runners of a class and image fail one upon another, and further ones are held back",
        )
        self.builds_failing = self._alarm(
            "BuildsFailing",
            fleet.metric_image_builds_failed(),
            "an image that a job waits for could not be built",
        )
        self.jobs_lost = self._alarm(
            "JobsLost",
            fleet.metric_jobs_lost(),
            "a runner was gone before its job had ended",
        )
        self.reconciliation_failing = self._alarm(
            "ReconciliationFailing",
            fleet.metric_reconcile_steps_failed(),
            "reconciliation does not come to its end",
            evaluation_periods=3,
        )
        self.runner_version = self._alarm(
            "RunnerVersion",
            # GitHub names no date while there is no newer version
            fleet.metric_runner_version_days_left(),
            "within two weeks GitHub gives no more jobs to the runner version in an image",
            threshold=_VERSION_DAYS,
            is_least=True,
        )
        self.claims_repeated = self._alarm(
            "ClaimsRepeated",
            fleet.metric_claims_repeated(),
            "a task claimed its registration twice: an answer was lost, or somebody has the task's "
            "credentials",
        )
        self.foreign_job = self._alarm(
            "ForeignJob",
            fleet.metric_foreign_jobs_on_images(),
            "a job runs in an image that somebody else's job chose",
        )
        self.budget = (
            None
            if fleet.daily_budget_usd is None
            else self._alarm(
                "Budget",
                cloudwatch.MathExpression(
                    expression=_BUDGET_SPENT,
                    using_metrics={"spent": fleet.metric_budget_spent()},
                ),
                "80 % of the day's budget are spent: once all of it is, no runner starts",
                threshold=fleet.daily_budget_usd,
            )
        )
        self.github_quota = {
            who: self._alarm(
                "Quota" + (str(number) if number else ""),
                fleet.metric_github_quota_left(who=who),
                "GitHub's rate limit is nearly used up",
                threshold=_QUOTA_LEFT,
                is_least=True,
            )
            for number, who in enumerate(fleet.github_callers)
        }

    def _alarm(
        self,
        construct_id: str,
        metric: cloudwatch.IMetric,
        description: str,
        *,
        threshold: float = 1,
        evaluation_periods: int = 1,
        is_least: bool = False,
    ) -> cloudwatch.Alarm:
        """Make an alarm that rings at a value, or at one that is lower."""
        section = "-".join(_WORD.findall(construct_id)).lower()
        operator = cloudwatch.ComparisonOperator
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            alarm_description=f"cdk-runner-fleet: {description}, see {RUNBOOK}#{section}",
            metric=metric,
            comparison_operator=operator.LESS_THAN_OR_EQUAL_TO_THRESHOLD
            if is_least
            else operator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            threshold=threshold,
            evaluation_periods=evaluation_periods,
            # nothing is written as long as nothing happens
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(*self._actions)
        self.alarms.append(alarm)
        return alarm
